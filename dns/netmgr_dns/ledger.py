"""Owns: which DNS decisions become records, and the exact counts of the rest. Pure.

The first occurrence of (sandbox, name, class of type, reason) is told at once; repeats, among them
every answer from the cache, become one record per window (contract, "Decision record"). A sandbox
that asks for ever new names cannot flood the journal: beyond its budget they are counted, exactly,
in one record without a name.
"""

from dataclasses import replace
from typing import Final

from netmgr.model import Record
from netmgr_dns.budget import Budget

WINDOW_S: Final = 10.0  # contract: one record per 10 s for repeats
MAX_TALLIES: Final = 256  # per sandbox and window; a busy build looks up some dozen names
FIRSTS_PER_S: Final = 20.0  # records told at once, per sandbox
FIRSTS_BURST: Final = 200.0  # the names that one program start may bring

Key = tuple[str, ...]


class Tally:
    """How often something happened since it was last told."""

    __slots__ = ("count", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.count = 0


class Ledger:
    """One sandbox's tallies.

    A tally outlives its window only while something still happens to it; a cache entry may hold on
    to one for longer, and counts on with it.
    """

    def __init__(self) -> None:
        self._tallies: dict[Key, Tally] = {}
        self._busy: dict[int, Tally] = {}
        self._firsts = Budget(FIRSTS_PER_S, FIRSTS_BURST)

    def note(self, key: Key, record: Record, now: float) -> tuple[Tally, Record | None]:
        """Count one decision. Gives its tally, and the record where it has to be told at once.

        Args:
            key: what makes two decisions the same for the reader.
            now: monotonic seconds.
        """
        tally = self._tallies.get(key)
        if tally is not None:
            self.hit(tally)
            return tally, None
        if len(self._tallies) < MAX_TALLIES and self._firsts.take(now):
            tally = self._tallies[key] = Tally(record)
            return tally, record
        tally = self._crowd(record)
        self.hit(tally)
        return tally, None

    def hit(self, tally: Tally) -> None:
        """Count one more of what `tally` stands for."""
        if not tally.count:
            self._busy[id(tally)] = tally
        tally.count += 1

    def drain(self, time: float) -> list[Record]:
        """The window is over: one record for each tally that was hit. `time` is the epoch's."""
        busy = self._busy.values()
        told = [replace(tally.record, time=time, count=tally.count) for tally in busy]
        self._tallies = {key: tally for key, tally in self._tallies.items() if tally.count}
        for tally in busy:
            tally.count = 0
        self._busy = {}
        return told

    def restart(self, time: float) -> list[Record]:
        """Drain, and forget everything: what comes now is new (another policy revision)."""
        told = self.drain(time)
        self._tallies = {}
        return told

    def _crowd(self, record: Record) -> Tally:
        """The tally of names beyond the budget: one per verdict and reason."""
        key = ("", record.verdict.value, record.reason.value)
        tally = self._tallies.get(key)
        if tally is None:
            crowd = replace(
                record,
                destination=replace(record.destination, name=None, ip=None),
                rule=None,
                remedy=None,
                message="more different names than are recorded one by one",
            )
            tally = self._tallies[key] = Tally(crowd)
        return tally
