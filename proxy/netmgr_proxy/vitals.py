"""Owns: the memory in which the proxy workers tell each other how endpoints do.

One shared memory for all of them, as netmgr_proxy.tally's: each worker writes a region of its own
and reads all, so that nobody waits for anybody. A worker that starts anew reads what stands there,
its forerunner's words too. Who is the one that probes a broken endpoint is a lock on a byte that
the kernel gives back when its holder dies.

    heads:  of each region, how many news it has told, how often a number in it has changed, and
            how often a slot of it was taken or left
    region: NEWS news, then SLOTS slots of (endpoint, calls under way, answers, their samples)

All of it are 64-bit words, each written at once. A hijacked worker can make the others careful, or
careless of an endpoint that is broken; which endpoints a call may go to is decided elsewhere.
"""

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final

from netmgr_proxy.routing.latency import WINDOW, Sample
from netmgr_proxy.routing.others import News

NEWS: Final = 512  # of one worker; failures alone are news, and who fails is soon left alone
SLOTS: Final = 1024  # endpoints of a routing file, a thousand at most, and some that are going
LEAST_SAMPLES: Final = 8  # of one worker, however many there are
MOST_AHEAD_S: Final = 3600.0  # that a breaker is open; a file's longest
_NEWS_WORDS: Final = 7
_SLOT_WORDS: Final = 3
_WORD: Final = 8
_HEADS: Final = 3
_WELL: Final = 1
_BLAMED: Final = 2
_LOCK: Final = "@hhqqi0q"  # struct flock, fcntl(2)


def _samples(regions: int) -> int:
    """Samples that each worker keeps: WINDOW of all together."""
    return max(LEAST_SAMPLES, WINDOW // regions)


def _region_words(regions: int) -> int:
    return NEWS * _NEWS_WORDS + SLOTS * (_SLOT_WORDS + 2 * _samples(regions))


def make_vitals(regions: int) -> int:
    """A descriptor of empty memory for that many workers; the caller closes it. Its size is sealed,
    and what is not written costs nothing."""
    fd = os.memfd_create("netmgr-vitals", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, regions * (_HEADS + _region_words(regions)) * _WORD)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


class Vitals:
    """One worker's pen and glasses; an Others.

    Args:
        fd: of `make_vitals`; may be closed afterwards. /proc has to be there.
        index: the region that this worker writes.
        regions: how many there are.
    """

    def __init__(
        self, fd: int, index: int, regions: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # A description of its own: open file description locks of a shared one are everybody's.
        self._fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        self._memory = mmap.mmap(self._fd, 0, mmap.MAP_SHARED)
        view = memoryview(self._memory)
        self._words, self._floats = view.cast("Q"), view.cast("d")
        self._own, self._regions, self._clock = index, regions, clock
        self._per_worker = _samples(regions)
        self._told = self._words[:regions]
        self._moves = self._words[regions : 2 * regions]
        self._turns = self._words[2 * regions : 3 * regions]  # of slots
        self._news_read = [0] * regions
        self._moves_seen: list[int] = []
        self._turns_seen = [-1] * regions
        self._slots: list[dict[int, int]] = [{} for _ in range(regions)]
        self._begin_anew()

    def close(self) -> None:
        """Let the memory go, and with it every lock."""
        for view in (self._told, self._moves, self._turns, self._words, self._floats):
            view.release()
        self._memory.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1  # a second close would end whatever has the number by then

    def _begin_anew(self) -> None:
        """The calls of the worker before this one have ended with it."""
        for slot in self._read_slots(self._own).values():
            self._words[slot + 1] = 0

    # -- news --------------------------------------------------------------------------------

    def news(self) -> Sequence[News]:
        """See Others. The first time: what its forerunner told, too."""
        told = self._told.tolist()
        if told == self._news_read:
            return ()
        found: list[News] = []
        for region, count in enumerate(told):
            for number in range(max(self._news_read[region], count - NEWS), count):
                if (each := self._read(region, number)) is not None:
                    found.append(each)
        self._news_read = told
        return sorted(found, key=lambda each: each.time)

    def tell(self, news: News) -> None:
        """See Others."""
        count = self._told[self._own]
        place = self._news_at(self._own, count)
        flags = _WELL * news.well | _BLAMED * news.blamed
        self._words[place], self._words[place + 1], self._words[place + 2] = (
            news.endpoint,
            news.sandbox,
            flags,
        )
        times = (news.time, news.shared_until, news.own_until)
        for offset, moment in enumerate(times, 3):
            self._floats[place + offset] = moment
        self._told[self._own] = count + 1
        if self._news_read[self._own] == count:
            self._news_read[self._own] = count + 1  # it knows

    def _news_at(self, region: int, number: int) -> int:
        start = _HEADS * self._regions + region * _region_words(self._regions)
        return start + number % NEWS * _NEWS_WORDS

    def _read(self, region: int, number: int) -> News | None:
        """One piece of news; None where it makes no sense: the memory is written by workers, and
        they read hostile bytes."""
        place, now = self._news_at(region, number), self._clock()
        endpoint, sandbox, flags = self._words[place : place + 3].tolist()
        moment, shared, own = self._floats[place + 3 : place + 6].tolist()
        latest = now + MOST_AHEAD_S
        if not (0 <= moment <= now and 0 <= shared <= latest and 0 <= own <= latest):
            return None  # not a number is none of that either
        blamed = bool(flags & _BLAMED)
        return News(endpoint, sandbox, moment, bool(flags & _WELL), blamed, shared, own)

    # -- probes ------------------------------------------------------------------------------

    def take(self, probe: int) -> bool:
        """See Others."""
        try:
            self._lock(fcntl.F_WRLCK, probe)
        except OSError:
            return False
        return True

    def leave(self, probe: int) -> None:
        """See Others."""
        self._lock(fcntl.F_UNLCK, probe)

    def _lock(self, kind: int, probe: int) -> None:
        place = struct.pack(_LOCK, kind, os.SEEK_SET, probe >> 2, 1, 0)  # an offset has a sign
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, place)

    # -- numbers -----------------------------------------------------------------------------

    def moved(self) -> bool:
        """See Others."""
        moves = self._moves.tolist()
        before, self._moves_seen = self._moves_seen, moves
        return moves != before

    def seen(self, endpoint: int) -> tuple[int, Sequence[Sample]]:
        """See Others."""
        calls, samples = 0, list[Sample]()
        for region in range(self._regions):
            if region != self._own and (slot := self._find(region, endpoint)) is not None:
                calls += min(self._words[slot + 1], 1 << 20)
                samples += self._samples_at(slot)
        return calls, samples

    def count(self, endpoint: int, step: int) -> None:
        """See Others."""
        slot = self._find(self._own, endpoint) or self._insert(endpoint)
        if slot is not None:
            self._words[slot + 1] = max(0, self._words[slot + 1] + step)
            self._moves[self._own] += 1

    def note(self, endpoint: int, now: float, seconds: float) -> None:
        """See Others."""
        slot = self._find(self._own, endpoint) or self._insert(endpoint)
        if slot is not None:
            answers = self._words[slot + 2]
            place = slot + _SLOT_WORDS + answers % self._per_worker * 2
            self._floats[place], self._floats[place + 1] = now, seconds
            self._words[slot + 2] = answers + 1
            self._moves[self._own] += 1

    def keep_only(self, endpoints: frozenset[int]) -> None:
        """See Others."""
        for endpoint, slot in self._read_slots(self._own).items():
            if endpoint not in endpoints and not self._words[slot + 1]:
                self._words[slot] = 0
        self._turns[self._own] += 1
        self._moves[self._own] += 1

    def _samples_at(self, slot: int) -> list[Sample]:
        now, kept = self._clock(), min(self._words[slot + 2], self._per_worker)
        start = slot + _SLOT_WORDS
        flat = self._floats[start : start + 2 * kept].tolist()
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [(t, s) for t, s in pairs if 0 <= t <= now and 0 <= s <= MOST_AHEAD_S]

    def _find(self, region: int, endpoint: int) -> int | None:
        turns = self._turns[region]
        if turns != self._turns_seen[region]:
            self._turns_seen[region] = turns
            self._slots[region] = self._read_slots(region)
        return self._slots[region].get(endpoint)

    def _read_slots(self, region: int) -> dict[int, int]:
        return {self._words[slot]: slot for slot in self._places(region) if self._words[slot]}

    def _places(self, region: int) -> range:
        start = self._news_at(region, 0) + NEWS * _NEWS_WORDS
        size = _SLOT_WORDS + 2 * self._per_worker
        return range(start, start + SLOTS * size, size)

    def _insert(self, endpoint: int) -> int | None:
        """A slot for an endpoint; None where there is none: then nobody else knows of it."""
        for slot in self._places(self._own):
            if not self._words[slot]:
                self._words[slot + 1] = self._words[slot + 2] = 0
                self._words[slot] = endpoint
                self._turns[self._own] += 1
                return slot
        return None
