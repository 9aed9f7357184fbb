"""Owns: a routing file as values. Frozen; made by netmgr.routing.schema and by nobody else.

Knows nothing of YAML, and decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from netmgr.inference.rules import LEAST, CallRules
from netmgr.middleware.contract import StageResult
from netmgr.routing.contract import EndpointId, Facts

CONFIDENCES: Final = ("low", "medium", "high")
PROMOTED_TYPES: Final = ("label", "bool", "set")
MODES: Final = ("enforce", "shadow")


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The labels that there are.

    Attributes:
        order: the least sensitive first.
        unlabelled: what a request has of which every scanner says nothing.
        unscanned: what it has at least when a required scanner did not do its work.
    """

    order: tuple[str, ...]
    unlabelled: str
    unscanned: str

    def rank(self, label: str) -> int:
        """0 for the least sensitive. ValueError for a label that there is not."""
        return self.order.index(label)

    def highest(self, *labels: str) -> str:
        """The most sensitive of some labels."""
        return max(labels, key=self.order.index)


@dataclass(frozen=True, slots=True)
class Promotion:
    """One key of a stage's metadata that routing may see, under `name`, as a type."""

    name: str
    key: str
    type: str


@dataclass(frozen=True, slots=True)
class FindingRule:
    """What a kind of finding does to the label."""

    type: str
    raises: str
    min_confidence: str = "low"


@dataclass(frozen=True, slots=True)
class StageRule:
    """What routing takes from one middleware stage."""

    name: str
    required: bool = False
    promotions: tuple[Promotion, ...] = ()
    findings: tuple[FindingRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model at one provider; where that is and with which key is the provider's record.

    Attributes:
        allows: what its provider may do for a call besides answering; by default the least.
    """

    id: EndpointId
    provider: str
    model: str
    facts: Facts
    enabled: bool = True
    line: int = field(default=0, compare=False)
    allows: CallRules = LEAST


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that has to hold of a request.

    Attributes:
        fact: `tenant`, `workload`, `sensitivity`, a promoted name, ...
        kind: how it is compared: `in`, `not_in`, `at_least`, `is`, `any`, `all`, `raised`.
        key: of a workload label; otherwise ''.
        values: words; of `at_least` on tokens one number, of `is` one truth value.
    """

    fact: str
    kind: str
    values: tuple[Any, ...] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that has to hold of an endpoint. Kinds: `in`, `not_in`, `within`, `all`, `min`,
    `max`, `at_least`."""

    fact: str
    kind: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """Removes endpoints: whenever all conditions hold, each endpoint must meet all requirements."""

    id: str
    when: tuple[Condition, ...]
    require: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Criterion:
    """What to order by. `kind` is a number's name (smaller first), or a fact to have."""

    kind: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Preference:
    """An order; the first whose conditions hold counts."""

    when: tuple[Condition, ...]
    by: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class Breaker:
    """When an endpoint is left alone for a while. Seconds."""

    failures: int = 5
    window_s: float = 30.0
    open_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Failure:
    """How a plan is travelled. Seconds.

    Attributes:
        attempts: of the plan's endpoints, at most.
        deadline_s: all attempts together, until the first byte goes to the client.
        retry_on: what lets the next endpoint be tried: names of FAULTS, or statuses.
        never_on: statuses that are the client's answer, whatever `retry_on` says.
    """

    attempts: int = 3
    deadline_s: float = 60.0
    first_byte_s: float = 20.0
    idle_s: float = 30.0
    retry_on: frozenset[str | int] = frozenset(
        ("connect", "tls", "reset_before_headers", 429, 500, 502, 503, 504)
    )
    never_on: frozenset[int] = frozenset((400, 401, 403, 404, 413, 422))
    breaker: Breaker = Breaker()


FAULTS: Final = ("connect", "tls", "reset_before_headers", "timeout")


@dataclass(frozen=True, slots=True)
class Affinity:
    """What of an earlier call holds for the next one.

    Attributes:
        key: `conversation` (of one sandbox; the sandbox itself where a call names none) or
            `sandbox`.
        ratchet: whether the label of a key never falls again, until the operator resets it.
        sticky: whether the endpoint that answered last is tried first, where it is permitted.
    """

    key: str = "sandbox"
    ratchet: bool = False
    sticky: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """How much money calls may cost in a sliding time, and what happens then.

    Attributes:
        tenant: whose calls; None is everybody's together.
        limit: billionths of the currency's unit.
        per_s: seconds.
        warn: whether 80 per cent of it is worth a finding.
        require: what endpoints must meet once it is used up; None: calls are refused.
    """

    id: str
    tenant: str | None
    limit: int
    per_s: float
    warn: bool = False
    require: tuple[Requirement, ...] | None = None


@dataclass(frozen=True, slots=True)
class Dial:
    """Where an endpoint has to be, where its bytes go."""

    hosts: tuple[str, ...] = ()
    cidrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observe:
    """What is told of decisions to the sandbox, in answer headers."""

    headers: str = "request-id"


@dataclass(frozen=True, slots=True)
class Case:
    """One test of the file. What is None is not compared.

    Attributes:
        permitted: in any order.
        order: the whole plan.
    """

    name: str
    line: int
    given: Mapping[str, Any]
    stages: tuple[StageResult, ...]
    permitted: frozenset[EndpointId] | None = None
    order: tuple[EndpointId, ...] | None = None
    rejected: Mapping[EndpointId, str] = field(default_factory=dict)
    label: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class RoutingFile:
    """A whole file.

    Attributes:
        doc: the JSON-like value that it was read from; reading it again gives the same.
        digest: SHA-256 of that in one spelling, in hexadecimal.
        routes: name -> ids; there is always a `default`.
    """

    doc: Mapping[str, Any]
    digest: str
    router: str
    router_config: Mapping[str, Any]
    sensitivity: Sensitivity
    stages: tuple[StageRule, ...]
    endpoints: tuple[Endpoint, ...]
    routes: Mapping[str, tuple[EndpointId, ...]]
    rules: tuple[Rule, ...]
    prefer: tuple[Preference, ...]
    failure: Failure
    affinity: Affinity
    budgets: tuple[Budget, ...]
    dial: Mapping[EndpointId, Dial]
    observe: Observe
    mode: str
    cases: tuple[Case, ...]
    warnings: tuple[str, ...] = ()

    def endpoint(self, endpoint: EndpointId) -> Endpoint | None:
        """One endpoint, by its id."""
        return next((each for each in self.endpoints if each.id == endpoint), None)
