"""Owns: conditions as functions of a context, requirements as functions of an endpoint's facts.

Built once per generation, called on the hot path. Knows nothing of masks and of order.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from netmgr.routing.contract import Facts, RouteContext
from netmgr.routing.language import Condition, Endpoint, Requirement, Sensitivity

Predicate = Callable[[RouteContext], bool]
Meets = Callable[[Endpoint], bool]

# What a context calls a fact of the file.
_ATTRIBUTE: Final = {
    "tenant": "tenant",
    "sandbox": "sandbox_id",
    "protocol": "protocol",
    "route": "route",
}
_NOTHING: Final[frozenset[str]] = frozenset()


def predicate(condition: Condition, sensitivity: Sensitivity) -> Predicate:
    """Whether one condition holds of a request."""
    fact, values = condition.fact, frozenset(condition.values)
    if fact == "workload":
        key = condition.key
        if condition.kind == "in":
            return lambda ctx: ctx.workload.get(key) in values
        return lambda ctx: ctx.workload.get(key) not in values
    if fact in _ATTRIBUTE:
        return _membership(_ATTRIBUTE[fact], condition.kind, values)
    match condition.kind:
        case "raised":
            return lambda ctx: fact in ctx.flags
        case "is":
            return lambda ctx: ctx.stream in values
        case "at_least" if fact == "tokens":
            least: int = condition.values[0]
            return lambda ctx: ctx.tokens_in + ctx.tokens_out_max >= least
        case "at_least":
            rank = sensitivity.rank(condition.values[0])
            labels = frozenset(sensitivity.order[rank:])
            return lambda ctx: ctx.label in labels
    if fact == "needs":
        return _amount(lambda ctx: ctx.needs, condition.kind, values)
    return _amount(lambda ctx: ctx.sets.get(fact, _NOTHING), condition.kind, values)


def _membership(attribute: str, kind: str, values: frozenset[Any]) -> Predicate:
    if kind == "in":
        return lambda ctx: getattr(ctx, attribute) in values
    return lambda ctx: getattr(ctx, attribute) not in values


def _amount(
    get: Callable[[RouteContext], frozenset[str]], kind: str, values: frozenset[str]
) -> Predicate:
    if kind == "any":
        return lambda ctx: not values.isdisjoint(get(ctx))
    return lambda ctx: values <= get(ctx)


def holds(predicates: tuple[Predicate, ...], ctx: RouteContext) -> bool:
    """Whether all of them do."""
    for each in predicates:  # noqa: SIM110 - all() with a generator takes three times as long
        if not each(ctx):
            return False
    return True


def meets(requirement: Requirement, sensitivity: Sensitivity) -> Meets:
    """Whether an endpoint has what one requirement asks for. What is unknown has not."""
    fact, values = requirement.fact, frozenset(requirement.values)
    match requirement.kind:
        case "in":
            return lambda endpoint: _word(endpoint, fact) in values
        case "not_in":
            return lambda endpoint: _word(endpoint, fact) not in (values | {None})
        case "within":
            return lambda endpoint: (
                bool(endpoint.facts.residency) and (endpoint.facts.residency <= values)
            )
        case "all":
            return lambda endpoint: values <= endpoint.facts.capabilities
        case "at_least":
            rank = sensitivity.rank(requirement.values[0])
            return lambda endpoint: clearance_rank(endpoint.facts, sensitivity) >= rank
    bound: float = requirement.values[0]
    number = _NUMBER[fact]
    if requirement.kind == "min":
        return lambda endpoint: (found := number(endpoint.facts)) is not None and found >= bound
    return lambda endpoint: (found := number(endpoint.facts)) is not None and found <= bound


_NUMBER: Final[Mapping[str, Callable[[Facts], float | None]]] = {
    "retention": lambda facts: facts.retention_s,
    "context": lambda facts: facts.context,
    "price_in": lambda facts: facts.price_in,
    "price_out": lambda facts: facts.price_out,
}


def _word(endpoint: Endpoint, fact: str) -> str | None:
    match fact:
        case "endpoint":
            return endpoint.id
        case "provider":
            return endpoint.provider
    return endpoint.facts.operated_by


def clearance_rank(facts: Facts, sensitivity: Sensitivity) -> int:
    """Up to which label data may be sent there; without a word of the operator's, the lowest."""
    return 0 if facts.clearance is None else sensitivity.rank(facts.clearance)
