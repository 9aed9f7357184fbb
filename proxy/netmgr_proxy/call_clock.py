"""Owns: the deadlines of one model call, in the order in which they come. Pure: time is given.

A buffered answer is bounded whole by the route's timeout; a stream by it until its first body byte,
then by the idle limit between chunks; everything by the total limit where one is set.
"""

from netmgr.inference.route import InferenceRoute
from netmgr.reasons import Reason
from netmgr_proxy.flows import FOREVER
from netmgr_proxy.wire.face import Refusal


class CallClock:
    """Deadlines of a call that began at `now` (loop's time, as all times here)."""

    __slots__ = ("_begun", "_limit", "_phase", "_route", "_timeout", "_total", "first_byte_at")

    def __init__(self, route: InferenceRoute, now: float) -> None:
        self._route = route
        self._begun = now
        self._timeout = now + route.timeout_s
        self._total = now + route.total_timeout_s if route.total_timeout_s else FOREVER
        self._phase = ""
        self._limit = 0.0
        self.first_byte_at: float | None = None

    def turn_to(self, route: InferenceRoute) -> None:
        """A further attempt, by another route: its own limits count, the call's bound stays."""
        self._route = route

    @property
    def ends_at(self) -> float:
        """When the whole call is late, unless a stream has begun by then."""
        return min(self._timeout, self._total)

    def connecting(self, now: float) -> float:
        """The deadline while a connection is made."""
        limit = self._route.connect_timeout_s
        return self._earliest(now + limit, limit, "could not be connected to")

    def sent(self, now: float) -> float:
        """The deadline once the request was sent."""
        limit = self._route.first_byte_timeout_s
        return self._earliest(now + limit, limit, "sent no answer")

    def head(self, *, streaming: bool) -> float:
        """The deadline once the answer's head is there."""
        what = "sent no part of its stream" if streaming else "did not complete its answer"
        return self._earliest(FOREVER, self._route.timeout_s, what)

    def chunk(self, now: float) -> float:
        """The deadline once a chunk of a stream has come."""
        limit = self._route.idle_timeout_s
        self._phase, self._limit = "sent no further chunk", limit
        if self._total < now + limit:
            return self._bound_by_total()
        return now + limit

    def note_first_byte(self, now: float) -> None:
        """A body byte has come."""
        if self.first_byte_at is None:
            self.first_byte_at = now

    def since_begin(self, moment: float) -> float:
        """Seconds from the call's begin to a moment."""
        return max(0.0, moment - self._begun)

    @property
    def ttfb_ms(self) -> int | None:
        """Milliseconds to the first body byte."""
        if self.first_byte_at is None:
            return None
        return round((self.first_byte_at - self._begun) * 1000)

    def explain(self) -> Refusal:
        """The deadline set last has passed."""
        why = f"the model provider {self._phase} within {self._limit:g} s"
        return Refusal(Reason.UPSTREAM_TIMEOUT, why)

    def _earliest(self, own: float, limit: float, phase: str) -> float:
        self._phase, self._limit = phase, limit
        if self._timeout < own:
            self._limit = self._route.timeout_s
        deadline = min(own, self._timeout)
        return self._bound_by_total() if self._total < deadline else deadline

    def _bound_by_total(self) -> float:
        self._phase = "did not complete its stream"
        self._limit = self._route.total_timeout_s or 0.0
        return self._total
