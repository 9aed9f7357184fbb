"""A router plug-in and a scorer plug-in for netmgr, as small as they can be.

The router puts the cheapest permitted endpoint first, by what this very call would cost, and
leaves out what is busy. netmgr has filtered before it asks and checks afterwards: nothing here can
reach an endpoint that a rule removed, and nothing here sees a prompt, a URL or a credential.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from netmgr.routing.contract import (
    AttemptOutcome,
    Diagnostic,
    EndpointView,
    RouteContext,
    RoutingSnapshot,
)

MAX_BUSY = 1_000_000
ANSWER_TOKENS = 500  # of a call that does not say how much it wants


class CheapestRouter:
    """`router: {name: cheapest, config: {busy: 8}}`.

    `busy`: with so many calls under way an endpoint is left out, unless all are.
    """

    API_VERSION: ClassVar[int] = 1
    NAME: ClassVar[str] = "cheapest"

    def __init__(self) -> None:
        self._busy = MAX_BUSY

    def validate(
        self, config: Mapping[str, Any], endpoints: Sequence[EndpointView]
    ) -> list[Diagnostic]:
        """One whole number, and a price for every endpoint."""
        found = [
            Diagnostic("error", f"router.config.{key}", "unknown key; expected 'busy'")
            for key in config
            if key != "busy"
        ]
        busy = config.get("busy", 1)
        if type(busy) is not int or not 1 <= busy <= MAX_BUSY:
            found.append(Diagnostic("error", "router.config.busy", "expected a whole number"))
        found += [
            Diagnostic("warning", f"endpoints.{each.id}", "has no price: it comes last")
            for each in endpoints
            if each.facts.price_out is None
        ]
        return found

    def prepare(self, snapshot: RoutingSnapshot) -> None:
        """Take up a new file's config."""
        self._busy = snapshot.config.get("busy", MAX_BUSY)

    def order(self, ctx: RouteContext, permitted: Sequence[EndpointView]) -> list[str]:
        """The cheapest first."""
        free = [each for each in permitted if each.health.in_flight < self._busy]
        return [each.id for each in sorted(free or permitted, key=lambda e: _cost(ctx, e))]

    def observe(self, outcome: AttemptOutcome) -> None:
        """Nothing is learned from outcomes."""


class LocalScorer:
    """1 for what is operated by ourselves: `weights: {local: 2, price: 1}`."""

    API_VERSION: ClassVar[int] = 1
    NAME: ClassVar[str] = "local"

    def score(self, ctx: RouteContext, endpoint: EndpointView) -> float:
        """See the class."""
        return 1.0 if endpoint.facts.operated_by == "self" else 0.0


def _cost(ctx: RouteContext, endpoint: EndpointView) -> float:
    facts = endpoint.facts
    if facts.price_in is None or facts.price_out is None:
        return float("inf")
    answer = ctx.tokens_out_max or ANSWER_TOKENS
    return ctx.tokens_in * facts.price_in + answer * facts.price_out
