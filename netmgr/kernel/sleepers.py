"""Owns: processes that have slept since they were looked at: what they held then, they hold now.

A table of descriptors is changed by its own process alone: whoever opens a socket, is passed one
or takes one has run for it. The kernel counts how often each thread was given a processor
(/proc/PID/schedstat), so one small read stands for a look at every descriptor. Open files of /proc
belong to one process and never to a later one of the same number.

Asleep means taken off the queue of those who may run (/proc/PID/wchan names where it waits); only
from such a moment on does an unchanged count prove anything. Where the kernel does not say so,
nobody is taken for asleep, and everybody is looked at. Processes that share one table
(clone(2), CLONE_FILES) run the same program: an exec takes a table of its own.
Source: kernel/sched/stats.h, kernel/sched/core.c (get_wchan), fs/proc/base.c.
"""

import os
import re
import resource
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

MAX_THREADS: Final = 16  # of one process; a look at its descriptors costs as much as more of them
MAX_SOCKETS: Final = 256  # of one process that are remembered
MAX_OPEN: Final = 4096  # files kept open, one for each thread
SHARE_OF_FILES: Final = 8  # never more of them than that part of what the daemon may open
WCHAN_SINCE: Final = (5, 16)  # before, it could name a place for a thread that still ran
SOCKET: Final = "socket:["
_COUNTS: Final = 128  # bytes of a schedstat: three numbers


@dataclass(frozen=True, slots=True)
class Watch:
    """The threads of a process while all of them slept: (open schedstat, what it read)."""

    pid: int
    threads: tuple[tuple[int, bytes], ...]

    def slept(self) -> bool:
        """Whether none of them has run since."""
        try:
            return all(os.pread(fd, _COUNTS, 0) == before for fd, before in self.threads)
        except OSError:  # it has ended
            return False

    def close(self) -> None:
        """Close its files."""
        for fd, _ in self.threads:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Still:
    """Several processes, to be asked about at once.

    Attributes:
        threads: all of theirs, as a Watch has them.
        sockets: all that any of them held.
        era: while it lasts, the files are theirs.
    """

    threads: tuple[tuple[int, bytes], ...]
    sockets: frozenset[str]
    era: int


class Sleepers:
    """Remembers what sleeping processes hold. One per daemon, used from one thread."""

    def __init__(self, root: str = "/proc", release: str | None = None) -> None:
        self._root = root
        self._able = version(release or os.uname().release) >= WCHAN_SINCE
        self._max_open = min(MAX_OPEN, _may_open() // SHARE_OF_FILES)
        self._open = 0
        self._era = 0  # ends with each file that is closed: its number may be another's then
        self._known: OrderedDict[int, tuple[Watch, frozenset[str]]] = OrderedDict()

    def held(self, pid: int, look: Callable[[int], Iterable[str]]) -> Iterable[str]:
        """What a process holds, as its descriptors name it: its sockets at least.

        Args:
            look: how to find it out, where it may have run since it was looked at.

        Raises:
            OSError: of `look`.
        """
        known = self._known.get(pid)
        if known is not None and known[0].slept():
            return known[1]
        self._drop(pid)
        watch = self._watch(pid)
        if watch is None:
            return look(pid)
        try:
            sockets = frozenset(each for each in look(pid) if each.startswith(SOCKET))
        except OSError:
            watch.close()
            raise
        self._keep(watch, sockets)
        return sockets

    def together(self, pids: Iterable[int]) -> Still | None:
        """Processes that all slept when they were looked at last; None where one did not."""
        threads: list[tuple[int, bytes]] = []
        sockets: set[str] = set()
        for pid in pids:
            known = self._known.get(pid)
            if known is None:
                return None
            threads += known[0].threads
            sockets |= known[1]
        return Still(tuple(threads), frozenset(sockets), self._era)

    def still(self, those: Still) -> bool:
        """Whether none of them has run since."""
        if those.era != self._era:
            return False
        try:
            for fd, before in those.threads:
                if os.pread(fd, _COUNTS, 0) != before:
                    return False
        except OSError:  # one has ended
            return False
        return True

    def close(self) -> None:
        """Close what is kept open."""
        for pid in list(self._known):
            self._drop(pid)

    def _watch(self, pid: int) -> Watch | None:
        """Begin to watch a process, before it is looked at; None where it does not sleep now."""
        if not self._able or not self._is_waiting(str(pid)):  # the main thread: mostly the only one
            return None
        threads = self._threads(pid)
        if not 0 < len(threads) <= MAX_THREADS:
            return None
        with ExitStack() as files:
            counted = []
            for thread in threads:
                fd = _open(f"{self._root}/{thread}/schedstat")
                if fd is None:
                    return None
                files.callback(os.close, fd)
                before = _read_count(fd)
                if before is None or not self._is_waiting(thread):
                    return None
                counted.append((fd, before))
            # Whoever began meanwhile was begun by one that had not been counted yet.
            if self._threads(pid) != threads:
                return None
            files.pop_all()
        return Watch(pid, tuple(counted))

    def _keep(self, watch: Watch, sockets: frozenset[str]) -> None:
        if len(sockets) > MAX_SOCKETS:
            watch.close()
            return
        self._known[watch.pid] = watch, sockets
        self._open += len(watch.threads)
        while self._open > self._max_open:
            self._drop(next(iter(self._known)))

    def _drop(self, pid: int) -> None:
        known = self._known.pop(pid, None)
        if known is not None:
            self._era += 1
            known[0].close()
            self._open -= len(known[0].threads)

    def _threads(self, pid: int) -> list[str]:
        """Below the root, as `PID/task/TID`."""
        try:
            return [f"{pid}/task/{name}" for name in os.listdir(f"{self._root}/{pid}/task")]
        except OSError:
            return []

    def _is_waiting(self, thread: str) -> bool:
        try:
            with open(f"{self._root}/{thread}/wchan", "rb", buffering=0) as file:
                return file.read(_COUNTS) not in (b"", b"0")
        except OSError:
            return False


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _read_count(fd: int) -> bytes | None:
    """None where the kernel does not count: everybody has been given a processor once."""
    try:
        read = os.pread(fd, _COUNTS, 0)
    except OSError:
        return None
    return read if read.rpartition(b" ")[2].strip() not in (b"", b"0") else None


def version(release: str) -> tuple[int, int]:
    """A kernel's version out of what it calls its release."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _may_open() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else MAX_OPEN * SHARE_OF_FILES
