"""The request line: what is let in, and in which order the rest is refused."""

from urllib.parse import quote

import pytest

from netmgr.inference.profiles import Provider
from netmgr.inference.protocols import Protocol, Shape
from netmgr.inference.resolve import resolve_route
from netmgr.inference.route import InferenceRoute
from netmgr.reasons import Reason
from netmgr.secret import Secret
from netmgr_proxy.inference.admit import Admitted, admit
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.outgoing import outgoing_body, outgoing_target
from netmgr_proxy.inference.patterns import PATTERNS, Pattern


def route(type_name: str, key: str) -> InferenceRoute:
    return resolve_route(Provider("p", type_name, {key: Secret("k")}), "m", route_id="r")


OAI = route("openai", "OPENAI_API_KEY")
ANT = route("anthropic", "ANTHROPIC_API_KEY")
BED = route("aws-bedrock", "AWS_BEARER_TOKEN_BEDROCK")
SPEAKERS = {Protocol.MESSAGES: ANT, Protocol.INVOKE: BED, Protocol.CONVERSE: BED}


def refused(method: str, target: bytes, to: InferenceRoute | None) -> Refusal:
    refusal = admit(method, target, to)
    assert isinstance(refusal, Refusal)
    return refusal


@pytest.mark.parametrize("row", PATTERNS, ids=[row.operation for row in PATTERNS])
def test_every_row_is_admitted_by_a_route_that_speaks_it(row: Pattern) -> None:
    to = SPEAKERS.get(row.protocol, OAI)
    path = row.path.replace("*", "a/b").replace("{id}", "resp_1").replace("{model}", "m%3A0")
    admitted = admit(row.method.lower(), path.encode() + b"?x=1", to)
    assert isinstance(admitted, Admitted)
    assert (admitted.pattern, admitted.method) == (row, row.method)
    assert admitted.query == ("" if to is BED else "x=1")
    assert admitted.path == path.replace("%3A", ":")
    assert admitted.route is to


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/v1/chat/completions/", "/v1/chat/completions"),
        (b"//v1//models", "/v1/models"),
        (b"/v1/%6dodels", "/v1/models"),
        (b"/v1/models/a/../b", "/v1/models/b"),
        (b"/v1/models/", "/v1/models"),
        (b"/v1/models/meta%2fllama", "/v1/models/meta/llama"),
        (b"/v1/models/%2F%2fa%2F", "/v1/models/a"),
    ],
)
def test_one_spelling_goes_on(target: bytes, path: str) -> None:
    method = "POST" if b"chat" in target else "GET"
    admitted = admit(method, target, OAI)
    assert isinstance(admitted, Admitted)
    assert admitted.path == path


def test_a_model_of_bedrocks_may_be_an_arn() -> None:
    arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.m-v1:0"
    target = f"/model/{quote(arn, safe='')}/converse".encode()
    admitted = admit("POST", target, BED)
    assert isinstance(admitted, Admitted)
    assert admitted.named_model == arn
    assert outgoing_target(admitted, outgoing_body(admitted, b"{}")) == "/model/m/converse"
    assert refused("POST", b"/model/a%2Fb%2Fconverse", BED).status == 403
    assert refused("POST", b"/model/..%2Fb/converse", BED).status == 400


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/models/%2e%2e/%2e%2e/%2e%2e/v1/files",
        b"/v1/models/../../../v1/files?x=1",
        b"/v1/models/%252e%252e/files",
        b"/v1/responses/a%2Fb",
        b"/v1%2Fmodels",
        b"/v1/models/a%2F..%2F..%2Ffiles",
        b"/v1/models/%2e%2e%2ffiles",
        b"/v1/models/a%5Cb",
        b"/v1/models/%zz",
        b"/v1/models/\x00",
        b"/v1/models#f",
        b"/" + b"a" * 5000,
        b"*",
        b"v1/models",
    ],
)
def test_what_has_no_canonical_spelling_is_malformed(target: bytes) -> None:
    for to in (OAI, None):
        refusal = refused("GET", target, to)
        assert (refusal.status, refusal.reason) == (400, Reason.MALFORMED_REQUEST)
        assert refusal.close


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", b"/v1/images/generations"),
        ("GET", b"/nope"),
        ("GET", b"/"),
        ("GET", b"/v1/models/../files"),
        ("HEAD", b"/v1/models"),
        ("OPTIONS", b"/v1/chat/completions"),
        ("DELETE", b"/v1/models/ft-x"),
        ("GET", b"/v1/chat/completions"),
        ("POST", b"/chat/completions"),
        ("POST", b"/v1/messages/batches"),
        ("POST", b"/V1/chat/completions"),
        ("GET", b"/v1/modelsx"),
    ],
)
def test_what_is_not_in_the_table_is_denied_before_the_route_is_asked(
    method: str, target: bytes
) -> None:
    for to in (OAI, None):
        refusal = refused(method, target, to)
        assert (refusal.status, refusal.reason) == (403, Reason.PATTERN_NOT_SUPPORTED)
        assert refusal.close


def test_without_a_route_the_command_that_helps_is_named() -> None:
    refusal = refused("POST", b"/v1/chat/completions", None)
    assert (refusal.status, refusal.reason) == (503, Reason.NOT_CONFIGURED)
    assert not refusal.close
    assert refusal.remedy is not None
    assert refusal.remedy.startswith("netmgr inference set --provider")


@pytest.mark.parametrize(("to", "target"), [(OAI, b"/v1/messages"), (ANT, b"/v1/chat/completions")])
def test_a_protocol_that_the_provider_does_not_speak(to: InferenceRoute, target: bytes) -> None:
    refusal = refused("POST", target, to)
    assert (refusal.status, refusal.reason) == (400, Reason.PATTERN_NOT_SUPPORTED)
    assert not refusal.close
    assert "/v1/models" in refusal.message


def test_errors_speak_the_client_s_dialect() -> None:
    assert refused("POST", b"/v1/messages", None).shape is Shape.ANTHROPIC
    assert refused("POST", b"/v1/messages/batches", None).shape is Shape.ANTHROPIC
    assert refused("POST", b"/v1/responses", None).shape is Shape.RESPONSES
    assert refused("GET", b"/nope", None).shape is Shape.OPENAI
    for to, shape in ((ANT, Shape.ANTHROPIC), (OAI, Shape.OPENAI)):
        admitted = admit("GET", b"/v1/models", to)
        assert isinstance(admitted, Admitted)
        assert admitted.shape is shape
