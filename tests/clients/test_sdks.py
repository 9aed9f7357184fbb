"""SDKs inside a sandbox, unmodified: Anthropic's, OpenAI's for Node, LangChain."""

import json
from collections.abc import Iterator

import anthropic  # noqa: F401  # missing: the set-up has not installed what this layer needs
import langchain_openai  # noqa: F401
import pytest
from acceptance.inference.model_stage import ModelStage, model_stage
from clients.inside import SANDBOX, node_turns, python_turns

pytestmark = pytest.mark.root

TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"word": "x"}}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [TOOL_USE],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
FUNCTION = {"name": "look", "arguments": '{"word":"x"}'}
CALL = {"id": "call_1", "type": "function", "function": FUNCTION}
CHOICE = {"role": "assistant", "content": None, "tool_calls": [CALL]}
COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "tool_calls", "message": CHOICE}],
}


@pytest.fixture(scope="module")
def stage() -> Iterator[ModelStage]:
    """A world with a scripted provider."""
    with model_stage() as made:
        made.world.sandbox(SANDBOX)
        yield made


def test_anthropic(stage: ModelStage) -> None:
    stage.put_in_force(stage.route("ant"))
    rule = {"contains": '"tools"', "lacks": "tool_result", "reply": {"json": MESSAGE}}
    stage.provider.play([rule])
    turns = ("create", "stream", "tool", "count_tokens", "models", "files")
    said = python_turns(stage, "anthropic_turns.py", *turns)
    text = said["create"]["text"]
    assert text.startswith("This is claude-op, asked with credential sha256:")
    assert said["stream"]["text"].split() == text.split()
    assert said["stream"]["pieces"] > 1
    assert (said["tool"]["name"], said["tool"]["input"]) == ("look", {"word": "x"})
    assert said["tool"]["text"].startswith("This is claude-op")
    assert said["count_tokens"]["tokens"] > 0
    assert said["models"]["ids"]
    refused = said["files"]
    assert (refused["raised"], refused["status"]) == ("PermissionDeniedError", 403)
    assert refused["code"] == "pattern_not_supported"
    for request in stage.provider.requests:
        fields = {name.lower(): value for name, value in request["headers"]}
        assert fields["x-api-key"] == "ant-op"
        assert "authorization" not in fields
        assert not [name for name in fields if name.startswith("x-stainless")]
        assert "what-the-agent-asks-for" not in request["body"]


def test_anthropic_raises_what_went_wrong(stage: ModelStage) -> None:
    stage.put_in_force(stage.route("ant", timeout_s=1))
    stage.provider.play([{"times": 1, "reply": {"delay_s": 5, "json": {}}}])
    late = python_turns(stage, "anthropic_turns.py", "create")["create"]
    assert (late["raised"], late["status"]) == ("GatewayTimeoutError", 504)
    assert (late["type"], late["code"]) == ("timeout_error", "upstream_timeout")
    start = {"type": "message_start", "message": MESSAGE | {"content": []}}
    event = f"event: message_start\ndata: {json.dumps(start)}\n\n"
    stage.provider.play([{"reply": {"events": [event, event], "cut_after": len(event) + 30}}])
    broken = python_turns(stage, "anthropic_turns.py", "stream")["stream"]
    assert broken["raised"] in ("APIStatusError", "APIError"), broken
    assert "provider" in broken["message"], "our words, not a parser's"


def test_openai_for_node(stage: ModelStage) -> None:
    stage.put_in_force(stage.route("oai"))
    rule = {"contains": '"tools"', "lacks": "tool_call_id", "reply": {"json": COMPLETION}}
    stage.provider.play([rule])
    turns = ("chat", "stream", "tool", "responses", "embeddings", "images")
    said = node_turns(stage, "openai_turns.mjs", *turns)
    text = said["chat"]["text"]
    assert text.startswith("This is m-op, asked with credential sha256:")
    assert said["stream"]["text"].split() == text.split()
    assert said["stream"]["pieces"] > 1
    assert (said["tool"]["name"], said["tool"]["args"]) == ("look", {"word": "x"})
    assert said["tool"]["text"].startswith("This is m-op")
    assert said["responses"]["text"].startswith("This is m-op")
    assert said["embeddings"]["vector"] == [0, 0.5, 1]
    refused = said["images"]
    assert (refused["raised"], refused["status"]) == ("PermissionDeniedError", 403)
    assert (refused["code"], refused["type"]) == ("pattern_not_supported", "permission_error")


def test_langchain(stage: ModelStage) -> None:
    stage.put_in_force(stage.route("oai"))
    rule = {"contains": '"tools"', "lacks": "tool_call_id", "reply": {"json": COMPLETION}}
    stage.provider.play([rule])
    said = python_turns(stage, "langchain_turns.py", "invoke", "stream", "tool", "embed")
    assert said["invoke"]["text"].startswith("This is m-op")
    assert said["stream"]["text"].split() == said["invoke"]["text"].split()
    assert (said["tool"]["name"], said["tool"]["args"]) == ("look", {"word": "x"})
    assert said["tool"]["text"].startswith("This is m-op")
    assert said["embed"]["vector"] == [0.0, 0.5, 1.0]
