"""Owns: what a program does with the OpenAI SDK, inside a sandbox. Prints one JSON object per turn.

    python -I openai_turns.py chat stream embeddings ...

Unmodified SDK; only the base URL is set, as a user would. The key is a placeholder.
"""

import json
import sys

import openai

MODEL = "what-the-agent-asks-for"
MESSAGES = [{"role": "user", "content": "say something"}]


def chat(client):
    """A buffered answer."""
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    return {"text": answer.choices[0].message.content, "tokens": answer.usage.total_tokens}


def stream(client):
    """The same, word by word."""
    found = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(found)
    words = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    return {"text": "".join(words), "chunks": len(chunks), "usage": chunks[-1].usage is not None}


def tools(client):
    """The model asks for a tool, gets its result, and answers."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    asked = client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=[tool])
    (called,) = asked.choices[0].message.tool_calls
    result = {"role": "tool", "tool_call_id": called.id, "content": "18 degrees"}
    messages = [*MESSAGES, asked.choices[0].message, result]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[tool])
    arguments = json.loads(called.function.arguments)
    text = answer.choices[0].message.content
    return {"called": called.function.name, "arguments": arguments, "text": text}


def responses(client):
    """The newer interface."""
    return {"text": client.responses.create(model=MODEL, input="p").output_text}


def responses_stream(client):
    """Its events."""
    with client.responses.stream(model=MODEL, input="p") as events:
        kinds = [event.type for event in events]
        return {"kinds": kinds, "text": events.get_final_response().output_text}


def embeddings(client):
    """A vector."""
    answer = client.embeddings.create(model=MODEL, input="p")
    return {"vector": answer.data[0].embedding}


def models(client):
    """What there is."""
    return {"ids": [model.id for model in client.models.list()]}


def images(client):
    """What netmgr does not let through."""
    return {"data": len(client.images.generate(prompt="p").data)}


def main():
    """Each turn; an exception is told with what the SDK made of it."""
    client = openai.OpenAI(
        base_url="https://inference.local/v1", api_key="unused", max_retries=0, timeout=20
    )
    for name in sys.argv[1:]:
        try:
            said = globals()[name](client)
        except openai.APIError as error:
            said = {
                "raised": type(error).__name__,
                "status": getattr(error, "status_code", None),
                "code": error.code,
                "type": error.type,
                "message": error.message,
                "request_id": getattr(error, "request_id", None),
            }
        print(json.dumps({"turn": name} | said), flush=True)


main()
