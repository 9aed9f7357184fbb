"""Owns: what the budgets of a routing file have left. Pure: time is given, in epoch seconds.

A call is reserved at the most that it can cost before it is sent, and settled at what it did cost.
So a budget is never passed, however many calls are under way. The time of a budget slides: it is
kept in SLOTS parts, and a part counts until all of it is over.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from netmgr.accounts.ledger import Row

SLOTS: Final = 60  # a budget of an hour is exact to the minute
MAX_OPEN: Final = 65_536  # calls under way; far above what all workers can have
SUBJECT: Final = "budget:"  # of stored rows
MEASURE: Final = "money"

_Key = tuple[str, int]  # who holds it, and its number there


class Claim(NamedTuple):
    """One budget that a call draws on. Amounts in billionths.

    Attributes:
        budget: its id.
        per_s: seconds over which the limit holds.
    """

    budget: str
    limit: int
    per_s: float


class Short(NamedTuple):
    """A budget that has no room.

    Attributes:
        retry_after_s: when something of it is given back, in whole seconds, 1 or more; 0: the call
            may cost more than the whole budget, so that no time helps.
    """

    budget: str
    retry_after_s: int


class Spending:
    """What was spent and what is reserved."""

    def __init__(self) -> None:
        self._spent: dict[str, dict[int, int]] = {}  # budget -> begin of the slot -> amount
        self._open: dict[_Key, tuple[tuple[Claim, ...], int]] = {}
        self._reserved: dict[str, int] = {}
        self._changed: set[str] = set()

    def reserve(
        self, holder: str, number: int, claims: Sequence[Claim], cost: int, now: float
    ) -> list[Short]:
        """Reserve `cost` of every budget, or of none.

        Returns:
            the budgets that have no room for it; empty: it is reserved.

        Raises:
            ValueError: the holder has a call of that number under way, or too many are.
        """
        if (holder, number) in self._open or len(self._open) >= MAX_OPEN:
            raise ValueError(f"call {number} of {holder} cannot be opened")
        short = [self._short(claim, cost, now) for claim in claims if self.left(claim, now) < cost]
        if not short:
            self._open[holder, number] = (tuple(claims), cost)
            for claim in claims:
                self._reserved[claim.budget] = self._reserved.get(claim.budget, 0) + cost
        return short

    def settle(self, holder: str, number: int, cost: int, now: float) -> list[Claim]:
        """A call has ended, and cost that much.

        Returns:
            what it drew on; empty where it was not reserved.
        """
        claims, _ = self._close((holder, number))
        for claim in claims:
            if cost > 0:
                slot = int(now // _width(claim)) * _width(claim)
                slots = self._spent.setdefault(claim.budget, {})
                slots[slot] = slots.get(slot, 0) + cost
                self._changed.add(claim.budget)
        return list(claims)

    def drop(self, holder: str) -> None:
        """A holder is gone: what its calls cost is not known, so all that was reserved counts as
        given back."""
        for key in [key for key in self._open if key[0] == holder]:
            self._close(key)

    def left(self, claim: Claim, now: float) -> int:
        """What a budget has left, reservations taken off."""
        return claim.limit - self.used(claim, now) - self._reserved.get(claim.budget, 0)

    def used(self, claim: Claim, now: float) -> int:
        """What was spent within the time of a budget."""
        slots = self._spent.get(claim.budget, {})
        oldest = now - claim.per_s - _width(claim)
        for slot in [slot for slot in slots if slot <= oldest]:
            del slots[slot]
        return sum(slots.values())

    # -- storage -----------------------------------------------------------------------------

    def changes(self) -> dict[tuple[str, str], list[Row]]:
        """What differs from the last call: (subject, measure) -> all its rows now."""
        rows: dict[tuple[str, str], list[Row]] = {}
        for budget in self._changed:
            subject = SUBJECT + budget
            slots = self._spent.get(budget, {}).items()
            rows[subject, MEASURE] = [(subject, MEASURE, slot, cost) for slot, cost in slots]
        self._changed.clear()
        return rows

    def not_stored(self, rows: Iterable[tuple[str, str]]) -> None:
        """What `changes` gave could not be stored: it is given again."""
        subjects = (subject for subject, _ in rows if subject.startswith(SUBJECT))
        self._changed.update(subject.removeprefix(SUBJECT) for subject in subjects)

    def load(self, rows: Iterable[Row]) -> None:
        """Begin with what was stored; rows of others are passed by."""
        for subject, _, slot, amount in rows:
            if subject.startswith(SUBJECT):
                self._spent.setdefault(subject.removeprefix(SUBJECT), {})[slot] = amount

    # -- inner -------------------------------------------------------------------------------

    def _short(self, claim: Claim, cost: int, now: float) -> Short:
        if cost > claim.limit:
            return Short(claim.budget, 0)
        slots = self._spent.get(claim.budget)
        if not slots:
            return Short(claim.budget, 1)  # all of it is reserved by calls under way
        over = min(slots) + _width(claim) + claim.per_s
        return Short(claim.budget, max(1, round(over - now)))

    def _close(self, key: _Key) -> tuple[tuple[Claim, ...], int]:
        claims, cost = self._open.pop(key, ((), 0))
        for claim in claims:
            left = self._reserved.get(claim.budget, 0) - cost  # what costs nothing leaves no entry
            if left:
                self._reserved[claim.budget] = left
            else:
                self._reserved.pop(claim.budget, None)
        return claims, cost


def _width(claim: Claim) -> int:
    return max(1, int(claim.per_s // SLOTS))
