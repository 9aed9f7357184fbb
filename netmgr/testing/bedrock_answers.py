"""Owns: what the scripted model says in Bedrock's shapes. Knows nothing of connections and scripts.

A signature is another one each time: what stands for the credential is the access key's id.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final

_KEY_ID: Final = re.compile(r"Credential=([^/,]+)/")


def bedrock_answer(kind: str, asked: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """The reply (fields of a script's `reply`) to a request of that kind.

    Args:
        asked: the body, and in `model` what the path names.
    """
    signed = _KEY_ID.search(headers.get("authorization", ""))
    by = f"signed by {signed[1]}" if signed else "not signed"
    text = f"This is {asked['model']}, {by}."
    words = text.split()
    counts = {"in": len(json.dumps(asked).split()), "out": len(words)}
    usage = {
        "inputTokens": counts["in"],
        "outputTokens": counts["out"],
        "totalTokens": sum(counts.values()),
    }
    match kind:
        case "converse":
            message = {"role": "assistant", "content": [{"text": text}]}
            return {
                "json": {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}
            }
        case "converse-stream":
            return {"frames": _converse_frames(words, usage)}
        case "invoke-with-response-stream":
            return {"frames": _invoke_frames(words, counts)}
        case _:
            plain = {"input_tokens": counts["in"], "output_tokens": counts["out"]}
            content = [{"type": "text", "text": text}]
            return {
                "json": {"type": "message", "role": "assistant", "content": content, "usage": plain}
            }


def _converse_frames(words: list[str], usage: dict[str, int]) -> list[list[Any]]:
    frames: list[list[Any]] = [["messageStart", {"role": "assistant"}]]
    for word in words:
        delta = {"contentBlockIndex": 0, "delta": {"text": word + " "}}
        frames.append(["contentBlockDelta", delta])
    frames.append(["contentBlockStop", {"contentBlockIndex": 0}])
    frames.append(["messageStop", {"stopReason": "end_turn"}])
    frames.append(["metadata", {"usage": usage, "metrics": {"latencyMs": 1}}])
    return frames


def _invoke_frames(words: list[str], counts: dict[str, int]) -> list[list[Any]]:
    pieces: list[dict[str, Any]] = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        for word in words
    ]
    metrics = {"inputTokenCount": counts["in"], "outputTokenCount": counts["out"]}
    pieces.append({"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics})
    return [["chunk", {"bytes": _wrapped(piece)}] for piece in pieces]


def _wrapped(piece: dict[str, Any]) -> str:
    return base64.b64encode(json.dumps(piece, separators=(",", ":")).encode()).decode()
