"""Owns: which processes are in a network namespace, newest first, without looking at all of /proc
for every question.

All processes of the host are looked at once; after that only those that have begun since. The
kernel tells which number was given out last (/proc/loadavg) and how many processes ever began
(/proc/stat): what is new is a range of numbers, unless so many began that numbers may have come
round; then all are looked at again. Not noticed until then is a process that enters the namespace
by setns(2) later than it began.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from netmgr.kernel.facts import NetnsId

FEW_NEW: Final = 16  # looked at by whoever must not wait: 50 us at most
MAX_NEW: Final = 512  # processes looked at one by one; where more are new, all are looked at
MAX_KNOWN: Final = 1024  # that began while known, most of them gone; then all are looked at
MAX_NAMESPACES: Final = 4096  # with known processes, some hundred bytes each
DEFAULT_PID_MAX: Final = 32_768
# More than any kernel begins: each number is taken under one lock of the whole host, each
# process under another. So numbers cannot have come round within pid_max / 2 of its inverse.
MAX_BEGUN_PER_S: Final = 1_000_000
_STAT: Final = 1 << 18  # bytes: a line for each CPU, and one with a number for each interrupt
_COUNT: Final = b"\nprocesses "  # begins the line of /proc/stat that counts who began


@dataclass(slots=True)
class _Known:
    newest: int
    begun: int
    pids: tuple[int, ...]
    counted_at: float  # monotonic seconds, before `newest` was read


class Population:
    """Finds the processes of namespaces. One per daemon, used from one thread."""

    def __init__(self, root: str = "/proc", clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._known: OrderedDict[NetnsId, _Known] = OrderedDict()
        self._round = self._read_pid_max() // 2
        self._loadavg = _open(f"{root}/loadavg")
        self._stat = _open(f"{root}/stat")
        # Kept: to have room made anew for each reading costs twice what the reading does.
        self._stat_text = bytearray(_STAT)

    def of(self, netns: NetnsId) -> tuple[int, ...]:
        """Every process of a namespace, newest first; some may have ended or left it."""
        since = self.since(netns, MAX_NEW)
        if since is not None:
            return since
        now, newest, begun = self._clock(), self._newest(), self._begun()
        pids = tuple(pid for pid in self._all() if self.is_in(pid, netns))
        if newest and begun:
            self._known[netns] = _Known(newest, begun, pids, now)
            self._known.move_to_end(netns)
            if len(self._known) > MAX_NAMESPACES:
                self._known.popitem(last=False)
        return pids

    def since(self, netns: NetnsId, most: int = FEW_NEW) -> tuple[int, ...] | None:
        """As `of`, the very same tuple where nobody came or went; None where that is more than to
        look at `most` processes that have begun since."""
        known, now, newest = self._known.get(netns), self._clock(), self._newest()
        if known is None or not 0 <= newest - known.newest <= most or len(known.pids) > MAX_KNOWN:
            return None
        if now - known.counted_at >= self._round / MAX_BEGUN_PER_S:
            # Numbers may have come round: /proc/stat, which is long and dear, tells.
            begun = self._begun()
            if not 0 <= begun - known.begun < self._round:
                return None
            known.begun, known.counted_at = begun, now
        if newest != known.newest:
            self._look_at_new(known, newest, netns)
        return known.pids

    def last(self, netns: NetnsId) -> tuple[int, ...]:
        """What was told last, without those that were seen to have ended; nothing is read."""
        known = self._known.get(netns)
        return () if known is None else known.pids

    def is_in(self, pid: int, netns: NetnsId) -> bool:
        """Whether a process is in a namespace now."""
        return is_in(self._root, pid, netns)

    def ended(self, netns: NetnsId, pid: int) -> None:
        """A process has ended: a later one of its number is found as any new one."""
        known = self._known.get(netns)
        if known is not None:
            known.pids = tuple(each for each in known.pids if each != pid)

    def close(self) -> None:
        """Close what is kept open."""
        for fd in (self._loadavg, self._stat):
            if fd is not None:
                os.close(fd)
        self._loadavg = self._stat = None

    def forget(self, netns: NetnsId) -> None:
        """The namespace has ended."""
        self._known.pop(netns, None)

    def _look_at_new(self, known: _Known, newest: int, netns: NetnsId) -> None:
        new = [pid for pid in range(newest, known.newest, -1) if self.is_in(pid, netns)]
        if new:
            known.pids = (*new, *(pid for pid in known.pids if pid not in new))
        known.newest = newest

    def _all(self) -> list[int]:
        names = os.listdir(self._root)
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)

    def _newest(self) -> int:
        """The number that was given out last; 0 where the kernel does not say."""
        try:
            # "0.20 0.18 0.12 1/80 11206"
            return int(os.pread(self._loadavg, 256, 0)[-12:].split()[-1]) if self._loadavg else 0
        except (OSError, IndexError, ValueError):
            return 0

    def _begun(self) -> int:
        """Processes and threads that ever began on the host; 0 where the kernel does not say."""
        try:
            text = self._stat_text
            size = os.preadv(self._stat, [text], 0) if self._stat else 0
            start = text.index(_COUNT, 0, size) + len(_COUNT)
            return int(text[start : text.index(b"\n", start, size)])
        except (OSError, ValueError):
            return 0

    def _read_pid_max(self) -> int:
        try:
            with open(f"{self._root}/sys/kernel/pid_max", "rb") as file:
                return int(file.read())
        except (OSError, ValueError):
            return DEFAULT_PID_MAX


def is_in(root: str, pid: int, netns: NetnsId) -> bool:
    """Whether a process is in a namespace now.

    By the text of the link: to follow it would have the kernel make an inode for each look, and
    numbers of namespaces are given out once for the whole kernel (fs/nsfs.c: ns_get_name).
    """
    try:
        return os.readlink(f"{root}/{pid}/ns/net") == f"net:[{netns.inode}]"
    except OSError:
        return False


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
