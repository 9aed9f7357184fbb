"""Owns: what the scripted model says unless it is told otherwise, in the vendors' shapes.

Knows nothing of connections and scripts. The text names the model that was asked for and a
fingerprint of the credential that came along, never the credential.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from netmgr.testing.bedrock_answers import bedrock_answer

Event = tuple[str | None, dict[str, Any] | str]  # (event name, data)

NO_CREDENTIAL: Final = "none"


def fingerprint(headers: Mapping[str, str]) -> str:
    """What stands for the credential: the first 8 hex digits of its SHA-256.

    `printf %s KEY | sha256sum | cut -c1-8` gives the same.
    """
    value = (
        headers.get("x-api-key")
        or headers.get("api-key")
        or headers.get("authorization", "").removeprefix("Bearer ")
    )
    if not value:
        return NO_CREDENTIAL
    return "sha256:" + hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def default_answer(path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The reply (fields of a script's `reply`) to a request that no rule matched."""
    asked = _asked(body)
    if "/publishers/" in path:  # Vertex names the model in the path
        asked.setdefault("model", path.rpartition("/")[2].partition(":")[0])
    text = (
        f"This is {asked.get('model', 'no model')}, asked with credential {fingerprint(headers)}."
    )
    kind = _kind(path)
    if kind == "models":
        return {"json": {"object": "list", "data": [_model("scripted-model")]}}
    if kind == "model":
        return {"json": _model(path.rpartition("/")[2])}
    if kind in ("invoke", "invoke-with-response-stream", "converse", "converse-stream"):
        return bedrock_answer(kind, asked | {"model": _path_model(path)}, headers)
    if kind is None:
        error = {"message": f"no such path: {path}", "type": "not_found_error", "code": None}
        return {"status": 404, "json": {"error": error}}
    if asked.get("stream") is True and kind in _STREAMS:
        return {"events": [render_event(event) for event in _STREAMS[kind](asked, text)]}
    return {"json": _BUFFERED[kind](asked, text)}


def render_event(event: Event) -> str:
    """One server-sent event with the blank line behind it."""
    name, data = event
    head = f"event: {name}\n" if name else ""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return f"{head}data: {text}\n\n"


def chat_events(count: int) -> list[str]:
    """`count` chat chunks and the end of the stream, for scripts that ask for a number."""
    chunks = [_chat_chunk("scripted-model", {"content": f"word{n} "}) for n in range(count)]
    return [render_event((None, chunk)) for chunk in chunks] + [render_event((None, "[DONE]"))]


def _path_model(path: str) -> str:
    """The model of a Bedrock path."""
    return unquote(path.split("/")[-2])


def _kind(path: str) -> str | None:
    """Which API a path is, below whatever base path the server is reached at."""
    if "/model/" in path:
        return path.rpartition("/")[2]
    if path.endswith("/count-tokens:rawPredict"):
        return "count_tokens"
    if path.endswith((":rawPredict", ":streamRawPredict")):
        return "messages"
    for tail in ("chat/completions", "completions", "responses", "embeddings"):
        if path.endswith("/" + tail):
            return tail
    if path.endswith("/messages/count_tokens"):
        return "count_tokens"
    if path.endswith("/messages"):
        return "messages"
    if path.endswith("/models"):
        return "models"
    return "model" if "/models/" in path else None


def _asked(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "scripted"}


def _words_in(asked: dict[str, Any]) -> int:
    """Our token: a word of the request as JSON text."""
    return len(json.dumps(asked).split())


def _openai_usage(asked: dict[str, Any], text: str) -> dict[str, int]:
    words = _words_in(asked), len(text.split())
    return {
        "prompt_tokens": words[0],
        "completion_tokens": words[1],
        "total_tokens": sum(words),
    }


def _item_usage(asked: dict[str, Any], text: str) -> dict[str, int]:
    return {"input_tokens": _words_in(asked), "output_tokens": len(text.split())}


def _chat(asked: dict[str, Any], text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": asked.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _openai_usage(asked, text),
    }


def _completion(asked: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        "id": "cmpl-scripted",
        "object": "text_completion",
        "created": 0,
        "model": asked.get("model"),
        "choices": [{"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}],
        "usage": _openai_usage(asked, text),
    }


def _response(asked: dict[str, Any], text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    usage = _item_usage(asked, text)
    return {
        "id": "resp_scripted",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": asked.get("model"),
        "output": [item],
        "usage": usage | {"total_tokens": sum(usage.values())},
    }


def _embeddings(asked: dict[str, Any], text: str) -> dict[str, Any]:
    usage = _openai_usage(asked, "")
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.0, 0.5, 1.0]}],
        "model": asked.get("model"),
        "usage": {key: usage[key] for key in ("prompt_tokens", "total_tokens")},
    }


def _message(asked: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": asked.get("model"),
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _item_usage(asked, text),
    }


def _count_tokens(asked: dict[str, Any], text: str) -> dict[str, Any]:
    return {"input_tokens": _words_in(asked)}


def _chat_chunk(model: object, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def _chat_stream(asked: dict[str, Any], text: str) -> Iterator[Event]:
    model = asked.get("model")
    yield None, _chat_chunk(model, {"role": "assistant", "content": ""})
    for word in text.split():
        yield None, _chat_chunk(model, {"content": word + " "})
    yield None, _chat_chunk(model, {}, "stop")
    options = asked.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        usage = {"usage": _openai_usage(asked, text)}
        yield None, _chat_chunk(model, {}) | {"choices": []} | usage
    yield None, "[DONE]"


def _completion_stream(asked: dict[str, Any], text: str) -> Iterator[Event]:
    whole = _completion(asked, text)
    for word in text.split():
        choice = {"index": 0, "text": word + " ", "finish_reason": None, "logprobs": None}
        yield None, {k: v for k, v in whole.items() if k != "usage"} | {"choices": [choice]}
    yield None, whole | {"choices": []}
    yield None, "[DONE]"


def _response_stream(asked: dict[str, Any], text: str) -> Iterator[Event]:
    whole = _response(asked, text)
    for number, (kind, fields) in enumerate(_response_events(whole, text)):
        yield kind, {"type": kind, "sequence_number": number, **fields}


def _response_events(whole: dict[str, Any], text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every event of the API's reference, in its order: SDKs build the answer from them."""
    (item,) = whole["output"]
    (part,) = item["content"]
    here = {"output_index": 0}
    there = here | {"item_id": item["id"], "content_index": 0}
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    yield "response.created", {"response": begun}
    opened = item | {"status": "in_progress", "content": []}
    yield "response.output_item.added", here | {"item": opened}
    yield "response.content_part.added", there | {"part": part | {"text": ""}}
    for delta in re.findall(r"\S+\s*", text):
        yield "response.output_text.delta", there | {"delta": delta}
    yield "response.output_text.done", there | {"text": text}
    yield "response.content_part.done", there | {"part": part}
    yield "response.output_item.done", here | {"item": item}
    yield "response.completed", {"response": whole}


def _message_stream(asked: dict[str, Any], text: str) -> Iterator[Event]:
    whole = _message(asked, text)
    usage = whole["usage"]
    begun = whole | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    for word in text.split():
        delta = {"type": "text_delta", "text": word + " "}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events.append({"type": "content_block_stop", "index": 0})
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    out = {"output_tokens": usage["output_tokens"]}
    events.append({"type": "message_delta", "delta": end, "usage": out})
    events.append({"type": "message_stop"})
    yield from ((event["type"], event) for event in events)


_BUFFERED: Final = {
    "chat/completions": _chat,
    "completions": _completion,
    "responses": _response,
    "embeddings": _embeddings,
    "messages": _message,
    "count_tokens": _count_tokens,
}
_STREAMS: Final = {
    "chat/completions": _chat_stream,
    "completions": _completion_stream,
    "responses": _response_stream,
    "messages": _message_stream,
}
