"""Owns: the scripted turn of an agent: it is asked, calls a tool, sends the result, and answers.

The provider's side of it, in both vendors' shapes. Knows nothing of any agent.
"""

import json
from typing import Any, Final

MARK: Final = "netmgr-turn-4711"  # in the prompt
TOOLS: Final = '"tools":['  # an agent's other calls (a title for the session) offer no tool
COMMAND: Final = "printf %s tool-ran > turn.txt && echo tool-output-0815"
OUTPUT: Final = "tool-output-0815"
ANSWER: Final = "the tool said so"

Rule = dict[str, Any]


def anthropic_turn(tool: str) -> list[Rule]:
    """Messages: a call of `tool`, then the answer to its result."""
    call = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}}
    given = json.dumps({"command": COMMAND, "description": "run it"})
    delta = {"type": "input_json_delta", "partial_json": given}
    asked = _message(call, delta, "tool_use")
    told = _message(
        {"type": "text", "text": ""}, {"type": "text_delta", "text": ANSWER}, "end_turn"
    )
    return _rules("/messages", "tool_result", asked, told)


def openai_turn(tool: str) -> list[Rule]:
    """Chat completions: the same."""
    function = {"name": tool, "arguments": json.dumps({"command": COMMAND, "description": "run"})}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    asked = [
        _chunk({"role": "assistant", "tool_calls": [call]}),
        _chunk({}, "tool_calls"),
        "data: [DONE]\n\n",
    ]
    told = [
        _chunk({"role": "assistant", "content": ANSWER}),
        _chunk({}, "stop"),
        "data: [DONE]\n\n",
    ]
    return _rules("/chat/completions", '"tool_call_id"', asked, told)


def _rules(path: str, result: str, asked: list[Any], told: list[Any]) -> list[Rule]:
    return [
        {"path": path, "contains": result, "reply": {"events": told}},
        {"path": path, "contains": TOOLS, "lacks": result, "times": 1, "reply": {"events": asked}},
    ]


def _message(block: dict[str, Any], delta: dict[str, Any], stop: str) -> list[str]:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 1},
    }
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop, "stop_sequence": None},
            "usage": {"output_tokens": 7},
        },
        {"type": "message_stop"},
    ]
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events]


def _chunk(delta: dict[str, Any], stop: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": stop}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "m",
        "choices": [choice],
    }
