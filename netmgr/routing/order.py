"""Owns: the order in which permitted endpoints are tried: `prefer` lists, weights, a plug-in.

Nothing here can add an endpoint: every order is a selection from a mask. Knows nothing of rules.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from netmgr.routing.contract import (
    AttemptOutcome,
    EndpointId,
    EndpointView,
    HealthBoard,
    RouteContext,
)
from netmgr.routing.guarded import GuardedRouter, GuardedScorer
from netmgr.routing.language import Criterion, Endpoint, Preference

LATENCY: Final = "latency_p95"
BUILT_IN_SCORERS: Final = ("price", "latency")
_UNKNOWN: Final = float("inf")  # what is not known comes last


class Orders:
    """Every endpoint of a route in the order of a `prefer` list, kept until the health changes.

    Args:
        routes: name -> ids, in the order that decides where nothing else does.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        routes: Mapping[str, tuple[EndpointId, ...]],
        prefer: Sequence[Preference],
    ) -> None:
        self._by_id = {each.id: each for each in endpoints}
        self._bits = {each.id: 1 << number for number, each in enumerate(endpoints)}
        self._routes = routes
        self._prefer = prefer
        self._kept: dict[tuple[str, int], tuple[int, tuple[tuple[int, EndpointId], ...]]] = {}
        self.latency = tuple(any(c.kind == LATENCY for c in each.by) for each in prefer)

    def select(self, mask: int, route: str, index: int, board: HealthBoard) -> tuple[str, ...]:
        """The ids of a mask, in order.

        Args:
            index: which `prefer` list; -1 for none.
        """
        return tuple(name for bit, name in self._order(route, index, board) if bit & mask)

    def _order(
        self, route: str, index: int, board: HealthBoard
    ) -> tuple[tuple[int, EndpointId], ...]:
        tick = board.tick if index >= 0 and self.latency[index] else -1
        kept = self._kept.get((route, index))
        if kept is not None and kept[0] == tick:
            return kept[1]
        ids = self._routes[route]
        if index >= 0:
            criteria = self._prefer[index].by
            ids = tuple(sorted(ids, key=lambda name: self._key(name, criteria, board)))
        order = tuple((self._bits[name], name) for name in ids)
        self._kept[route, index] = (tick, order)
        return order

    def _key(
        self, name: EndpointId, criteria: Sequence[Criterion], board: HealthBoard
    ) -> tuple[float, ...]:
        endpoint = self._by_id[name]
        return tuple(_value(endpoint, criterion, board) for criterion in criteria)


def _value(endpoint: Endpoint, criterion: Criterion, board: HealthBoard) -> float:
    """The smaller, the better."""
    facts = endpoint.facts
    match criterion.kind:
        case "latency_p95":
            found = board.of(endpoint.id).latency_p95_s
        case "price_in":
            found = facts.price_in
        case "price_out":
            found = facts.price_out
        case "context":
            found = None if facts.context is None else -facts.context
        case _:
            return 0.0 if criterion.value in _having(endpoint, criterion.kind) else 1.0
    return _UNKNOWN if found is None else found


def _having(endpoint: Endpoint, kind: str) -> frozenset[str | None]:
    match kind:
        case "capability":
            return frozenset(endpoint.facts.capabilities)
        case "residency":
            return frozenset(endpoint.facts.residency)
        case "operated_by":
            return frozenset((endpoint.facts.operated_by,))
        case "provider":
            return frozenset((endpoint.provider,))
    return frozenset((endpoint.id,))


class Router(Protocol):
    """What makes an order of its own out of the default one."""

    def order(
        self, ctx: RouteContext, permitted: Sequence[EndpointView]
    ) -> tuple[tuple[EndpointId, ...], str]:
        """(ids, '') or ((), why the default order holds)."""

    def observe(self, outcome: AttemptOutcome) -> str:
        """An attempt has ended; a finding, or ''."""


class Weighted:
    """Orders by the weighted sum of scores; equal sums stay in the default order.

    Args:
        weights: scorer's name -> its weight.
        scorers: those that are no built-in ones.
    """

    def __init__(self, weights: Mapping[str, float], scorers: Mapping[str, GuardedScorer]) -> None:
        self._weights = weights
        self._scorers = scorers

    def order(
        self, ctx: RouteContext, permitted: Sequence[EndpointView]
    ) -> tuple[tuple[EndpointId, ...], str]:
        """See Router. A scorer that misbehaves counts nothing; the others do."""
        sums = [0.0] * len(permitted)
        trouble = ""
        for name, weight in self._weights.items():
            if name in BUILT_IN_SCORERS:
                scores: Sequence[float] = _built_in(name, permitted)
            else:
                scores, finding = self._scorers[name].scores(ctx, permitted)
                trouble = trouble or finding
            for number, score in enumerate(scores):
                sums[number] += weight * score
        ranked = sorted(range(len(permitted)), key=lambda number: -sums[number])
        return tuple(permitted[number].id for number in ranked), trouble

    def observe(self, outcome: AttemptOutcome) -> str:
        """Scorers are not told."""
        return ""


class Delegated:
    """Orders as a plug-in says."""

    def __init__(self, router: GuardedRouter) -> None:
        self._router = router

    def order(
        self, ctx: RouteContext, permitted: Sequence[EndpointView]
    ) -> tuple[tuple[EndpointId, ...], str]:
        """See Router."""
        return self._router.order(ctx, permitted)

    def observe(self, outcome: AttemptOutcome) -> str:
        """See Router."""
        return self._router.observe(outcome)


def _built_in(name: str, permitted: Sequence[EndpointView]) -> list[float]:
    """1 for the cheapest or fastest, 0 for the dearest or slowest, and for what is unknown."""
    if name == "price":
        found: list[Any] = [view.facts.price_out for view in permitted]
    else:
        found = [view.health.latency_p95_s for view in permitted]
    known = [value for value in found if value is not None]
    if not known:
        return [0.0] * len(found)
    low, high = min(known), max(known)
    span = high - low
    return [
        0.0 if value is None else 1.0 if span == 0 else (high - value) / span for value in found
    ]
