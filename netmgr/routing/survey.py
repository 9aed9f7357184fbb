"""Owns: what is odd about a routing file that loads: what can never happen, what always does.

Knows nothing of severity beyond a warning: none of it refuses the file.
"""

from collections.abc import Iterator
from functools import reduce
from operator import or_

from netmgr.errors import did_you_mean
from netmgr.routing.cells import axes
from netmgr.routing.contract import Diagnostic
from netmgr.routing.generation import Generation
from netmgr.routing.language import Criterion, Endpoint, RoutingFile
from netmgr.routing.needs import NEEDS
from netmgr.routing.sweep import Sweep

_FACT_OF = {
    "price_in": lambda facts: facts.price_in,
    "price_out": lambda facts: facts.price_out,
    "context": lambda facts: facts.context,
}


def survey(generation: Generation) -> list[Diagnostic]:
    """Warnings about a file, in the order of its sections."""
    return [
        *_unreached(generation),
        *_idle_rules(generation),
        *_unknown_facts(generation),
        *_odd_capabilities(generation.file),
    ]


def _unreached(generation: Generation) -> Iterator[Diagnostic]:
    """Endpoints that no cell permits, and routes that no endpoint ever answers."""
    file = generation.file
    routed = {name for ids in file.routes.values() for name in ids}
    sweep = Sweep(generation, axes(file))
    reached = sweep.ids(reduce(or_, sweep))
    for each in file.endpoints:
        if each.id not in routed:
            yield Diagnostic("warning", f"endpoints.{each.id}", "no route leads to it")
        elif each.id not in reached:
            why = "is disabled" if not each.enabled else "is permitted for no kind of request"
            yield Diagnostic("warning", f"endpoints.{each.id}", why)


def _idle_rules(generation: Generation) -> Iterator[Diagnostic]:
    for number, (rule, meets_all, meets_none) in enumerate(generation.rule_effects()):
        if meets_none:
            why = "removes every endpoint: what it holds for is always denied"
            yield Diagnostic("warning", f"rules[{number}].require", f"{rule}: {why}")
        elif meets_all:
            yield Diagnostic("warning", f"rules[{number}].require", f"{rule}: removes nothing")


def _unknown_facts(generation: Generation) -> Iterator[Diagnostic]:
    file = generation.file
    for number, preference in enumerate(file.prefer):
        for criterion in preference.by:
            lacking = [each.id for each in file.endpoints if _lacks(each, criterion)]
            if lacking:
                yield Diagnostic(
                    "warning",
                    f"prefer[{number}].by",
                    f"{criterion.kind} is not declared of {', '.join(lacking)}: they come last",
                )


def _lacks(endpoint: Endpoint, criterion: Criterion) -> bool:
    get = _FACT_OF.get(criterion.kind)
    return get is not None and get(endpoint.facts) is None


def _odd_capabilities(file: RoutingFile) -> Iterator[Diagnostic]:
    """A capability that nothing asks for, and that is nearly one that requests are read for."""
    asked = {c.value for each in file.prefer for c in each.by if c.kind == "capability"}
    conditions = [c for each in file.rules for c in each.when]
    conditions += [c for each in file.prefer for c in each.when]
    asked |= {word for c in conditions if c.fact == "needs" for word in c.values}
    wanted = [r for each in file.rules for r in each.require]
    asked |= {word for r in wanted if r.fact == "capabilities" for word in r.values}
    for each in file.endpoints:
        for name in sorted(each.facts.capabilities - NEEDS - asked):
            if hint := did_you_mean(name, NEEDS):
                why = f"nothing asks for {name!r}{hint}"
                yield Diagnostic("warning", f"endpoints.{each.id}.facts.capabilities", why)


def tenants_of(file: RoutingFile) -> dict[str, str]:
    """Every tenant that the file names -> where it does first."""
    found: dict[str, str] = {}
    asked = [(f"rules.{rule.id}", rule.when) for rule in file.rules]
    asked += [(f"prefer[{number}]", each.when) for number, each in enumerate(file.prefer)]
    for place, when in asked:
        for condition in when:
            for name in condition.values if condition.fact == "tenant" else ():
                found.setdefault(name, place)
    for budget in file.budgets:
        if budget.tenant is not None:
            found.setdefault(budget.tenant, f"budgets.{budget.id}")
    return found
