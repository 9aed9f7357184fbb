"""Owns: the end of an entry's life: how `expires` is written, and what holds once it has passed.

The only place of this room that asks a clock, and only for policies that have something to expire.
An expiry takes away and never grants: what an expired entry denied or had judged request by
request stays so, and what it alone allowed is denied with the reason `expired`. The wall clock of
the decision counts: setting the clock back brings an entry back, setting it forward ends it.
"""

import re
import shlex
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from netmgr.policy.decision import (
    Decision,
    DestinationPlan,
    Inspection,
    NameDecision,
    Request,
    Target,
    Treatment,
)
from netmgr.policy.index import Index
from netmgr.policy.judge import Judge
from netmgr.policy.owner import UNKNOWN, Owner
from netmgr.policy.rules import Entry, Expiry, entry_of
from netmgr.reasons import Reason, Verdict

Clock = Callable[[], float]

_RENEWAL: Final = timedelta(days=1)  # what the remedy of an expired entry asks for
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME: Final = re.compile(  # RFC 3339 §5.6
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?([Zz]|[+-]\d{2}:\d{2})"
)


def parse_expiry(text: str) -> Expiry:
    """A date (its last moment in UTC counts) or an RFC 3339 time.

    Raises:
        ValueError: neither, or no such day.
    """
    if _DATE.fullmatch(text):
        day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        return Expiry(text, (day + timedelta(days=1)).timestamp())
    if not _TIME.fullmatch(text):
        raise ValueError(
            f"{text!r}: expected a date (2027-01-31) or a time with its zone (2027-01-31T12:00:00Z)"
        )
    moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    return Expiry(moment.isoformat().replace("+00:00", "Z"), moment.timestamp())


def lapsed_warnings(entries: Iterable[Entry], now: float) -> tuple[str, ...]:
    """What an author should know of entries whose time has passed already."""
    return tuple(
        f"network_policies.{entry.key}: expired on {entry.expires.text}: it allows nothing"
        for entry in entries
        if entry.expires is not None and entry.expires.at <= now
    )


@dataclass(frozen=True, slots=True)
class _Stand:
    """What holds at one time.

    Attributes:
        lapsed: how many deadlines have passed.
    """

    lapsed: int
    index: Index
    judge: Judge


class TimedJudge:
    """Answers like a `Judge`, from entries of which some expire.

    Args:
        entries: in the order in which decisions name them.
        whole: the index of all their endpoints.
        clock: epoch seconds.
    """

    __slots__ = ("_clock", "_deadlines", "_entries", "_stand", "_whole", "expiries")

    def __init__(self, entries: Iterable[Entry], whole: Index, clock: Clock = time.time) -> None:
        self._entries = tuple(entries)
        self._clock = clock
        self.expiries: Final = {e.key: e.expires for e in self._entries if e.expires is not None}
        self._deadlines = sorted({expiry.at for expiry in self.expiries.values()})
        self._whole = _Stand(0, whole, Judge(whole))
        self._stand = self._whole

    def at(self, moment: float) -> "TimedJudge":
        """The same with a clock that stands still."""
        return TimedJudge(self._entries, self._whole.index, lambda: moment)

    # -- time ------------------------------------------------------------------------------

    def phase(self, moment: float) -> int:
        """How many deadlines have passed: equal phases decide alike."""
        return bisect_right(self._deadlines, moment)

    def next_deadline(self, moment: float) -> float | None:
        """When something changes by itself, after `moment`."""
        passed = self.phase(moment)
        return self._deadlines[passed] if passed < len(self._deadlines) else None

    @property
    def index(self) -> Index:
        """The endpoints that have not expired."""
        return self._now().index

    def _now(self) -> _Stand:
        lapsed = self.phase(self._clock())
        if lapsed != self._stand.lapsed:
            self._stand = self._stand_after(lapsed) if lapsed else self._whole
        return self._stand

    def _stand_after(self, lapsed: int) -> _Stand:
        past = self._deadlines[lapsed - 1]
        index = Index(
            endpoint
            for entry in self._entries
            if entry.expires is None or entry.expires.at > past
            for endpoint in entry.endpoints
        )
        return _Stand(lapsed, index, Judge(index))

    # -- decisions -------------------------------------------------------------------------

    def covers(self, name: str) -> bool:
        """Whether a rule names it, expired or not."""
        return bool(self._whole.judge.ports_of(name))

    def judge_name(self, name: str) -> NameDecision:
        """As `Judge.judge_name`."""
        stand, whole = self._now(), self._whole.judge.judge_name(name)
        if stand is self._whole or not whole.decision.permits:
            return whole
        now = stand.judge.judge_name(name)
        return NameDecision(self._both(name, whole.decision, now.decision), now.ports)

    def ports_of(self, name: str) -> frozenset[int]:
        """As `Judge.ports_of`."""
        return self._now().judge.ports_of(name)

    def asks_who(self, target: Target) -> bool:
        """As `Judge.asks_who`, expired entries included: their denials count."""
        return self._whole.judge.asks_who(target)

    def judge_connection(self, target: Target, owner: Owner = UNKNOWN) -> Decision:
        """As `Judge.judge_connection`."""
        stand, whole = self._now(), self._whole.judge.judge_connection(target, owner)
        if stand is self._whole or not whole.permits:
            return whole
        return self._both(str(target), whole, stand.judge.judge_connection(target, owner))

    def judge_request(self, target: Target, request: Request, owner: Owner = UNKNOWN) -> Decision:
        """As `Judge.judge_request`."""
        stand, whole = self._now(), self._whole.judge.judge_request(target, request, owner)
        if stand is self._whole or not whole.permits:
            return whole
        asked = f"{request.method} {request.path} on {target}"
        return self._both(asked, whole, stand.judge.judge_request(target, request, owner))

    def inspection(
        self, target: Target, request: Request, owner: Owner = UNKNOWN
    ) -> Inspection | None:
        """As `Judge.inspection`: what either of both answers has to know."""
        whole = self._whole.judge.inspection(target, request, owner)
        return whole or self._now().judge.inspection(target, request, owner)

    def destination_plan(self, target: Target, owner: Owner = UNKNOWN) -> DestinationPlan | None:
        """As `Judge.destination_plan`."""
        return self._now().judge.destination_plan(target, owner)

    def _both(self, asked: str, whole: Decision, now: Decision) -> Decision:
        """What holds where `whole` permits: the answer without what has expired, never looser."""
        if now.permits:
            strict = Treatment.TERMINATE in (whole.treatment, now.treatment)
            return replace(now, treatment=Treatment.TERMINATE) if strict else now
        ended = self.expiries.get(entry_of(whole.rule))
        if ended is None:  # the rule that permits still stands; another of its parts has ended
            return now
        renewed = datetime.fromtimestamp(self._clock(), UTC) + _RENEWAL
        return Decision(
            Verdict.DENIED,
            Reason.EXPIRED,
            whole.rule,
            f"{whole.rule} allowed {asked} until {ended.text}",
            whole.rule,
            _renew(entry_of(whole.rule), renewed.date()),
            whole.treatment,
        )


def _renew(entry: str, until: date) -> str:
    """The arguments that would give the entry a little more time."""
    return f"--rule-name {shlex.quote(entry)} --expires {until.isoformat()}"
