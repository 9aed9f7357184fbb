"""Owns: which endpoints may be asked, and how they do, as all proxy workers have seen it. Pure.

Two breakers stand before an endpoint. The shared one counts what no sandbox can provoke (it cannot
be connected to, its certificate is wrong), and of everything else one failure of each sandbox; the
other one counts all failures of one sandbox and stops that sandbox alone. So nobody who knows how
to make a provider answer 500 takes it away from everybody else.

Every worker has both, and does to them what the others tell; which of them probes an endpoint that
was broken is settled among them (netmgr_proxy.routing.others).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from netmgr.routing.contract import Health, HealthBoard
from netmgr.routing.language import Breaker as BreakerRule
from netmgr_proxy.routing.breaker import NEVER, Breaker, State
from netmgr_proxy.routing.failure import Fault
from netmgr_proxy.routing.latency import Latency
from netmgr_proxy.routing.others import ALONE, News, Others

TICK_S: Final = 1.0  # how old the board may be that plans are ordered by
MAX_OWN: Final = 4096  # breakers of single sandboxes; beyond it those with nothing to tell go
LOOK_AGAIN_S: Final = 0.05  # where another worker's call is finding out


@lru_cache(8192)
def number_of(name: str) -> int:
    """What a name is called between workers; never 0."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") | 1


@dataclass(slots=True)
class _Endpoint:
    """One endpoint as this worker knows it."""

    number: int
    shared: Breaker
    latency: Latency = field(default_factory=Latency)
    in_flight: int = 0
    blamed: dict[int, float] = field(default_factory=dict)  # sandbox -> when it last counted


class Availability:
    """Breakers and health of all endpoints.

    Args:
        others: the other workers.
    """

    def __init__(self, others: Others = ALONE) -> None:
        self._others = others
        self._endpoints: dict[str, _Endpoint] = {}
        self._names: dict[int, str] = {}  # of endpoints that news are taken of
        self._own: dict[tuple[int, int], Breaker] = {}
        self._probes: set[int] = set()  # that this worker is the one for
        self._waiting: set[Callable[[], None]] = set()
        self._board = HealthBoard()
        self._board_at = -TICK_S
        self._dirty = False

    def in_force(self, endpoints: frozenset[str], rule: BreakerRule) -> None:
        """A new generation: what is in no file any more is forgotten, unless it is being asked."""
        for name in self._endpoints.keys() - endpoints:
            if not self._endpoints[name].in_flight:
                del self._endpoints[name]
        for name in endpoints:
            self._know(name, rule)
        self._names = {each.number: name for name, each in self._endpoints.items()}
        self._own = {key: each for key, each in self._own.items() if key[0] in self._names}
        for breaker in self._own.values():
            breaker.rule = rule
        self._others.keep_only(frozenset(self._names))
        self._dirty = True

    def forget_sandbox(self, sandbox: str) -> None:
        """A sandbox is gone; its address may come back as another's."""
        who = number_of(sandbox)
        self._own = {key: each for key, each in self._own.items() if key[1] != who}
        for each in self._endpoints.values():
            each.blamed.pop(who, None)

    # -- asking ------------------------------------------------------------------------------

    def free_at(self, endpoint: str, sandbox: str, now: float) -> float:
        """The earliest moment at which that sandbox's call may go there; see Breaker.free_at."""
        self._listen()
        known = self._endpoints.get(endpoint)
        if known is None:
            return now
        shared = known.shared.free_at(now)
        own = self._own.get((known.number, number_of(sandbox))) if self._own else None
        return max(shared, own.free_at(now)) if own else shared

    def begin(self, endpoint: str, sandbox: str, rule: BreakerRule, now: float) -> bool:
        """Take a place for a call, if there is one. Every call that has one ends with `succeeded`,
        `failed` or `left`."""
        if self.free_at(endpoint, sandbox, now) > now:
            return False
        known = self._know(endpoint, rule)
        key = (known.number, number_of(sandbox))
        own = self._own.get(key)
        if not self._may_probe(known.shared, known.number, now):
            return False
        if own is not None and not self._may_probe(own, _probe(key), now):
            self._settle(known, key)
            return False
        known.shared.begin(now)
        if own is not None:
            own.begin(now)
        known.in_flight += 1
        self._others.count(known.number, 1)
        self._dirty = True
        return True

    def board(self, now: float) -> HealthBoard:
        """The health of every endpoint, TICK_S old at most."""
        if now - self._board_at < TICK_S:
            return self._board
        self._listen()
        if self._others.moved() or self._dirty:
            found = {name: self._health(each, now) for name, each in self._endpoints.items()}
            if found != self._board.by_id:
                self._board = HealthBoard(self._board.tick + 1, found)
            # An open breaker changes by the mere passing of time.
            self._dirty = any(not each.available for each in found.values())
        self._board_at = now
        return self._board

    def states(self, now: float) -> dict[str, State]:
        """The shared breaker of every endpoint."""
        self._listen()
        return {name: each.shared.state(now) for name, each in self._endpoints.items()}

    def wait(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Be woken whenever a call has ended here; what others tell is seen by looking again."""
        self._waiting.add(wake)
        return lambda: self._waiting.discard(wake)

    # -- telling -----------------------------------------------------------------------------

    def succeeded(
        self, endpoint: str, sandbox: str, first_byte_s: float | None, now: float
    ) -> None:
        """A call has been answered."""
        known = self._end(endpoint)
        if known is None:
            return
        key = (known.number, number_of(sandbox))
        if not known.shared.quiet or key in self._own:
            self._others.tell(News(*key, time=now, well=True))
        self._heal(known, key)
        self._settle(known, key)
        if first_byte_s is not None:
            known.latency.note(now, first_byte_s)
            self._others.note(known.number, now, first_byte_s)
        self._wake()

    def failed(
        self, endpoint: str, sandbox: str, rule: BreakerRule, fault: Fault, now: float
    ) -> bool:
        """A call has failed; whether the endpoint is left alone by all from now on."""
        known = self._end(endpoint)
        if known is None:
            return False
        self._listen()
        key = (known.number, number_of(sandbox))
        own = self._own_breaker(key, rule)
        own.fail(now)
        last = known.blamed.get(key[1], -NEVER)
        blamed = fault.of_the_endpoint or now - last >= rule.window_s
        opened = self._blame(known, key[1], now) if blamed else False
        if not blamed:
            known.shared.leave()
        if fault.elsewhere:
            opened = known.shared.state(now) is State.CLOSED
            known.shared.open_until(now + rule.open_s)
        if fault.retry_after_s:
            own.open_until(now + fault.retry_after_s)
        told = (known.shared.opened_until, own.opened_until)
        self._others.tell(News(*key, now, False, blamed, *told))
        self._settle(known, key)
        self._wake()
        return opened

    def left(self, endpoint: str, sandbox: str) -> None:
        """A call has ended without telling anything of its endpoint."""
        known = self._end(endpoint)
        if known is not None:
            known.shared.leave()
            key = (known.number, number_of(sandbox))
            if own := self._own.get(key):
                own.leave()
            self._settle(known, key)
        self._wake()

    # -- what others tell --------------------------------------------------------------------

    def _listen(self) -> None:
        if not self._names:
            return  # before the first file nobody can be meant
        for news in self._others.news():
            name = self._names.get(news.endpoint)
            known = self._endpoints.get(name) if name is not None else None
            if known is not None:
                self._hear(known, news)

    def _hear(self, known: _Endpoint, news: News) -> None:
        """Do to the breakers what the other worker did to its own."""
        key = (news.endpoint, news.sandbox)
        if news.well:
            self._heal(known, key)
        else:
            own = self._own_breaker(key, known.shared.rule)
            own.fail(news.time)
            if news.own_until:
                own.open_until(news.own_until)
            if news.blamed:
                self._blame(known, key[1], news.time)
            if news.shared_until:
                known.shared.open_until(news.shared_until)
        self._settle(known, key)
        self._dirty = True

    # -- inner -------------------------------------------------------------------------------

    def _may_probe(self, breaker: Breaker, probe: int, now: float) -> bool:
        """Whether a call may pass a breaker that lets it: of a half-open one's, one of all workers'
        may."""
        if breaker.state(now) is not State.HALF_OPEN:
            return True
        if not self._others.take(probe):
            breaker.open_until(now + LOOK_AGAIN_S)
            return False
        self._probes.add(probe)
        return True

    def _settle(self, known: _Endpoint, key: tuple[int, int]) -> None:
        """Let go of probes that have ended."""
        if not self._probes:
            return
        for probe, breaker in ((known.number, known.shared), (_probe(key), self._own.get(key))):
            if probe in self._probes and (breaker is None or not breaker.probing):
                self._probes.discard(probe)
                self._others.leave(probe)

    def _heal(self, known: _Endpoint, key: tuple[int, int]) -> None:
        known.shared.succeed()
        known.blamed.clear()
        self._own.pop(key, None)

    def _blame(self, known: _Endpoint, who: int, now: float) -> bool:
        known.blamed[who] = now
        return known.shared.fail(now)

    def _know(self, endpoint: str, rule: BreakerRule) -> _Endpoint:
        known = self._endpoints.get(endpoint)
        if known is None:
            known = self._endpoints[endpoint] = _Endpoint(number_of(endpoint), Breaker(rule))
        elif known.shared.rule != rule:
            known.shared.rule = rule
        return known

    def _end(self, endpoint: str) -> _Endpoint | None:
        known = self._endpoints.get(endpoint)
        if known is not None:
            known.in_flight -= 1
            self._others.count(known.number, -1)
            self._dirty = True
        return known

    def _own_breaker(self, key: tuple[int, int], rule: BreakerRule) -> Breaker:
        found = self._own.get(key)
        if found is None:
            if len(self._own) >= MAX_OWN:
                self._own = {each: b for each, b in self._own.items() if not b.quiet}
            found = self._own[key] = Breaker(rule)
        return found

    def _health(self, each: _Endpoint, now: float) -> Health:
        calls, samples = self._others.seen(each.number)
        mean, p95 = each.latency.summed_up(samples)
        return Health(
            available=each.shared.state(now) is not State.OPEN,
            latency_p95_s=p95,
            latency_ewma_s=mean,
            in_flight=each.in_flight + calls,
        )

    def _wake(self) -> None:
        for wake in tuple(self._waiting):
            wake()


def _probe(key: tuple[int, int]) -> int:
    """What one sandbox's probe of an endpoint is called between workers."""
    return key[0] ^ (key[1] << 1 & 0xFFFF_FFFF_FFFF_FFFF)
