"""Owns: which endpoints may be asked, and how they do, as this worker has seen it. Pure.

Two breakers stand before an endpoint. The shared one counts what no sandbox can provoke (it cannot
be connected to, its certificate is wrong), and of everything else one failure of each sandbox; the
other one counts all failures of one sandbox and stops that sandbox alone. So nobody who knows how
to make a provider answer 500 takes it away from everybody else.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from netmgr.routing.contract import Health, HealthBoard
from netmgr.routing.language import Breaker as BreakerRule
from netmgr_proxy.routing.breaker import NEVER, Breaker, State
from netmgr_proxy.routing.failure import Fault
from netmgr_proxy.routing.latency import Latency

TICK_S: Final = 1.0  # how old the board may be that plans are ordered by
MAX_OWN: Final = 4096  # breakers of single sandboxes; beyond it those with nothing to tell go


@dataclass(slots=True)
class _Endpoint:
    """One endpoint as this worker knows it."""

    shared: Breaker
    latency: Latency = field(default_factory=Latency)
    in_flight: int = 0
    blamed: dict[str, float] = field(default_factory=dict)  # sandbox -> when it last counted


class Availability:
    """Breakers and health of all endpoints of one worker."""

    def __init__(self) -> None:
        self._endpoints: dict[str, _Endpoint] = {}
        self._own: dict[tuple[str, str], Breaker] = {}
        self._waiting: set[Callable[[], None]] = set()
        self._board = HealthBoard()
        self._board_at = -TICK_S
        self._dirty = False

    # -- asking ------------------------------------------------------------------------------

    def free_at(self, endpoint: str, sandbox: str, now: float) -> float:
        """The earliest moment at which that sandbox's call may go there; see Breaker.free_at."""
        known = self._endpoints.get(endpoint)
        shared = known.shared.free_at(now) if known else now
        own = self._own.get((endpoint, sandbox))
        return max(shared, own.free_at(now)) if own else shared

    def begin(self, endpoint: str, sandbox: str, rule: BreakerRule, now: float) -> bool:
        """Take a place for a call, if there is one. Every call that has one ends with `succeeded`,
        `failed` or `left`."""
        if self.free_at(endpoint, sandbox, now) > now:
            return False
        known = self._know(endpoint, rule)
        known.shared.begin(now)
        if own := self._own.get((endpoint, sandbox)):
            own.begin(now)
        known.in_flight += 1
        self._dirty = True
        return True

    def board(self, now: float) -> HealthBoard:
        """The health of every endpoint, TICK_S old at most."""
        if self._dirty and now - self._board_at >= TICK_S:
            found = {name: _health(each, now) for name, each in self._endpoints.items()}
            if found != self._board.by_id:
                self._board = HealthBoard(self._board.tick + 1, found)
            self._board_at = now
            # An open breaker changes by the mere passing of time.
            self._dirty = any(not each.available for each in found.values())
        return self._board

    def states(self, now: float) -> dict[str, State]:
        """The shared breaker of every endpoint."""
        return {name: each.shared.state(now) for name, each in self._endpoints.items()}

    def wait(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Be woken whenever a breaker may have closed; the result ends that."""
        self._waiting.add(wake)
        return lambda: self._waiting.discard(wake)

    # -- telling -----------------------------------------------------------------------------

    def succeeded(self, endpoint: str, sandbox: str, first_byte_s: float | None) -> None:
        """A call has been answered."""
        known = self._end(endpoint)
        if known is None:
            return
        known.shared.succeed()
        known.blamed.clear()
        self._own.pop((endpoint, sandbox), None)
        if first_byte_s is not None:
            known.latency.note(first_byte_s)
        self._wake()

    def failed(
        self, endpoint: str, sandbox: str, rule: BreakerRule, fault: Fault, now: float
    ) -> bool:
        """A call has failed; whether the endpoint is left alone by all from now on."""
        known = self._end(endpoint)
        if known is None:
            return False
        own = self._own_breaker(endpoint, sandbox, rule)
        own.fail(now)
        last = known.blamed.get(sandbox, -NEVER)
        opened = False
        if fault.of_the_endpoint or now - last >= rule.window_s:
            known.blamed[sandbox] = now
            opened = known.shared.fail(now)
        else:
            known.shared.leave()
        if fault.elsewhere:
            opened = known.shared.state(now) is State.CLOSED
            known.shared.open_until(now + rule.open_s)
        if fault.retry_after_s:
            own.open_until(now + fault.retry_after_s)
        self._wake()
        return opened

    def left(self, endpoint: str, sandbox: str) -> None:
        """A call has ended without telling anything of its endpoint."""
        known = self._end(endpoint)
        if known is not None:
            known.shared.leave()
        if own := self._own.get((endpoint, sandbox)):
            own.leave()
        self._wake()

    def keep_only(self, endpoints: frozenset[str]) -> None:
        """A new generation: what is in no file any more is forgotten, unless it is being asked."""
        for name in self._endpoints.keys() - endpoints:
            if not self._endpoints[name].in_flight:
                del self._endpoints[name]
        self._own = {key: each for key, each in self._own.items() if key[0] in endpoints}
        self._dirty = True

    def forget_sandbox(self, sandbox: str) -> None:
        """A sandbox is gone; its address may come back as another's."""
        self._own = {key: each for key, each in self._own.items() if key[1] != sandbox}
        for each in self._endpoints.values():
            each.blamed.pop(sandbox, None)

    # -- inner -------------------------------------------------------------------------------

    def _know(self, endpoint: str, rule: BreakerRule) -> _Endpoint:
        known = self._endpoints.get(endpoint)
        if known is None:
            known = self._endpoints[endpoint] = _Endpoint(Breaker(rule))
        elif known.shared.rule != rule:
            known.shared.rule = rule
        return known

    def _end(self, endpoint: str) -> _Endpoint | None:
        known = self._endpoints.get(endpoint)
        if known is not None:
            known.in_flight -= 1
            self._dirty = True
        return known

    def _own_breaker(self, endpoint: str, sandbox: str, rule: BreakerRule) -> Breaker:
        found = self._own.get((endpoint, sandbox))
        if found is None:
            if len(self._own) >= MAX_OWN:
                self._own = {key: each for key, each in self._own.items() if not each.quiet}
            found = self._own[endpoint, sandbox] = Breaker(rule)
        return found

    def _wake(self) -> None:
        for wake in tuple(self._waiting):
            wake()


def _health(each: _Endpoint, now: float) -> Health:
    return Health(
        available=each.shared.state(now) is not State.OPEN,
        latency_p95_s=each.latency.p95,
        latency_ewma_s=each.latency.mean,
        in_flight=each.in_flight,
    )
