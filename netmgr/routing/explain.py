"""Owns: what a generation says to a call that somebody describes, told endpoint by endpoint.

The decision is `Generation.decide`'s, as for every call; here are only the words around it.
"""

from collections.abc import Mapping
from typing import Any, Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.middleware.contract import Finding, Level, StageResult, Status
from netmgr.routing.contract import NO_HEALTH, HealthBoard, Plan, Request, RouteContext
from netmgr.routing.generation import Generation
from netmgr.routing.language import CONFIDENCES, RoutingFile
from netmgr.routing.needs import NEEDS
from netmgr.routing.rule_schema import PROTOCOLS

MAX_SAID: Final = 64  # findings, stages and metadata of one question
_FACTS: Final = (
    "sandbox",
    "tenant",
    "workload",
    "protocol",
    "model",
    "stream",
    "needs",
    "tokens_in",
    "tokens_out_max",
    "conversation",
)


def explain(
    generation: Generation, asked: Mapping[str, Any], health: HealthBoard = NO_HEALTH
) -> dict[str, Any]:
    """What would become of a call.

    Args:
        asked: `request` (fields of a Request), `findings` (`TYPE[:CONFIDENCE]`), `stages` (name ->
            status), `says` (promoted name -> value).

    Raises:
        BadInput: a word that the file does not know.
    """
    request = request_of(asked.get("request") or {})
    _judge_words(generation.file, request)
    stages = stages_of(generation.file, asked)
    ctx = generation.context(request, stages, at_least=asked.get("at_least"))
    plan = generation.decide(ctx, health)
    return explained(generation, ctx, plan, health)


def explained(
    generation: Generation, ctx: RouteContext, plan: Plan, health: HealthBoard
) -> dict[str, Any]:
    """A decision in words: every candidate of the route, permitted or with what removed it."""
    rejected = generation.rejected(ctx)
    candidates = []
    places = {name: number for number, name in enumerate(plan.endpoints, 1)}
    ids = (*plan.endpoints, *(n for n in generation.file.routes[ctx.route] if n not in places))
    for name in ids:
        endpoint = generation.endpoint(name)
        seen = health.of(name)
        candidates.append(
            {
                "endpoint": name,
                "model": endpoint.model,
                "permitted": name in places,
                "place": places.get(name),
                "rule": rejected.get(name),
                "available": seen.available,
                "latency_p95_s": seen.latency_p95_s,
            }
        )
    return {
        "verdict": "allowed" if plan.endpoints else "denied",
        "reason": plan.reason.value,
        "label": ctx.label,
        "unscanned": list(ctx.unscanned),
        "flags": sorted(ctx.flags),
        "sets": {name: sorted(members) for name, members in ctx.sets.items()},
        "route": ctx.route,
        "generation": plan.generation,
        "candidates": candidates,
        "findings": list(plan.findings),
    }


def request_of(facts: Mapping[str, Any]) -> Request:
    """A request from JSON values.

    Raises:
        BadInput: an unknown field.
    """
    for key in facts:
        if key not in _FACTS:
            raise BadInput(f"request: unknown {key!r}{did_you_mean(key, _FACTS)}")
    given = {key: value for key, value in facts.items() if value is not None}
    if "needs" in given:
        given["needs"] = frozenset(given["needs"])
    return Request(**given)


def _judge_words(file: RoutingFile, request: Request) -> None:
    """Refuse words that no call can bring: a mistyped one would look like a denial.

    Raises:
        BadInput: an unknown protocol or capability.
    """
    if request.protocol not in PROTOCOLS:
        hint = did_you_mean(request.protocol, PROTOCOLS)
        known = ", ".join(sorted(PROTOCOLS))
        raise BadInput(f"protocol {request.protocol!r} is unknown{hint or f'; known: {known}'}")
    able = NEEDS.union(*(each.facts.capabilities for each in file.endpoints))
    for need in sorted(request.needs - able):
        hint = did_you_mean(need, able) or f"; known: {', '.join(sorted(able))}"
        raise BadInput(f"need {need!r}: no request needs that and no endpoint has it{hint}")


def stages_of(file: RoutingFile, asked: Mapping[str, Any]) -> tuple[StageResult, ...]:
    """What the stages shall have said. One that nothing is said of did its work and found nothing.

    Raises:
        BadInput: no stage of the file has that name, finds that, or says that.
    """
    statuses = dict(asked.get("stages") or {})
    findings = [parse_finding(word) for word in asked.get("findings") or ()]
    says = dict(asked.get("says") or {})
    names = [stage.name for stage in file.stages]
    known_types = {rule.type for stage in file.stages for rule in stage.findings}
    promoted = {p.name: p for stage in file.stages for p in stage.promotions}
    if len(statuses) + len(findings) + len(says) > MAX_SAID:
        raise BadInput(f"more than {MAX_SAID} findings, stages and values")
    for name in statuses:
        if name not in names:
            raise BadInput(f"stage {name!r}: not in the file{did_you_mean(name, names)}")
    for finding in findings:
        if finding.type not in known_types:
            hint = did_you_mean(finding.type, known_types)
            raise BadInput(
                f"finding {finding.type!r}: no stage of the file has a rule for it{hint}"
            )
    for name in says:
        if name not in promoted:
            raise BadInput(
                f"{name!r}: nothing of that name is promoted{did_you_mean(name, promoted)}"
            )
    found = []
    for stage in file.stages:
        types = {rule.type for rule in stage.findings}
        metadata = {p.key: str(says[p.name]) for p in stage.promotions if p.name in says}
        found.append(
            StageResult(
                stage.name,
                stage.name,
                _status(statuses.get(stage.name, "ok")),
                findings=tuple(each for each in findings if each.type in types),
                metadata=metadata,
            )
        )
    return tuple(found)


def parse_finding(word: str) -> Finding:
    """`TYPE[:CONFIDENCE]`.

    Raises:
        BadInput: the confidence is none.
    """
    kind, colon, confidence = word.partition(":")
    if colon and confidence not in CONFIDENCES:
        expected = ", ".join(CONFIDENCES)
        raise BadInput(f"finding {word!r}: {confidence!r}: expected {expected}")
    return Finding(kind, kind, confidence=Level(confidence or "high"))


def _status(word: str) -> Status:
    try:
        return Status(word)
    except ValueError:
        words = [each.value for each in Status]
        raise BadInput(f"status {word!r}: expected {', '.join(words)}") from None
