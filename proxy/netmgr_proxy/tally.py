"""Owns: how many bytes sandboxes have moved within the hour, counted over all workers.

One shared memory for all proxy workers. Each worker writes a region of its own and reads all of
them, so that nobody waits for anybody and a count survives the worker. Knows nothing of policies.

    region: inserts, then SLOTS slots of (key, key, hour, bytes in that hour, bytes before it)
All of it are 64-bit words, each written at once. The hour slides: of the hour before, the part that
is not yet an hour ago counts.
"""

import fcntl
import hashlib
import mmap
import os
import time
from collections.abc import Callable
from typing import Final

SLOTS: Final = 1024  # pairs of sandbox and entry with traffic in one worker within two hours
HOUR_S: Final = 3600
_SLOT_WORDS: Final = 5
_REGION_WORDS: Final = 1 + SLOTS * _SLOT_WORDS
_WORD: Final = 8

Key = tuple[int, int]


def make_tally(regions: int) -> int:
    """A descriptor of empty memory for that many workers; the caller closes it.

    Its size is sealed (fcntl(2), F_ADD_SEALS): who could cut it short would end every other worker.
    """
    fd = os.memfd_create("netmgr-tally", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, regions * _REGION_WORDS * _WORD)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def key_of(*words: str) -> Key:
    """What counts together."""
    digest = hashlib.blake2b("\0".join(words).encode(), digest_size=16).digest()
    high, low = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
    return high | 1, low  # never (0, 0): that is an empty slot


class TallyFull(Exception):
    """There is no slot for a further pair of sandbox and entry."""


class Tally:
    """One worker's pen and glasses.

    Args:
        fd: of `make_tally`; may be closed afterwards.
        index: the region that this worker writes; nobody else writes it.
    """

    def __init__(self, fd: int, index: int, clock: Callable[[], float] = time.time) -> None:
        self._memory = mmap.mmap(fd, 0, mmap.MAP_SHARED)
        self._words = memoryview(self._memory).cast("Q")
        self._regions = len(self._words) // _REGION_WORDS
        self._own = index
        self._clock = clock
        self._seen = [-1] * self._regions  # inserts of each region when its keys were read
        self._slots: list[dict[Key, int]] = [{} for _ in range(self._regions)]

    def close(self) -> None:
        """Let the memory go."""
        self._words.release()
        self._memory.close()

    def used(self, key: Key) -> int:
        """Bytes within the last hour."""
        hour, into = divmod(self._clock(), HOUR_S)
        now = before = 0
        for region in range(self._regions):
            slot = self._find(region, key)
            if slot is not None:
                current, previous = self._counts(slot, int(hour))
                now += current
                before += previous
        return now + int(before * (HOUR_S - into) / HOUR_S)

    def add(self, key: Key, moved: int) -> None:
        """Count bytes.

        Raises:
            TallyFull: they cannot be counted.
        """
        hour = int(self._clock() // HOUR_S)
        slot = self._find(self._own, key)
        if slot is None:
            slot = self._insert(key, hour)
        words = self._words
        current, previous = self._counts(slot, hour)
        words[slot + 2], words[slot + 3], words[slot + 4] = hour, current + moved, previous

    def _counts(self, slot: int, hour: int) -> tuple[int, int]:
        """Bytes in this hour and in the one before it."""
        then, current, previous = self._words[slot + 2 : slot + 5].tolist()
        if then >= hour:  # later than now: the clock was set back
            return current, previous
        return 0, current if then == hour - 1 else 0

    def _find(self, region: int, key: Key) -> int | None:
        start = region * _REGION_WORDS
        inserts = self._words[start]
        if inserts != self._seen[region]:
            self._seen[region] = inserts
            self._slots[region] = self._read_keys(start)
        return self._slots[region].get(key)

    def _read_keys(self, start: int) -> dict[Key, int]:
        found: dict[Key, int] = {}
        for slot in range(start + 1, start + _REGION_WORDS, _SLOT_WORDS):
            if self._words[slot]:
                found[self._words[slot], self._words[slot + 1]] = slot
        return found

    def _insert(self, key: Key, hour: int) -> int:
        start = self._own * _REGION_WORDS
        words = self._words
        for slot in range(start + 1, start + _REGION_WORDS, _SLOT_WORDS):
            if not words[slot] or words[slot + 2] < hour - 1:
                words[slot + 2], words[slot + 3], words[slot + 4] = hour, 0, 0
                words[slot], words[slot + 1] = key
                words[start] += 1
                return slot
        raise TallyFull
