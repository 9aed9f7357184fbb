"""Verification: the order of the probes, the classes of failure, and what is said about them."""

import json

import pytest

from netmgr.inference.profiles import Provider
from netmgr.inference.protocols import Protocol
from netmgr.inference.resolve import resolve_route
from netmgr.inference.route import InferenceRoute
from netmgr.reasons import Reason
from netmgr.secret import Secret
from netmgr_proxy.inference.probe import (
    Failure,
    NotVerified,
    Step,
    Verification,
    Verified,
)

JSON = "application/json"


def route(type_name: str = "openai", key: str = "OPENAI_API_KEY") -> InferenceRoute:
    return resolve_route(Provider("prov", type_name, {key: Secret("sk-op")}), "m-op", route_id="r")


def failed(status: int, content_type: str = JSON, body: bytes = b"{}") -> NotVerified:
    outcome = Verification(route()).answered(status, content_type, body)
    assert isinstance(outcome, NotVerified)
    return outcome


def test_the_first_probe_is_a_chat_with_the_route_s_model() -> None:
    step = Verification(route()).step
    assert (step.protocol, step.method, step.path) == (
        Protocol.CHAT,
        "POST",
        "/v1/chat/completions",
    )
    assert json.loads(step.body) == {
        "model": "m-op",
        "messages": [{"role": "user", "content": "ping"}],
        "max_completion_tokens": 32,
    }


def test_success_tells_url_and_protocol() -> None:
    outcome = Verification(route()).answered(200, JSON, b'{"choices":[]}')
    assert outcome == Verified("https://api.openai.com/v1/chat/completions", Protocol.CHAT)


def test_chat_is_retried_once_in_the_old_words() -> None:
    run = Verification(route())
    complaint = b'{"error":"use max_tokens not max_completion_tokens"}'
    again = run.answered(400, JSON, complaint)
    assert isinstance(again, Step)
    assert json.loads(again.body)["max_tokens"] == 32
    assert "max_completion_tokens" not in json.loads(again.body)
    following = run.answered(400, JSON, complaint)
    assert isinstance(following, Step)
    assert following.protocol is Protocol.RESPONSES


def test_rejected_shapes_go_on_and_the_first_is_reported() -> None:
    run = Verification(route())
    seen = [run.step.protocol]
    outcome = run.answered(404, JSON, b"first complaint")
    while isinstance(outcome, Step):
        seen.append(outcome.protocol)
        outcome = run.answered(404, JSON, b"later complaint")
    assert seen == [
        Protocol.CHAT,
        Protocol.RESPONSES,
        Protocol.COMPLETIONS,
        Protocol.EMBEDDINGS,
    ]
    assert isinstance(outcome, NotVerified)
    assert outcome.failure is Failure.REQUEST_SHAPE
    assert "first complaint" in outcome.message
    assert "later" not in outcome.message


def test_anthropic_is_asked_for_a_message() -> None:
    run = Verification(route("anthropic", "ANTHROPIC_API_KEY"))
    assert run.step.path == "/v1/messages"
    assert isinstance(run.answered(404, JSON, b""), NotVerified)


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (401, b"", Failure.CREDENTIALS),
        (403, b"", Failure.CREDENTIALS),
        (400, b"Incorrect API key provided", Failure.CREDENTIALS),
        (404, b'{"type":"authentication_error"}', Failure.CREDENTIALS),
        (422, b"Permission denied", Failure.CREDENTIALS),
        (429, b"", Failure.RATE_LIMITED),
        (500, b"", Failure.UPSTREAM_HEALTH),
        (503, b"", Failure.UPSTREAM_HEALTH),
        (307, b"", Failure.UNEXPECTED),
        (418, b"", Failure.UNEXPECTED),
    ],
)
def test_classes(status: int, body: bytes, failure: Failure) -> None:
    assert failed(status, JSON, body).failure is failure


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html; charset=utf-8", b"<html>log in</html>"),
        ("text/html", b'{"ok":1}'),
        ("", b"<html>"),
        (JSON, b""),
        (JSON, b"[1]"),
        (JSON, b'{"cut":'),
        (JSON, b"[" * 100_000),
        (JSON, b'{"error":{"message":"no"}}'),
        (JSON, b"\xff"),
        (JSON, b'{"ok": 1}'),
        (JSON, b'{"choices": "none"}'),
        (JSON, b'{"content": []}'),
    ],
)
def test_a_200_that_is_no_api_s_answer_is_a_failure(content_type: str, body: bytes) -> None:
    assert failed(200, content_type, body).failure is Failure.NOT_AN_API


@pytest.mark.parametrize("body", [b"{}", b'{"choices":{}}', b'{"ok":1}', b'{"data":[]}'])
def test_an_answer_has_what_the_protocol_s_answers_have(body: bytes) -> None:
    outcome = Verification(route()).answered(200, JSON, body)
    assert isinstance(outcome, NotVerified)
    assert outcome.failure is Failure.NOT_AN_API


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/problem+json"])
def test_what_parses_is_enough(content_type: str) -> None:
    assert isinstance(
        Verification(route()).answered(201, content_type, b' {"choices": [], "error": null} '),
        Verified,
    )


def test_no_answer_is_a_matter_of_connecting() -> None:
    outcome = Verification(route()).failed(Reason.NAME_NOT_RESOLVED, "no such name")
    assert outcome.failure is Failure.CONNECTIVITY
    assert "name_not_resolved: no such name" in outcome.message
    assert "--timeout" not in outcome.message


def test_who_waits_for_a_model_that_loads_learns_how_to_wait_longer() -> None:
    outcome = Verification(route()).failed(Reason.UPSTREAM_TIMEOUT, "no answer within 1 s")
    assert outcome.failure is Failure.CONNECTIVITY
    assert "more time: --timeout SECONDS" in outcome.message


def test_the_message_names_what_a_person_needs() -> None:
    message = failed(401, JSON, b'{"error": "bad\n\x1b[31mkey"}' + b"x" * 1000).message
    for words in (
        "'prov'",
        "'m-op'",
        "https://api.openai.com/v1",
        "credentials",
        "OPENAI_API_KEY",
        "--no-verify",
    ):
        assert words in message
    assert message.isprintable()
    assert len(message) < 700


def test_a_key_that_the_provider_repeats_is_not_shown() -> None:
    message = failed(401, JSON, b'{"error":"wrong key: Bearer sk-op"}').message
    assert "sk-op" not in message
    assert "Bearer [key]" in message
