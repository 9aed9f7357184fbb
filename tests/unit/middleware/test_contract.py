"""What a stage may answer, and what several answers come to."""

import pytest

from netmgr.errors import BadInput
from netmgr.middleware.bounds import MAX_FINDINGS, MAX_METADATA, MAX_MUTATIONS
from netmgr.middleware.chain import Outcome, Stage, all_failed
from netmgr.middleware.contract import (
    Action,
    Finding,
    HeaderChange,
    Level,
    Mitigation,
    StageResult,
    Status,
    parse_result,
)

RESULT = StageResult(
    "dlp",
    "netmgr/secrets",
    decision=Action.TRANSFORM,
    body=b"clean",
    headers=(HeaderChange("x-openshell-middleware-seen", "1"), HeaderChange("x-trace")),
    reason_code="secret_removed",
    findings=(Finding("secret", "aws_key", 2, Level.HIGH, Level.HIGH, Mitigation.REMOVED),),
    metadata={"bytes": "12"},
)


def test_an_answer_comes_back_as_it_was_written() -> None:
    assert parse_result(RESULT.to_doc(), "dlp", "netmgr/secrets", b"clean") == RESULT


@pytest.mark.parametrize(
    ("doc", "told"),
    [
        ([], "expected keys and values"),
        ({}, "decision: expected allow, deny, transform"),
        ({"decision": "alow"}, "did you mean 'allow'"),
        ({"decision": "allow", "finding": []}, "did you mean 'findings'"),
        ({"decision": "transform"}, "comes with a body"),
        ({"decision": "allow", "reason_code": "Bad"}, "reason_code"),
        ({"decision": "allow", "headers": [{"write": "x-other", "value": "1"}]}, "only fields"),
        ({"decision": "allow", "headers": [{"remove": "a\nb"}]}, "name of a header field"),
        (
            {
                "decision": "allow",
                "headers": [{"write": "x-openshell-middleware-a", "value": "a\r\nb: c"}],
            },
            "printable ASCII",
        ),
        ({"decision": "allow", "headers": [{"remove": "x"}] * (MAX_MUTATIONS + 1)}, "at most"),
        ({"decision": "allow", "findings": [{}]}, "findings: type"),
        ({"decision": "allow", "findings": [{"type": "a", "label": "b", "count": 0}]}, "from 1 on"),
        ({"decision": "allow", "findings": [{"type": "a", "label": "b"}] * (MAX_FINDINGS + 1)}, ""),
        ({"decision": "allow", "metadata": {"a": 1}}, "printable text"),
        ({"decision": "allow", "metadata": {str(n): "" for n in range(MAX_METADATA + 1)}}, ""),
    ],
)
def test_what_breaks_the_contract_is_no_answer(doc: object, told: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_result(doc, "dlp", "netmgr/secrets")
    assert told in error.value.message


def test_a_body_that_nobody_announced_is_no_answer() -> None:
    with pytest.raises(BadInput):
        parse_result({"decision": "allow"}, "dlp", "netmgr/secrets", b"other")


def test_the_first_required_failure_ends_the_chain() -> None:
    open_, closed, last = (
        Stage("a", "a", "x/a", 0, required=False),
        Stage("b", "b", "x/b", 1),
        Stage("c", "c", "x/c", 2),
    )
    outcome = all_failed([open_, closed, last], "the scan worker is gone")
    assert [result.status for result in outcome.results] == [
        Status.BYPASSED,
        Status.FAILED,
        Status.SKIPPED,
    ]
    assert outcome.failed_at is not None
    assert outcome.failed_at.stage == "b"


def test_later_stages_see_what_earlier_ones_made() -> None:
    outcome = Outcome().then(RESULT).then(StageResult("tags", "netmgr/tagger"))
    assert outcome.body == b"clean"
    assert [result.body for result in outcome.results] == [b"", None]
    assert outcome.findings == RESULT.findings
    assert not outcome.ended


def test_a_record_has_neither_body_nor_header_values() -> None:
    told = str(Outcome().then(RESULT).to_record())
    assert "clean" not in told
    assert "aws_key" in told
    assert "x-openshell" not in told
