"""Owns: which processes are in a network namespace, newest first, without looking at all of /proc
for every question.

All processes of the host are looked at once; after that only those that have begun since. The
kernel tells which number was given out last (/proc/loadavg), so what is new is a range of numbers.
Numbers come round again after pid_max of them; what is known is forgotten long before that can have
happened. Not noticed is a process that enters the namespace by setns(2) later than it began.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from netmgr.kernel.facts import NetnsId

MAX_NEW: Final = 128  # processes looked at one by one; where more are new, all are looked at
MAX_NAMESPACES: Final = 4096  # with known processes, some hundred bytes each
FORKS_PER_CPU: Final = 40_000  # a second; a fork with its exit takes 50 us and more
DEFAULT_PID_MAX: Final = 32_768


@dataclass(slots=True)
class _Known:
    at: float
    newest: int
    pids: tuple[int, ...]


class Population:
    """Finds the processes of namespaces. One per daemon, used from one thread."""

    def __init__(self, root: str = "/proc", clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._known: OrderedDict[NetnsId, _Known] = OrderedDict()
        self._lasts_s = self._safe_time()

    def of(self, netns: NetnsId) -> tuple[int, ...]:
        """Every process of a namespace, newest first."""
        newest = self._newest()
        known = self._known.get(netns)
        if known is not None and newest is not None and self._is_fresh(known, newest):
            new = [p for p in range(newest, known.newest, -1) if self._is_in(p, netns)]
            if new:
                known.pids = (*new, *known.pids)
            known.newest = newest
            return known.pids
        now = self._clock()
        pids = tuple(pid for pid in self._all() if self._is_in(pid, netns))
        if newest is not None:
            self._known[netns] = _Known(now, newest, pids)
            self._known.move_to_end(netns)
            if len(self._known) > MAX_NAMESPACES:
                self._known.popitem(last=False)
        return pids

    def forget(self, netns: NetnsId) -> None:
        """The namespace has ended."""
        self._known.pop(netns, None)

    def _is_fresh(self, known: _Known, newest: int) -> bool:
        young = self._clock() - known.at < self._lasts_s
        return young and 0 <= newest - known.newest <= MAX_NEW

    def _all(self) -> list[int]:
        names = os.listdir(self._root)
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)

    def _is_in(self, pid: int, netns: NetnsId) -> bool:
        try:
            found = os.stat(f"{self._root}/{pid}/ns/net")
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (netns.dev, netns.inode)

    def _newest(self) -> int | None:
        """The number that was given out last; None where the kernel does not say."""
        try:
            fd = os.open(f"{self._root}/loadavg", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return int(os.read(fd, 256).split()[4])
            finally:
                os.close(fd)
        except (OSError, IndexError, ValueError):
            return None

    def _safe_time(self) -> float:
        """Seconds in which process numbers cannot have come round, with a margin of two."""
        try:
            with open(f"{self._root}/sys/kernel/pid_max", "rb") as file:
                most = int(file.read())
        except (OSError, ValueError):
            most = DEFAULT_PID_MAX
        return most / (2 * FORKS_PER_CPU * (os.cpu_count() or 1))
