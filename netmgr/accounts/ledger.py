"""Owns: whether one more model call may begin, and what those that ended have used.

Every call of a limited sandbox is reserved here before it is sent and settled when it ends. There
is one ledger, in the daemon, so what it says is exact for all workers together:

- requests and concurrency are counted when a call begins: never more than the limit begin;
- tokens and money are known when a call ends: none begins once the limit is reached, so the limit
  is passed by no more than the calls use that were under way then.

Minutes slide (no 60 seconds hold more than the limit); days and months are the calendar's, in UTC.
Pure: time is given, in epoch seconds.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from netmgr.accounts.limits import BUDGETS, MONEY, TOKENS, Claim, Measure

MINUTE_S: Final = 60
MAX_OPEN: Final = 65_536  # calls under way that are counted; far above what all workers can have

Row = tuple[str, str, int, int]  # subject, measure, slot, amount


@dataclass(frozen=True, slots=True)
class Excess:
    """Why a call may not begin.

    Attributes:
        name: whose limit it is, as an operator calls it.
        retry_after_s: when the limit leaves room again, in whole seconds, 1 or more.
    """

    name: str
    measure: Measure
    limit: int
    used: int
    retry_after_s: int

    @property
    def is_budget(self) -> bool:
        """Whether something was spent, rather than asked for too fast."""
        return self.measure in BUDGETS


@dataclass(frozen=True, slots=True)
class Used:
    """What a call used.

    Attributes:
        cost: in billionths.
    """

    tokens: int = 0
    cost: int = 0


@dataclass(slots=True)
class _Window:
    """Amounts by slot: seconds of a minute, or the one day or month."""

    slots: dict[int, int] = field(default_factory=dict)


class Ledger:
    """Accounts of all limited subjects."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, Measure], _Window] = {}
        self._running: Counter[str] = Counter()
        self._open: dict[tuple[str, int], tuple[Claim, ...]] = {}
        self._changed: set[tuple[str, Measure]] = set()

    # -- calls -----------------------------------------------------------------------------

    def reserve(
        self, holder: str, number: int, claims: Sequence[Claim], now: float
    ) -> Excess | None:
        """Begin a call, if every account has room for it; none is drawn on otherwise.

        Args:
            holder: who settles it; `drop` gives up all that is one holder's.
            number: the holder's own number of the call, not in use.

        Returns:
            What has no room; None where the call may begin.

        Raises:
            ValueError: the holder has a call of that number under way.
        """
        if (holder, number) in self._open:
            raise ValueError(f"call {number} of {holder} is under way")
        for claim in claims:
            for measure, limit in claim.limits.items():
                excess = self._excess(claim, measure, limit, now)
                if excess is not None:
                    return excess
        if len(self._open) >= MAX_OPEN:
            return Excess("all sandboxes", Measure.CONCURRENCY, MAX_OPEN, len(self._open), 1)
        for claim in claims:
            self._running[claim.subject] += 1
            if Measure.REQUESTS in claim.limits:
                self._add(claim.subject, Measure.REQUESTS, 1, now)
        self._open[holder, number] = tuple(claims)
        return None

    def settle(self, holder: str, number: int, used: Used, now: float) -> None:
        """A call has ended. One that is not under way is ignored."""
        claims = self._close((holder, number))
        for claim in claims:
            for measure in claim.limits:
                if measure in TOKENS:
                    self._add(claim.subject, measure, used.tokens, now)
                elif measure in MONEY:
                    self._add(claim.subject, measure, used.cost, now)

    def drop(self, holder: str) -> None:
        """A holder is gone, and with it its calls; what they used is not known."""
        for key in [key for key in self._open if key[0] == holder]:
            self._close(key)

    def forget(self, subject: str) -> None:
        """A subject is gone for good."""
        for key in [key for key in self._windows if key[0] == subject]:
            del self._windows[key]
            self._changed.add(key)

    def subjects(self) -> frozenset[str]:
        """Everybody of whom something is counted."""
        return frozenset(subject for subject, _ in self._windows)

    # -- looking ---------------------------------------------------------------------------

    def used(self, subject: str, measure: Measure, now: float) -> int:
        """What is used up of a limit now."""
        if measure is Measure.CONCURRENCY:
            return self._running[subject]
        window = self._windows.get((subject, measure))
        if window is None:
            return 0
        _prune(window, _first_slot(measure, now))
        return sum(window.slots.values())

    # -- storage ---------------------------------------------------------------------------

    def changes(self, now: float) -> dict[tuple[str, str], list[Row]]:
        """What differs from the last call: (subject, measure) -> all its rows now."""
        rows: dict[tuple[str, str], list[Row]] = {}
        for subject, measure in self._changed:
            window = self._windows.get((subject, measure), _Window())
            _prune(window, _first_slot(measure, now))
            rows[subject, measure.value] = [
                (subject, measure.value, slot, amount) for slot, amount in window.slots.items()
            ]
        self._changed.clear()
        return rows

    def not_stored(self, rows: Iterable[tuple[str, str]]) -> None:
        """What `changes` gave could not be stored: it is given again."""
        self._changed.update((subject, Measure(measure)) for subject, measure in rows)

    def load(self, rows: Iterable[Row]) -> None:
        """Begin with what was stored; rows that are out of date count for nothing."""
        for subject, measure, slot, amount in rows:
            window = self._windows.setdefault((subject, Measure(measure)), _Window())
            window.slots[slot] = amount

    # -- inner -----------------------------------------------------------------------------

    def _excess(self, claim: Claim, measure: Measure, limit: int, now: float) -> Excess | None:
        used = self.used(claim.subject, measure, now)
        if used < limit:
            return None
        return Excess(
            claim.name, measure, limit, used, self._room_in(claim.subject, measure, limit, now)
        )

    def _room_in(self, subject: str, measure: Measure, limit: int, now: float) -> int:
        """Seconds until a limit that is reached leaves room."""
        if measure is Measure.CONCURRENCY:
            return 1
        if measure in BUDGETS:
            return max(1, round(_end_of(measure, now) - now))
        slots = self._windows.get((subject, measure), _Window()).slots
        left = sum(slots.values())
        for slot in sorted(slots):
            left -= slots[slot]
            if left < limit:
                return max(1, slot + MINUTE_S + 1 - int(now))
        return MINUTE_S + 1  # a limit of 0

    def _add(self, subject: str, measure: Measure, amount: int, now: float) -> None:
        if amount <= 0:
            return
        window = self._windows.setdefault((subject, measure), _Window())
        slot = _slot(measure, now)
        window.slots[slot] = window.slots.get(slot, 0) + amount
        _prune(window, _first_slot(measure, now))
        self._changed.add((subject, measure))

    def _close(self, key: tuple[str, int]) -> tuple[Claim, ...]:
        claims = self._open.pop(key, ())
        for claim in claims:
            self._running[claim.subject] -= 1
            if not self._running[claim.subject]:
                del self._running[claim.subject]
        return claims


def _prune(window: _Window, first: int) -> None:
    for slot in [slot for slot in window.slots if slot < first]:
        del window.slots[slot]


def _slot(measure: Measure, now: float) -> int:
    """The second, the day (since 1970), or the month (year times 12 and so on)."""
    if measure is Measure.MONEY_MONTH:
        day = datetime.fromtimestamp(now, UTC)
        return day.year * 12 + day.month - 1
    return int(now // 86_400) if measure in BUDGETS else int(now)


def _first_slot(measure: Measure, now: float) -> int:
    """The oldest slot that counts. A minute is 61 of its seconds: the first may be half over."""
    slot = _slot(measure, now)
    return slot if measure in BUDGETS else slot - MINUTE_S


def _end_of(measure: Measure, now: float) -> float:
    """When the day or the month ends."""
    midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if measure is Measure.MONEY_MONTH:
        return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()
    return (midnight + timedelta(days=1)).timestamp()
