"""What netmgr's own stages find and take out, and that they take no time to do it."""

import json
import time
from typing import Any

import pytest

from netmgr.middleware.bounds import MAX_PAYLOAD
from netmgr.middleware.catalogue import PERSONAL, SECRETS
from netmgr.middleware.chain import Stage
from netmgr.middleware.contract import Action, Mitigation, StageResult, Status
from netmgr.middleware.request import Phase, StageRequest
from netmgr_proxy.scan.built_in import run_built_in
from netmgr_proxy.scan.confirm import _DETECTORS
from netmgr_proxy.scan.shapes import ALL_SHAPES, LOCAL_PHONE

# One that has to be found for each label; made up, or the library's own test values.
EXAMPLES = {
    "anthropic_key": "sk-ant-api03-abcdefghijklmnopqrstuvwxyz",
    "api_key": "sk-proj-abcdefghijklmnopqrstuvwxyz",
    "artifactory_token": '"AKCxxxxxxxxxx" ',
    "aws_key": "AKIAIOSFODNN7EXAMPLE",
    "azure_storage_key": "AccountKey=" + "lJzRc1YdHaAA2KCNJJ1tkY/+" * 3 + "5F8j8r5F8j8r5F==",
    "basic_auth": "https://user:hunter22@host.example/",
    "discord_token": "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs",
    "github_token": "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",
    "gitlab_token": "glpat-abcdefghijklmnopqrst",
    "google_key": "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
    "huggingface_token": "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "jwt": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3",
    "mailchimp_key": "343ea45721923ed956e2b38c31db76aa-us30",
    "npm_token": "npm_abcdefghijklmnopqrstuvwxyz0123456789",
    "nvidia_key": "nvapi-" + "a1" * 32,
    "openai_key": "sk-" + "a" * 20 + "T3BlbkFJ" + "b" * 20,
    "private_key": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    "pypi_token": "pypi-AgEIcHlwaS5vcmc" + "A" * 80,
    "sendgrid_key": "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",
    "slack_token": "xoxb-34532454-e039d02840a0b9379c",
    "square_token": "sq0csp-ABCDEFGHIJK_LMNOPQRSTUVWXYZ-0123456789\\abcd"[:50].replace("\\", "x"),
    "stripe_key": "sk_live_ReTllpYQYfIZu2Jnf2lAPFjD",
    "telegram_token": "110201543:AAHdqTcvCH1vGWJxfSe1ofSAs0K5PALDsaw",
    "twilio_key": "SK" + "0123456789abcdef" * 2,
    "card": "4111 1111 1111 1111",
    "email": "me@mail.example",
    "iban": "GB33 BUKB 2020 1555 5555 55",
    "phone": "+41 44 668 18 00",
}  # fmt: skip
INNOCENT = (
    "v1.2.3 at 2024-01-01T12:00:00Z, order 1234567890123, 192.0.2.1:8080, sk-short, "
    "GB00 BUKB 2020 1555 5555 55, 4111 1111 1111 1112, +1 23, commit "
    "da39a3ee5e6b4b0d3255bfef95601890afd80709, 0xdeadbeef, a@b, https://host/path?x=y@z"
)


def run(
    middleware: str, body: bytes, media: str = "application/json", **config: Any
) -> StageResult:
    stage = Stage("k", "k", middleware, config=config)
    headers = (("content-type", media),)
    request = StageRequest(Phase.HTTP, "s", None, {}, "h", 443, "POST", "/", headers, body)
    return run_built_in(stage, request)


def test_every_label_has_an_example_and_a_shape() -> None:
    assert set(EXAMPLES) == {*SECRETS, *PERSONAL} == {shape.label for shape in ALL_SHAPES}
    named = {shape.library for shape in ALL_SHAPES if shape.library}
    assert named <= _DETECTORS.keys()


@pytest.mark.parametrize("label", EXAMPLES)
def test_each_kind_is_found_and_taken_out(label: str) -> None:
    text = f"before {EXAMPLES[label]} after"
    kept = EXAMPLES[label].strip('" ').split("\n")[0].encode()
    found = run("netmgr/redact", text.encode(), "text/plain")
    assert found.decision is Action.TRANSFORM, found
    assert label in {finding.label for finding in found.findings}
    assert {finding.mitigation for finding in found.findings} == {Mitigation.REMOVED}
    assert found.body is not None
    assert found.body.startswith(b"before ")
    assert found.body.endswith(b" after")
    if label not in ("basic_auth", "azure_storage_key"):  # of these a part is no secret
        assert kept not in found.body
    doc = {"list": [text, {"deep\n": text}], "n": 1.50, "t": True}
    body = json.dumps(doc).encode()
    told = run("netmgr/redact", body)
    assert told.body is not None
    new = json.loads(told.body)
    assert new.keys() == doc.keys()
    assert EXAMPLES[label] not in json.dumps(new, ensure_ascii=False)


def test_what_only_looks_like_it_is_left_alone() -> None:
    for body, media in ((INNOCENT.encode(), "text/plain"), (json.dumps(INNOCENT).encode(), "")):
        found = run("netmgr/redact", body, media)
        assert found.findings == (), found
        assert found.decision is Action.ALLOW
        assert found.body is None


def test_escapes_hide_nothing() -> None:
    for body in (
        b'{"a": "\\u0041KIAIOSFODNN7EXAMPLE"}',
        b'{"a": "line\\nsk-ant-api03-abcdefghijklmnopqrstuvwxyz\\n"}',
        b'["4111\\u00201111 1111 1111"]',
    ):
        assert run("netmgr/redact", body).decision is Action.TRANSFORM, body
    form = b"a=1&b=me%40mail.example"
    media = "application/x-www-form-urlencoded"
    assert run("netmgr/pii", form, media, action="deny").decision is Action.DENY
    assert run("netmgr/redact", form, media).reason_code == "pii_not_removable"


def test_local_numbers_need_a_region() -> None:
    body = b"call 044 668 18 00"
    assert run("netmgr/pii", body, "text/plain").findings == ()
    (found,) = run("netmgr/pii", body, "text/plain", region="CH").findings
    assert found.label == LOCAL_PHONE.label


def test_only_named_types_are_looked_for() -> None:
    body = b"me@mail.example and AKIAIOSFODNN7EXAMPLE"
    found = run("netmgr/redact", body, "text/plain", types=["email"])
    assert found.body == b"[email removed] and AKIAIOSFODNN7EXAMPLE"


def test_the_tagger_says_what_a_model_call_carries() -> None:
    body = b'{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png"}}]}]}'
    told = run("netmgr/tagger", body).metadata
    assert told == {"bytes": str(len(body)), "size": "small", "modalities": "image,text"}


@pytest.mark.parametrize(
    "piece",
    [
        b"1", b"4111 1111 1111 1112 ", b'"\\n",', b"a@", b"a@b.example ", b"\\u0041KIA", b"eyJa.",
        b"-----BEGIN RSA PRIVATE KEY-----", b"https://a:b", b"+1 2", b"{[", b"GB33",
        b"aws key ", b"\xff\xfe",
    ],
)  # fmt: skip
def test_no_body_takes_long(piece: bytes) -> None:
    body = (piece * (MAX_PAYLOAD // len(piece) + 1))[:MAX_PAYLOAD]
    began = time.process_time()
    for media in ("application/json", "text/plain"):
        assert run("netmgr/redact", body, media).status in (Status.OK, Status.FAILED)
    assert time.process_time() - began < 5.0  # a tenth of it on a free processor
