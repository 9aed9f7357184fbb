"""The acceptance table at the level of the pure room: requests, answer heads, verification."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from netmgr.inference.profiles import Provider, provider_type
from netmgr.inference.resolve import resolve_route
from netmgr.inference.route import InferenceRoute
from netmgr.secret import Secret
from netmgr.testing.model_script import Reply, parse_reply, parse_script
from netmgr_proxy.inference.admit import admit
from netmgr_proxy.inference.answer import judge_answer
from netmgr_proxy.inference.errors import Refusal, render_error
from netmgr_proxy.inference.headers import Headers, judge_request_headers, request_headers
from netmgr_proxy.inference.outgoing import outgoing_body, outgoing_target
from netmgr_proxy.inference.probe import NotVerified, Step, Verification, Verified
from netmgr_proxy.inference.rewrite import MalformedBody

PLACE = Path(__file__).parents[2] / "acceptance" / "inference"
TABLE = yaml.safe_load((PLACE / "cases.yaml").read_text())
TABLE["cases"] += yaml.safe_load((PLACE / "neighbours.yaml").read_text())["cases"]
LEVELS = ("pure", "verify", "wire", "cli", "netns")
ORIGIN = "http://127.0.0.1:9000"

Sent = tuple[str, str, Headers, bytes]  # method, target, headers, body


def cases(level: str) -> list[Any]:
    return [
        pytest.param(case, id=f"{case['id']}-{case['what'].replace(' ', '-')[:40]}")
        for case in TABLE["cases"]
        if case["level"] == level
    ]


def route_of(case: dict[str, Any]) -> InferenceRoute | None:
    if case["route"] is None:
        return None
    spec = TABLE["routes"][case["route"]] | case.get("with", {})
    profile = provider_type(spec["type"])
    provider = Provider(
        case["route"],
        spec["type"],
        {profile.auth[0].credentials[0]: Secret(spec["key"])},
        {"BASE_URL": ORIGIN + spec["base"]},
    )
    return resolve_route(provider, spec["model"], route_id="r")


def bodies_of(case: dict[str, Any]) -> list[bytes]:
    request = TABLE["default_request"] | case.get("request", {})
    if "body_base64" in request:
        return [base64.b64decode(request["body_base64"])]
    found = []
    for body in case.get("bodies", [request["body"]]):
        if isinstance(body, dict):
            depth = body["nested"]
            body = body["in"] % ("[" * depth + "]" * depth)
        found.append(body.encode())
    return found


def play(case: dict[str, Any], body: bytes) -> Sent | Refusal:
    """The street of one request, as the proxy's exchange walks it."""
    request = TABLE["default_request"] | case.get("request", {})
    given = TABLE["agent_headers"] | request.get("headers", {})
    headers = [(name.encode(), value.encode()) for name, value in given.items()]
    admitted = admit(request["method"], request["target"].encode(), route_of(case))
    if isinstance(admitted, Refusal):
        return admitted
    refusal = judge_request_headers(headers, admitted.shape, admitted.route)
    if refusal is not None:
        return refusal
    length, pinned = None, None
    if admitted.pattern.has_body:
        try:
            pinned = outgoing_body(admitted, body)
        except MalformedBody as error:
            return error.refusal(admitted.shape)
        body, length = pinned.joined(), pinned.length
    target = outgoing_target(admitted, pinned)
    return admitted.method, target, request_headers(headers, admitted.route, length), body


def check_sent(sent: Sent, want: dict[str, Any]) -> None:
    method, target, headers, body = sent
    fields = {name.decode(): value.decode() for name, value in headers}
    names = [name.decode() for name, _ in headers]
    assert (method, target) == (want.get("method", method), want.get("target", target))
    assert want.get("headers", {}).items() <= fields.items()
    assert not set(want.get("lacks", [])) & set(names)
    assert all(names.count(name) == 1 for name in want.get("once", []))
    assert fields["host"] == ORIGIN.removeprefix("http://")
    assert "agent" not in " ".join(fields.values())
    assert "cookie" not in fields
    if "body" in want:
        assert body == want["body"].encode()
    if "json" in want:
        assert json.loads(body) == want["json"]
    if fields.get("content-length"):
        assert int(fields["content-length"]) == len(body)


def check_refusal(refusal: Refusal, want: dict[str, Any]) -> None:
    assert refusal.status == want["status"]
    assert refusal.close is want.get("close", refusal.close)
    assert refusal.reason.value == want.get("reason", refusal.reason.value)
    _, body = render_error(refusal, "req")
    assert set(want.get("has", [])) <= set(json.loads(body))


def reply_of(document: dict[str, Any]) -> Reply:
    return parse_reply(document, "case")


def test_the_table_is_well_formed() -> None:
    numbers = [case["id"] for case in TABLE["cases"]]
    assert numbers == sorted(set(numbers))
    for case in TABLE["cases"]:
        assert case["level"] in LEVELS
        assert case["tag"] in ("parity", "better", "different")
        assert case.get("route") is None or case["route"] in TABLE["routes"]
        if "reply" in case:
            reply_of(case["reply"])
        if "script" in case:
            parse_script(case["script"])


@pytest.mark.parametrize("case", cases("pure"))
def test_request(case: dict[str, Any]) -> None:
    for body in bodies_of(case):
        outcome = play(case, body)
        if case.get("sent") == "nothing":
            assert isinstance(outcome, Refusal)
            check_refusal(outcome, case["answer"])
        else:
            assert not isinstance(outcome, Refusal)
            check_sent(outcome, case.get("sent", {}))


@pytest.mark.parametrize("case", [p for p in cases("pure") if "reply" in p.values[0]])
def test_answer(case: dict[str, Any]) -> None:
    reply = reply_of(case["reply"])
    headers = [(n.encode(), v.encode()) for n, v in (*reply.headers, ("server", "s"))]
    want = case["answer"]
    for status in case.get("statuses", [reply.status]):
        request = TABLE["default_request"] | case["request"]
        admitted = admit(request["method"], request["target"].encode(), route_of(case))
        assert not isinstance(admitted, Refusal)
        head = judge_answer(status, headers, admitted.shape)
        allowed = want.get("status", status)
        assert head.status in (allowed if isinstance(allowed, list) else [allowed])
        fields = [] if isinstance(head, Refusal) else head.headers
        shown = {name.decode(): value.decode() for name, value in fields}
        assert want.get("headers", {}).items() <= shown.items()
        assert not set(want.get("lacks", [])) & set(shown)


@pytest.mark.parametrize("case", cases("verify"))
def test_verification(case: dict[str, Any]) -> None:
    route = route_of(case)
    assert route is not None
    script = parse_script(case["script"])
    run = Verification(route)
    outcome: Step | Verified | NotVerified = run.step
    steps: list[Step] = []
    while isinstance(outcome, Step):
        steps.append(outcome)
        reply = script.choose(outcome.method, outcome.path)
        assert reply is not None
        content_type = dict(reply.headers).get("content-type", "")
        outcome = run.answered(reply.status, content_type, b"".join(reply.body()))
    want = case["answer"]
    if "verified" in want:
        assert isinstance(outcome, Verified)
        assert outcome.protocol.value == want["verified"]
    else:
        assert isinstance(outcome, NotVerified)
        assert outcome.failure.value == want["failure"]
        assert all(words in outcome.message for words in want.get("says", []))
    assert [step.path for step in steps] == case.get("probes", [step.path for step in steps])
    assert case.get("last_probe", {}).items() <= json.loads(steps[-1].body).items()
