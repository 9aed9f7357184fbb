"""Owns: what a program does with the Anthropic SDK, inside a sandbox. Prints one JSON per turn.

    python -I anthropic_turns.py create stream count_tokens ...

Unmodified SDK; only the base URL is set, as a user would. The key is a placeholder.
"""

import json
import sys

import anthropic

MODEL = "what-the-agent-asks-for"
MESSAGES = [{"role": "user", "content": "say something"}]
TOOL = {"name": "look", "description": "look it up", "input_schema": {"type": "object"}}


def create(client):
    """A buffered answer."""
    answer = client.messages.create(model=MODEL, max_tokens=64, messages=MESSAGES)
    return {"text": answer.content[0].text, "tokens": answer.usage.output_tokens}


def stream(client):
    """The same, word by word."""
    with client.messages.stream(model=MODEL, max_tokens=64, messages=MESSAGES) as events:
        words = list(events.text_stream)
        return {"text": "".join(words), "pieces": len(words)}


def tool(client):
    """A tool is called, and its result sent back."""
    asked = client.messages.create(
        model=MODEL, max_tokens=64, messages=MESSAGES, tools=[TOOL], tool_choice={"type": "any"}
    )
    call = next(part for part in asked.content if part.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "42"}
    answer = client.messages.create(
        model=MODEL,
        max_tokens=64,
        tools=[TOOL],
        messages=[
            *MESSAGES,
            {"role": "assistant", "content": [part.model_dump() for part in asked.content]},
            {"role": "user", "content": [result]},
        ],
    )
    return {"name": call.name, "input": call.input, "text": answer.content[0].text}


def count_tokens(client):
    """How much it would be."""
    return {"tokens": client.messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens}


def models(client):
    """What there is."""
    return {"ids": [model.id for model in client.models.list()]}


def files(client):
    """What netmgr does not let through."""
    return {"ids": [file.id for file in client.beta.files.list()]}


def main():
    """Each turn; an exception is told with what the SDK made of it."""
    client = anthropic.Anthropic(
        base_url="https://inference.local", api_key="unused", max_retries=0, timeout=20
    )
    for name in sys.argv[1:]:
        try:
            said = globals()[name](client)
        except anthropic.APIError as error:
            body = error.body if isinstance(error.body, dict) else {}
            said = {
                "raised": type(error).__name__,
                "status": getattr(error, "status_code", None),
                "type": body.get("error", {}).get("type"),
                "code": body.get("error", {}).get("code"),
                "message": body.get("error", {}).get("message") or error.message,
            }
        print(json.dumps({"turn": name} | said), flush=True)


main()
