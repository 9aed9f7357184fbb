"""Owns: what a generation says to the `tests` of its file.

They decide whether the file may be loaded; a difference is told as expected and found.
"""

from dataclasses import dataclass

from netmgr.policy.problems import PolicyError, Problem
from netmgr.routing.contract import Plan, Request
from netmgr.routing.generation import Generation
from netmgr.routing.language import Case


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one test went; `differences` is empty where it passed."""

    case: Case
    plan: Plan
    differences: tuple[str, ...]


def run_cases(generation: Generation) -> tuple[Outcome, ...]:
    """Every test of the file."""
    return tuple(_run(generation, case) for case in generation.file.cases)


def require_cases(generation: Generation, source: str) -> None:
    """Refuse a file that a test of its own contradicts.

    Raises:
        PolicyError: each test that fails, with its line.
    """
    problems = [
        Problem(outcome.case.line, f"test {outcome.case.name!r}", difference)
        for outcome in run_cases(generation)
        for difference in outcome.differences
    ]
    if problems:
        raise PolicyError(problems, source)


def _run(generation: Generation, case: Case) -> Outcome:
    facts = dict(case.given)
    exceeded = facts.pop("exceeded", frozenset())
    ctx = generation.context(Request(**facts), case.stages, exceeded=exceeded)
    plan = generation.decide(ctx)
    rejected = generation.rejected(ctx)
    found: list[str] = []

    def compare(what: str, expected: object, seen: object) -> None:
        if expected is not None and expected != seen:
            found.append(f"{what}: expected {_shown(expected)}, found {_shown(seen)}")

    compare("permitted", case.permitted, frozenset(plan.endpoints))
    compare("order", case.order, plan.endpoints)
    compare("label", case.label, ctx.label)
    compare("code", case.code, plan.reason.value)
    for endpoint, rule in case.rejected.items():
        compare(f"rejected.{endpoint}", rule, rejected.get(endpoint, "permitted"))
    if found and rejected:
        found[-1] += f" (rejected: {', '.join(f'{k} by {v}' for k, v in rejected.items())})"
    return Outcome(case, plan, tuple(found))


def _shown(value: object) -> str:
    if isinstance(value, frozenset):
        return f"[{', '.join(sorted(value))}]"
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return str(value)
