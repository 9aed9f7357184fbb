"""What middleware says -> label, flags, sets: promoted, typed, and only upwards."""

import pytest

from netmgr.middleware.contract import Finding, Level, Mitigation, StageResult, Status
from netmgr.routing.evidence import MAX_SET, Promoter
from netmgr.routing.language import FindingRule, Promotion, Sensitivity, StageRule

LABELS = Sensitivity(("public", "internal", "confidential", "restricted"), "internal", "restricted")
GUARD = StageRule(
    "guard",
    required=True,
    promotions=(
        Promotion("sensitivity", "label", "label"),
        Promotion("local", "local", "bool"),
        Promotion("topics", "topics", "set"),
    ),
    findings=(FindingRule("pii", "confidential", "medium"), FindingRule("secret", "restricted")),
)
OTHER = StageRule("other", promotions=(Promotion("sensitivity", "label", "label"),))


def said(status: Status = Status.OK, stage: str = "guard", **metadata: str) -> StageResult:
    return StageResult(stage, "m", status, metadata=metadata)


def found(kind: str, level: Level = Level.HIGH, **more: object) -> StageResult:
    mitigation = more.pop("mitigation", Mitigation.NONE)
    finding = Finding(kind, "x", confidence=level, mitigation=mitigation)
    return StageResult("guard", "m", findings=(finding,), **more)


def label(*results: StageResult, at_least: str | None = None) -> str:
    return Promoter(LABELS, (GUARD, OTHER)).evidence(results, at_least).label


def test_nobody_spoke() -> None:
    assert label(said()) == "internal"


def test_what_is_said_counts_even_below_the_default() -> None:
    assert label(said(label="public")) == "public"


@pytest.mark.parametrize(
    "status", [Status.FAILED, Status.SKIPPED, Status.BYPASSED, Status.OVER_LIMIT]
)
def test_a_required_stage_that_did_not_look_leaves_it_unscanned(status: Status) -> None:
    evidence = Promoter(LABELS, (GUARD,)).evidence([said(status, label="public")])
    assert (evidence.label, evidence.unscanned) == ("restricted", ("guard",))


def test_a_required_stage_that_is_missing_leaves_it_unscanned() -> None:
    assert label(said(stage="other", label="public")) == "restricted"


def test_a_stage_that_is_not_required_may_fail() -> None:
    assert label(said(), said(Status.FAILED, "other")) == "internal"


def test_the_highest_label_counts() -> None:
    assert label(said(label="public"), said(stage="other", label="confidential")) == "confidential"


def test_a_failed_stage_raises_and_never_lowers() -> None:
    assert label(said(), said(Status.FAILED, "other", label="public")) == "internal"
    assert label(said(), said(Status.FAILED, "other", label="restricted")) == "restricted"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (found("pii"), "confidential"),
        (found("pii", Level.MEDIUM), "confidential"),
        (found("pii", Level.LOW), "internal"),
        (found("secret", Level.LOW), "restricted"),
        (found("weather"), "internal"),
        (found("secret", mitigation=Mitigation.REMOVED, body=b"{}"), "internal"),
        (found("secret", mitigation=Mitigation.REMOVED), "restricted"),
        (
            found("secret", mitigation=Mitigation.REMOVED, body=b"{}", status=Status.FAILED),
            "restricted",
        ),
    ],
)
def test_findings(result: StageResult, expected: str) -> None:
    assert label(result) == expected


def test_a_finding_does_not_lower_what_nobody_said() -> None:
    rule = StageRule("guard", findings=(FindingRule("joke", "public"),))
    assert Promoter(LABELS, (rule,)).evidence([found("joke")]).label == "internal"


@pytest.mark.parametrize(
    "metadata",
    [
        {"label": "secret"},
        {"local": "True"},
        {"local": "1"},
        {"topics": "[1]"},
        {"topics": '{"a": 1}'},
        {"topics": "[" * 2000},
        {"topics": "a b, c"},
        {"topics": ",".join(f"t{n}" for n in range(MAX_SET + 1))},
    ],
)
def test_what_cannot_be_read_counts_as_failed(metadata: dict[str, str]) -> None:
    assert label(said(**metadata)) == "restricted"


def test_flags_are_raised_and_sets_joined() -> None:
    evidence = Promoter(LABELS, (GUARD,)).evidence(
        [said(local="false", topics="a, b"), said(local="true", topics='["c"]'), said()]
    )
    assert evidence.flags == {"local"}
    assert evidence.sets == {"topics": {"a", "b", "c"}}


def test_what_is_not_promoted_does_not_come_through() -> None:
    evidence = Promoter(LABELS, (GUARD,)).evidence([said(cost="9", stage="guard")])
    assert (evidence.flags, evidence.sets) == (frozenset(), {})
    assert label(said(), said(stage="stranger", label="public")) == "internal"


def test_earlier_calls_hold() -> None:
    assert label(said(label="public"), at_least="confidential") == "confidential"
    assert label(found("secret"), at_least="confidential") == "restricted"
