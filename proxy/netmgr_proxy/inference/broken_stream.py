"""Owns: the last words of an event stream that broke, in its protocol's own shape.

Whoever reads them must learn that the answer is not whole: the connection is aborted behind them,
and SDKs raise their typed exception. A half-written event is brought to an end that parses, and
carries the error itself: a client would stumble over it and never come to the error event.
"""

import json
import re
from typing import Any, Final

from netmgr.inference.protocols import Shape
from netmgr.reasons import Reason
from netmgr_proxy.inference.errors import MAX_MESSAGE
from netmgr_proxy.inference.eventstream import render_exception
from netmgr_proxy.inference.json_end import end_object

_LATE: Final = Reason.UPSTREAM_TIMEOUT
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_DATA: Final = re.compile(rb"data:? ?")


def render_stream_error(
    shape: Shape,
    reason: Reason,
    message: str,
    *,
    half: bytes | None = b"",
    sequence_number: int = 0,
) -> bytes:
    """What is written into a broken stream.

    Args:
        half: the event that was begun and not ended; b"" between two events, None where it is not
            known.
        sequence_number: of the event in a Responses stream; one more than the last.
    """
    if shape is Shape.BEDROCK:
        # Amazon's are frames and may only stand between two others. Both streamed calls of the
        # API have this exception; a time-out is one of only one of them.
        told = {"message": message[:MAX_MESSAGE]}
        return render_exception("modelStreamErrorException", _line(told))
    error = _error(shape, reason, message[:MAX_MESSAGE])
    event = _event(shape, error, sequence_number)
    if half is None:
        return b"\n\n" + event
    return _end_half(half, shape, error) + event if half else event


def _error(shape: Shape, reason: Reason, message: str) -> dict[str, Any]:
    kind = "proxy_stream_error"
    if shape is Shape.ANTHROPIC:
        kind = "timeout_error" if reason is _LATE else "api_error"
    return {"message": message, "type": kind, "code": reason.value}


def _event(shape: Shape, error: dict[str, Any], sequence_number: int) -> bytes:
    match shape:
        case Shape.OPENAI:
            return b"data: " + _line({"error": error}) + b"\n\n"
        case Shape.RESPONSES:
            # The event of the API's reference is flat; its SDKs raise on a nested `error`.
            event = {
                "type": "error",
                "code": error["code"],
                "message": error["message"],
                "param": None,
                "sequence_number": sequence_number,
                "error": error,
            }
        case _:
            event = {"type": "error", "error": error}
    return b"event: error\ndata: " + _line(event) + b"\n\n"


def _end_half(half: bytes, shape: Shape, error: dict[str, Any]) -> bytes:
    """What ends a half-written event so that nobody stumbles over it."""
    lines = _LINE_END.split(half)
    last = lines[-1]
    if any(line.startswith(b"data") for line in lines[:-1]):
        return b"\n\n"  # several lines of data, or all of it: then it parses as it is
    if not last.startswith(b"data"):
        # No data yet: what was begun becomes the head of our own event.
        return b"\n" if last else b""
    begun = _DATA.sub(b"", last, count=1)
    if not begun.strip():
        return b"\n"  # an empty line of data before ours is a blank to JSON
    ending = end_object(begun, b'"error":' + _line(error))
    if ending is None:
        return b"\n\n"
    # The last `event` of an event counts (WHATWG HTML, 9.2.6).
    return ending + (b"\n\n" if shape is Shape.OPENAI else b"\nevent: error\n\n")


def _line(event: dict[str, Any]) -> bytes:
    # json.dumps escapes line ends and all non-ASCII: the event stays one line.
    return json.dumps(event, separators=(",", ":")).encode()
