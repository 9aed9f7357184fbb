"""Owns: telling the daemon what was decided, without letting a sandbox flood it.

The first of equal decisions is told at once; repeats within a window are counted and told together
with their exact number when it ends. What is told within a moment goes in one message. The daemon
aggregates further and gives out numbers.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Final, TypedDict

from netmgr.model import RECORDS_PER_MESSAGE, Record
from netmgr.process.frames import encode_body
from netmgr.process.ipc import Peer

WINDOW_S: Final = 1.0  # repeats of one second become one message
MAX_KINDS: Final = 4096  # different decisions held within one window; then it ends early
MAX_AT_ONCE: Final = 100  # of one sandbox in one window; what differs further is only counted
# Of the 0.2 s within which a record has to be seen, beside the 0.04 s in which the journal gathers:
# a message costs more than a record.
GATHER_S: Final = 0.02

Clock = Callable[[], float]
Key = tuple[Hashable, ...]


class Measures(TypedDict):
    """What a decision carried. Repeats are added up; of durations the longest is kept."""

    bytes_in: int
    bytes_out: int
    duration_ms: int


def measures_of(record: Record) -> Measures | None:
    """What a record carries, None where nothing was measured."""
    extra = record.extra
    if "duration_ms" not in extra:
        return None
    return Measures(
        bytes_in=extra["bytes_in"],
        bytes_out=extra["bytes_out"],
        duration_ms=extra["duration_ms"],
    )


class _Tally:
    """Repeats of one decision within a window."""

    __slots__ = ("bytes_in", "bytes_out", "count", "first", "longest_ms", "measured")

    def __init__(self, first: Record) -> None:
        self.first = first
        self.count = 0
        self.measured = False
        self.bytes_in = 0
        self.bytes_out = 0
        self.longest_ms = 0

    def add(self, measures: Measures | None) -> None:
        self.count += 1
        if measures is not None:
            self.measured = True
            self.bytes_in += measures["bytes_in"]
            self.bytes_out += measures["bytes_out"]
            self.longest_ms = max(self.longest_ms, measures["duration_ms"])

    def render(self, now: float) -> Record:
        """One record that stands for all repeats."""
        extra = dict(self.first.extra)
        if self.measured:
            extra["bytes_in"] = self.bytes_in
            extra["bytes_out"] = self.bytes_out
            extra["duration_ms"] = self.longest_ms
        return replace(self.first, time=now, count=self.count, extra=extra)


class Recorder:
    """Sends records over `daemon`."""

    def __init__(self, daemon: Peer, clock: Clock = time.time) -> None:
        self._daemon = daemon
        self._clock = clock
        self._tallies: dict[Key, _Tally] = {}
        self._told: Counter[str | None] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._gathered: list[str] = []
        self._telling: asyncio.TimerHandle | None = None
        self.sent = 0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def is_repeat(self, key: Key, measures: Measures | None) -> bool:
        """Count a decision that was told within this window; False: it was not."""
        tally = self._tallies.get(key)
        if tally is None:
            return False
        tally.add(measures)
        return True

    def tells_alone(self, sandbox: str | None) -> bool:
        """Whether a denial that somebody may ask for by its id is told by itself: of one sandbox
        MAX_AT_ONCE are in one window; the daemon counts equal ones and keeps their ids."""
        self._start_window()
        self._told[sandbox] += 1
        return self._told[sandbox] <= MAX_AT_ONCE

    def record(self, key: Key | None, record: Record) -> None:
        """Tell a decision.

        Args:
            key: what makes another decision a repeat of this one, with what was asked in it
                last; None: nothing does.
        """
        if key is not None:
            if len(self._tallies) >= MAX_KINDS:
                self._end_window()
            self._start_window()
            self._told[record.sandbox] += 1
            if self._told[record.sandbox] > MAX_AT_ONCE:
                self._count_roughly(key, record)
                return
            self._tallies[key] = _Tally(record)
        self._tell(record)

    def _count_roughly(self, key: Key, record: Record) -> None:
        """Count a decision with those that differ from it only in what was asked.

        A sandbox that asks for a thousand paths a second gets an exact number, not a record each.
        """
        rough = (*key[:-1], "other requests")
        tally = self._tallies.get(rough)
        if tally is None:
            tally = self._tallies[rough] = _Tally(record)
        tally.add(measures_of(record))

    def flush(self) -> None:
        """End the window now, and tell what was gathered."""
        self._end_window()
        self._tell_gathered()

    def _end_window(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tallies, self._tallies = self._tallies, {}
        self._told.clear()
        for tally in tallies.values():
            if tally.count:
                self._tell(tally.render(self._clock()))

    def _start_window(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW_S, self._end_window)

    def _tell(self, record: Record) -> None:
        self.tell_text(encode_body(record.to_wire()))

    def tell_text(self, text: str) -> None:
        """Tell a record that is JSON already (`Record.to_wire`), and that nothing repeats."""
        if self._daemon.closed:  # this process is about to end
            return
        self.sent += 1
        self._gathered.append(text)
        if len(self._gathered) >= RECORDS_PER_MESSAGE:
            self._tell_gathered()
        elif self._telling is None:
            loop = asyncio.get_running_loop()
            self._telling = loop.call_later(GATHER_S, self._tell_gathered)

    def _tell_gathered(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        records, self._gathered = self._gathered, []
        if records and not self._daemon.closed:
            self._daemon.tell_text("records", f'{{"records":[{",".join(records)}]}}')
