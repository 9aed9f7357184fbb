"""The OpenAI SDK inside a sandbox, unmodified: what it returns, and what it raises."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai  # noqa: F401  # missing: the set-up has not installed what this layer needs
import pytest
from acceptance.inference.model_stage import ModelStage, model_stage

pytestmark = pytest.mark.root

PROGRAM = Path(__file__).parent / "openai_turns.py"
TURNS = ("chat", "stream", "responses", "responses_stream", "embeddings", "models", "images")

Said = dict[str, Any]


@pytest.fixture(scope="module")
def stage() -> Iterator[ModelStage]:
    """A world with a scripted provider, and the route to it in force."""
    with model_stage() as made:
        made.put_in_force(made.route("oai"))
        made.provider.play([])
        made.world.sandbox("sdk")
        yield made


def run(stage: ModelStage, *turns: str) -> list[Said]:
    """The program in the sandbox. As root: the tests' interpreter may be nobody else's to read."""
    words = ["sandbox", "exec", "--user", "root", "sdk", "--", sys.executable, "-I"]
    done = stage.world.netmgr(*words, str(PROGRAM), *turns, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def said(stage: ModelStage) -> dict[str, Said]:
    """Every turn, in one run of the program: it takes a second to import the SDK."""
    stage.put_in_force(stage.route("oai"))
    stage.provider.play([])
    found = {turn["turn"]: turn for turn in run(stage, *TURNS)}
    return found | {"requests": {"seen": stage.provider.requests}}


def test_chat_is_answered_by_the_route_s_model(said: dict[str, Said]) -> None:
    assert said["chat"]["text"].startswith("This is m-op, asked with credential sha256:")
    assert said["chat"]["tokens"] > 0


def test_a_stream_comes_whole(said: dict[str, Said]) -> None:
    assert said["stream"]["text"].split() == said["chat"]["text"].split()
    assert said["stream"]["usage"]
    assert said["stream"]["chunks"] == len(said["chat"]["text"].split()) + 3  # role, stop, usage


def test_responses(said: dict[str, Said]) -> None:
    assert said["responses"]["text"].startswith("This is m-op")
    kinds = said["responses_stream"]["kinds"]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert said["responses_stream"]["text"] == said["responses"]["text"]


def test_embeddings_and_models(said: dict[str, Said]) -> None:
    assert said["embeddings"]["vector"] == [0.0, 0.5, 1.0]
    assert said["models"]["ids"] == ["scripted-model"]


def test_the_provider_saw_the_operator_s_key_and_no_fingerprint(said: dict[str, Said]) -> None:
    for request in said["requests"]["seen"]:
        fields = dict(request["headers"])
        assert fields["authorization"] == "Bearer sk-op"
        assert not [name for name in fields if name.startswith("x-stainless")]
        assert fields["user-agent"].startswith("OpenAI/Python")
        assert "what-the-agent-asks-for" not in request["body"]


def test_a_path_that_is_denied_raises_permission_denied(said: dict[str, Said]) -> None:
    raised = said["images"]
    assert (raised["raised"], raised["status"]) == ("PermissionDeniedError", 403)
    assert (raised["code"], raised["type"]) == ("pattern_not_supported", "permission_error")
    assert "POST /v1/images/generations is no inference request" in raised["message"]
    assert raised["request_id"]


def test_nothing_configured_raises_with_the_command_that_helps(stage: ModelStage) -> None:
    stage.put_in_force(None)
    (raised,) = run(stage, "chat")
    assert (raised["raised"], raised["status"]) == ("InternalServerError", 503)
    assert raised["code"] == "not_configured"
    assert "netmgr inference set --provider" in raised["message"]


def test_a_tool_is_called_and_its_result_goes_back(stage: ModelStage) -> None:
    stage.put_in_force(stage.route("oai"))
    function = {"name": "weather", "arguments": '{"city": "Ulm"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    asks = {"role": "assistant", "content": None, "tool_calls": [call]}
    says = {"role": "assistant", "content": "mild"}
    stage.provider.play(
        [
            {"lacks": "tool_call_id", "reply": {"json": completion(asks, "tool_calls")}},
            {"contains": "18 degrees", "reply": {"json": completion(says, "stop")}},
        ]
    )
    before = len(stage.provider.requests)
    (turn,) = run(stage, "tools")
    assert turn == {
        "turn": "tools", "called": "weather", "arguments": {"city": "Ulm"}, "text": "mild"
    }  # fmt: skip
    first, second = [json.loads(r["body"]) for r in stage.provider.requests[before:]]
    assert first["model"] == second["model"] == "m-op"
    assert second["messages"][1]["tool_calls"] == [call]
    assert second["messages"][2]["tool_call_id"] == "call_1"


def completion(message: Said, reason: str) -> Said:
    """A buffered answer of one choice."""
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}


@pytest.mark.parametrize("kept", [1, 9, 24])
def test_a_stream_that_is_cut_within_an_event_raises_our_message(
    stage: ModelStage, kept: int
) -> None:
    stage.put_in_force(stage.route("oai"))
    event = 'data: {"choices":[],"id":"c"}\n\n'
    cut = {"events": [event, event], "cut_after": len(event) + kept}
    stage.provider.play([{"times": 1, "reply": cut}])
    (broken,) = run(stage, "stream")
    assert broken["raised"] == "APIError"
    assert (broken["type"], broken["code"]) == ("proxy_stream_error", "upstream_unreachable")
    assert "netmgr observe" in broken["message"]


def test_what_breaks_raises_what_it_is(stage: ModelStage) -> None:
    """The provider's own error, a late answer, and a stream that breaks off after an event."""
    stage.put_in_force(stage.route("oai", timeout_s=1))
    slow = {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate"}}
    first = 'data: {"choices":[]}\n\n'
    stage.provider.play(
        [
            {"times": 1, "reply": {"status": 429, "json": slow}},
            {"times": 1, "reply": {"delay_s": 5, "json": {}}},
            {"times": 1, "reply": {"events": [first, first], "cut_after": len(first)}},
        ]
    )
    limited, late, broken = run(stage, "chat", "chat", "stream")
    assert (limited["raised"], limited["code"]) == ("RateLimitError", "rate")
    assert (late["raised"], late["status"]) == ("InternalServerError", 504)
    assert late["code"] == "upstream_timeout"
    assert broken["raised"] == "APIError"
    assert (broken["type"], broken["code"]) == ("proxy_stream_error", "upstream_unreachable")
