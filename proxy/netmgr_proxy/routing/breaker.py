"""Owns: whether an endpoint that has failed lately may be asked. Pure: time is given, in seconds.

A breaker is closed (calls pass), open (none passes, until a moment), or half open (one call passes
and finds out; Nygard, "Release It!", circuit breaker). Failures count within a sliding window.
"""

from collections import deque
from enum import StrEnum
from typing import Final

from netmgr.routing.language import Breaker as BreakerRule

MAX_HOLD_S: Final = 300.0  # of an upstream's Retry-After
NEVER: Final = float("inf")


class State(StrEnum):
    """As records and metrics call it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """One breaker.

    Attributes:
        rule: may be replaced when a routing file is.
    """

    __slots__ = ("_failed", "_open_until", "_probing", "rule")

    def __init__(self, rule: BreakerRule) -> None:
        self.rule = rule
        self._failed: deque[float] = deque()
        self._open_until = 0.0  # 0: closed
        self._probing = False

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self._failed or self._open_until or self._probing)

    @property
    def probing(self) -> bool:
        """Whether a call is finding out."""
        return self._probing

    @property
    def opened_until(self) -> float:
        """Until when it is open; 0: it is closed."""
        return self._open_until

    def state(self, now: float) -> State:
        """What it is now."""
        if not self._open_until:
            return State.CLOSED
        return State.OPEN if now < self._open_until else State.HALF_OPEN

    def free_at(self, now: float) -> float:
        """The earliest moment at which a call may pass: `now`, a later one, or NEVER where that
        depends on the call that is finding out."""
        if not self._open_until:
            return now
        if self._probing:
            return NEVER
        return max(now, self._open_until)

    def begin(self, now: float) -> bool:
        """Whether a call may pass now. Where it does in a half-open state, it is the only one until
        it has ended: by `succeed`, `fail` or `leave`."""
        if self.free_at(now) > now:
            return False
        self._probing = bool(self._open_until)
        return True

    def succeed(self) -> None:
        """A call went well: closed."""
        self._failed.clear()
        self._open_until = 0.0
        self._probing = False

    def fail(self, now: float) -> bool:
        """A call failed; whether the breaker has opened by it."""
        was_closed = not self._open_until
        self._failed.append(now)
        if len(self._failed) > self.rule.failures:
            self._failed.popleft()
        oldest = now - self.rule.window_s
        while self._failed[0] < oldest:
            self._failed.popleft()
        if self._probing or (was_closed and len(self._failed) >= self.rule.failures):
            self.open_until(now + self.rule.open_s)
            return was_closed
        return False

    def open_until(self, moment: float) -> None:
        """Open until then at least: what a Retry-After says, or a dial that was none of ours."""
        self._open_until = max(self._open_until, moment)
        self._probing = False

    def leave(self) -> None:
        """A call has ended without telling anything of the endpoint (its client has left)."""
        self._probing = False
