"""Properties of middlewares: what goes between processes, and what a body is afterwards."""

import json
import string
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import BadInput
from netmgr.middleware.chain import Outcome, Stage
from netmgr.middleware.contract import (
    Action,
    Existing,
    Finding,
    HeaderChange,
    Level,
    Mitigation,
    StageResult,
    parse_result,
)
from netmgr.middleware.request import PROTECTED, Phase, StageRequest, changed, visible
from netmgr.middleware.wire import (
    chain_doc,
    outcome_doc,
    parse_chain,
    parse_line,
    parse_outcome,
    question_line,
)
from netmgr_proxy.examination import part_of
from netmgr_proxy.scan.built_in import run_built_in

WORDS = st.text(st.sampled_from(string.ascii_lowercase + string.digits + "_-"), min_size=1)
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
FINDINGS = st.builds(
    Finding,
    type=WORDS,
    label=WORDS,
    count=st.integers(1, 10**6),
    confidence=st.sampled_from(Level),
    severity=st.sampled_from(Level),
    mitigation=st.sampled_from(Mitigation),
)
CHANGES = st.builds(HeaderChange, name=WORDS) | st.builds(
    HeaderChange,
    name=WORDS.map("x-openshell-middleware-".__add__),
    value=TEXTS.map(str.strip),
    existing=st.sampled_from(Existing),
)
SECRETS = st.sampled_from(
    ("AKIAIOSFODNN7EXAMPLE", "4111 1111 1111 1111", "me@mail.example", "GB33BUKB20201555555555",
     "sk-ant-api03-abcdefghijklmnopqrstuvwxyz", "https://u:hunter22@h.example/")
)  # fmt: skip
CLEAN = st.text(st.characters(exclude_categories=("Nd", "Cs"), exclude_characters="@+:"))


def request(body: bytes, media: str = "application/json") -> StageRequest:
    headers = (("content-type", media),)
    return StageRequest(Phase.HTTP, "s", "t", {"k": "v"}, "h", 1, "POST", "/", headers, body)


@given(st.lists(FINDINGS, max_size=4), st.lists(CHANGES, max_size=4), st.binary() | st.none(),
       st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=3))  # fmt: skip
def test_a_chains_answer_comes_back(
    findings: list[Finding],
    changes: list[HeaderChange],
    body: bytes | None,
    metadata: dict[str, str],
) -> None:
    transforms = body is not None or bool(changes)
    action = Action.TRANSFORM if transforms else Action.ALLOW
    result = StageResult(
        "a", "x/y", decision=action, body=body, headers=tuple(changes), findings=tuple(findings),
        metadata=metadata,
    )  # fmt: skip
    stages = [Stage("a", "a", "x/y"), Stage("b", "b", "x/z", 1)]
    outcome = Outcome().then(result).then(StageResult("b", "x/z"))
    told = json.loads(json.dumps(outcome_doc(outcome)))
    assert parse_outcome(told, stages, body) == outcome


@given(JUNK)
def test_no_answer_breaks_out(junk: Any) -> None:
    stages = [Stage("a", "a", "x/y")]
    for parse in (
        lambda: parse_result(junk, "a", "x/y"),
        lambda: parse_outcome({"results": [junk]}, stages, None),
        lambda: parse_outcome(
            {"results": [{"status": "ok", "trouble": "", "answer": junk}]}, stages, None
        ),
        lambda: parse_chain({"stages": [junk], "request": junk}, b""),
        lambda: parse_line(json.dumps(junk).encode()),
    ):
        with suppress(BadInput):
            parse()


@given(st.binary(max_size=64))
def test_questions_arrive_as_they_were_asked(body: bytes) -> None:
    stages = [Stage("a", "a", "x/y", -3, required=False, config={"k": [1, {"l": "m"}]})]
    asked = request(body)
    told = json.loads(json.dumps(chain_doc(asked, stages)))
    assert parse_chain(told, body) == (asked, stages)
    assert json.loads(question_line(7, stages[0], asked))["id"] == 7


@given(st.lists(st.tuples(WORDS.map(str.encode), TEXTS.map(str.encode)), max_size=6),
       st.lists(CHANGES, max_size=6))  # fmt: skip
def test_what_is_protected_is_neither_shown_nor_changed(
    fields: list[tuple[bytes, bytes]], changes: list[HeaderChange]
) -> None:
    secret = [(name.encode(), b"secret") for name in sorted(PROTECTED)]
    assert not PROTECTED & {name for name, _ in visible([*fields, *secret])}
    removals = [HeaderChange(name) for name in PROTECTED]
    after = changed([*fields, *secret], [*changes, *removals])
    assert [pair for pair in after if pair[1] == b"secret" and pair in secret] == secret


@given(st.recursive(CLEAN | SECRETS | st.booleans() | st.none(),
                    lambda inner: st.lists(inner, max_size=4)
                    | st.dictionaries(CLEAN, inner, max_size=4), max_leaves=10),
       st.booleans(), st.sampled_from((None, 1)))  # fmt: skip
def test_json_stays_the_same_json_and_nothing_found_stays(
    doc: Any, ascii_only: bool, indent: int | None
) -> None:
    """Its shape, its keys, and every string in which nothing was found; and nothing is found in it
    any more, and no matched text is in a record."""
    body = json.dumps(doc, ensure_ascii=ascii_only, indent=indent).encode()
    result = run_built_in(Stage("k", "k", "netmgr/redact"), request(body))
    after = body if result.body is None else result.body
    assert same_shape(doc, json.loads(after))
    again = run_built_in(Stage("k", "k", "netmgr/redact"), request(after))
    assert again.findings == ()
    assert again.body is None
    told = json.dumps(part_of(Outcome().then(result)))
    for secret in ("AKIAIOSFODNN7EXAMPLE", "4111 1111", "me@mail", "GB33", "sk-ant", "hunter22"):
        assert secret not in told


def same_shape(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and len(one) == len(other)
            and all(same_shape(a, b) for a, b in zip(one.values(), other.values(), strict=True))
        )
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(same_shape(a, b) for a, b in zip(one, other, strict=True))
        )
    if isinstance(one, str):
        return one == other or (isinstance(other, str) and "removed]" in other)
    return bool(one == other)
