"""Owns: the values that cross the routing room's door, and what a router plug-in has to be.

Frozen values only. None of them has a prompt, a URL or a credential in it: what a plug-in is not
given it cannot leak.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from netmgr.reasons import Reason

EndpointId = str

API_VERSION: Final = 1  # of ModelRouter and Scorer
DEFAULT_ROUTE: Final = "default"
MAX_OUTPUT: Final = 0  # tokens_out_max of a request that names no bound

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


def _none() -> Mapping[str, Any]:
    return _NONE


@dataclass(frozen=True, slots=True)
class Facts:
    """What the operator declares about an endpoint. What is not declared is unknown, and unknown
    satisfies no requirement.

    Attributes:
        residency: where the data is processed; empty is unknown.
        operated_by: `self`, `processor`, `third_party`, or None.
        retention_s: how long what is sent is kept, seconds; 0 is not at all, None is unknown.
        clearance: the highest label that may be sent there; None: the lowest of all.
        capabilities: what it can do (`tools`, `vision`, ...).
        context: tokens of its window; None is unknown.
        price_in, price_out: per million tokens, in the file's one currency; None is unknown.
    """

    residency: frozenset[str] = frozenset()
    operated_by: str | None = None
    retention_s: float | None = None
    clearance: str | None = None
    capabilities: frozenset[str] = frozenset()
    context: int | None = None
    price_in: float | None = None
    price_out: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint has done lately, as one worker has seen it.

    Attributes:
        available: whether its breaker lets a call through (closed, or half open for a probe).
        latency_p95_s: until the first byte; None before anything was measured.
        latency_ewma_s: the same, an exponentially weighted mean.
        in_flight: calls under way.
    """

    available: bool = True
    latency_p95_s: float | None = None
    latency_ewma_s: float | None = None
    in_flight: int = 0


UNKNOWN_HEALTH: Final = Health()


@dataclass(frozen=True, slots=True)
class HealthBoard:
    """The health of all endpoints at one moment.

    Attributes:
        tick: another number whenever `by_id` says something else; what was ordered by the health
            of one tick is not used for another.
    """

    tick: int = 0
    by_id: Mapping[EndpointId, Health] = field(default_factory=_none)

    def of(self, endpoint: EndpointId) -> Health:
        """The health of one endpoint."""
        return self.by_id.get(endpoint, UNKNOWN_HEALTH)


NO_HEALTH: Final = HealthBoard()


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint as a plug-in sees it."""

    id: EndpointId
    model: str
    facts: Facts
    health: Health = UNKNOWN_HEALTH


class Request(NamedTuple):
    """A model call before anything was derived from what middleware said about it.

    Attributes:
        tenant: assigned by the operator, never by the sandbox.
        workload: the sandbox's labels, fixed when it was created.
        protocol: see netmgr.inference.protocols.
        model: what the client asked for; a name in the file's `routes`, or else the default route.
        needs: capabilities without which an endpoint cannot answer; see netmgr.routing.needs.
        tokens_in: an upper estimate of the prompt.
        tokens_out_max: what the client lets it answer with at most; 0 where it does not say.
        conversation: what the client calls the conversation; '' where it does not.
    """

    request_id: str = ""
    sandbox: str = ""
    tenant: str | None = None
    workload: Mapping[str, str] = _NONE
    protocol: str = "openai_chat_completions"
    model: str | None = None
    stream: bool = False
    needs: frozenset[str] = frozenset()
    tokens_in: int = 0
    tokens_out_max: int = MAX_OUTPUT
    conversation: str = ""


class RouteContext(NamedTuple):
    """All that a decision depends on, health aside. Two equal contexts get equal plans. (Named
    tuples are made five times as fast as frozen data classes, and these are made for every call.)

    Attributes:
        route: name in `routes` that is meant.
        label: of the file's `sensitivity` order.
        flags, sets: what was promoted; a flag that nobody raised is absent.
        unscanned: required stages that did not do their work; the label is raised for it.
        exceeded: ids of budgets that are used up, as far as they concern this call.
        generation: number of the routing file that the label was derived by.
    """

    request_id: str
    sandbox_id: str
    tenant: str | None
    workload: Mapping[str, str]
    protocol: str
    route: str
    stream: bool
    needs: frozenset[str]
    tokens_in: int
    tokens_out_max: int
    label: str
    flags: frozenset[str] = frozenset()
    sets: Mapping[str, frozenset[str]] = _NONE
    unscanned: tuple[str, ...] = ()
    exceeded: frozenset[str] = frozenset()
    generation: int = 0

    def to_doc(self) -> dict[str, Any]:
        """The facts as JSON, for records: by them the decision can be made again. Hints are no
        part of it."""
        return {
            "workload": dict(self.workload),
            "stream": self.stream,
            "needs": sorted(self.needs),
            "tokens_in": self.tokens_in,
            "tokens_out_max": self.tokens_out_max,
            "flags": sorted(self.flags),
            "sets": {name: sorted(members) for name, members in self.sets.items()},
            "unscanned": list(self.unscanned),
            "exceeded": sorted(self.exceeded),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What may be tried for one call, in that order. Frozen: nothing later adds an endpoint.

    Attributes:
        endpoints: the permitted ones; empty means: denied.
        rejected: of the other endpoints of the route, the first rule that removed each; computed
            where it is asked for, and always where nothing is permitted.
        findings: what a router plug-in did that it must not; its answer was not used.
    """

    endpoints: tuple[EndpointId, ...]
    generation: int
    label: str
    route: str
    rejected: Mapping[EndpointId, str] = field(default_factory=_none)
    findings: tuple[str, ...] = ()

    @property
    def reason(self) -> Reason:
        """Why it went that way."""
        return Reason.ALLOWED if self.endpoints else Reason.NO_PERMITTED_ENDPOINT


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """How one attempt ended. Never a body.

    Attributes:
        status: of the upstream's answer; None where there was none.
        reason: `allowed`, or why it failed.
        first_byte_s: until the answer's first byte; None where none came.
        cost: in the file's currency; None where the price or the tokens are unknown.
    """

    endpoint: EndpointId
    status: int | None
    reason: Reason
    duration_s: float
    first_byte_s: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something about a routing file that its author should know.

    Attributes:
        severity: `error` refuses the file; `warning` and `note` do not.
        key: where in the file (`rules[2].require`).
    """

    severity: str
    key: str
    message: str


# -- plug-ins ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoutingSnapshot:
    """A generation as a plug-in may prepare for it."""

    generation: int
    endpoints: tuple[EndpointView, ...]
    config: Mapping[str, Any]


class Ordering(Protocol):
    """A router as netmgr asks it."""

    @property
    def NAME(self) -> str:
        """As the daemon's settings call it."""

    def validate(
        self, config: Mapping[str, Any], endpoints: Sequence[EndpointView]
    ) -> list[Diagnostic]:
        """What is wrong with the file's `router.config`."""

    def prepare(self, snapshot: RoutingSnapshot) -> None:
        """Once per generation, off the hot path."""

    def order(self, ctx: RouteContext, permitted: Sequence[EndpointView]) -> Sequence[EndpointId]:
        """Some or all ids of `permitted`, the first to be tried first; within 2 ms."""

    def observe(self, outcome: AttemptOutcome) -> None:
        """An attempt has ended."""


class ModelRouter(Ordering, Protocol):
    """Orders permitted endpoints. Entry-point group `netmgr.model_routers`; the entry is a class
    that is called without arguments. The daemon's setting `model_routers` must name it."""

    API_VERSION: ClassVar[int]


class Scorer(Protocol):
    """Rates one endpoint for one call. Entry-point group `netmgr.route_scorers`; its weight stands
    in the routing file, under `router: {name: weighted, config: {weights: {NAME: W}}}`."""

    API_VERSION: ClassVar[int]
    NAME: ClassVar[str]

    def score(self, ctx: RouteContext, endpoint: EndpointView) -> float:
        """From 0 (worst) to 1 (best)."""


class Ratings(Protocol):
    """A scorer as netmgr asks it: for all endpoints at once."""

    @property
    def NAME(self) -> str:
        """As the daemon's settings call it."""

    def scores(self, ctx: RouteContext, permitted: Sequence[EndpointView]) -> Sequence[float]:
        """One score for each."""
