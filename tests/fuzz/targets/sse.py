"""Event streams: where a stream stands is a matter of its bytes, not of their pieces."""

import re

from fuzz.cuts import bytewise, uneven
from netmgr.inference.protocols import Shape
from netmgr_proxy.inference.sse import SseTracker

WORDS = (
    b"data: [DONE]",
    b"data:[DONE]",
    b"event: message_stop",
    b'data: {"type":"message_stop"',
    b'data: {"type": "response.completed"',
    b"event: response.incomplete",
    b"\r\n\r\n",
    b"\n\n",
    b"\r",
)


def fuzz(data: bytes) -> None:
    """Byte by byte equals all at once, and as WHATWG HTML 9.2.5 reads literally."""
    lines = re.split(rb"\r\n|\n|\r", data)
    at_boundary = data == b"" or (lines[-1] == b"" and (len(lines) == 1 or lines[-2] == b""))
    for shape in Shape:
        whole = _track(shape, [data])
        assert whole == _track(shape, bytewise(data)) == _track(shape, uneven(data))
        assert whole[0] == at_boundary
        assert whole[2] or not whole[1]  # what is finished may end
    done = any(line in (b"data: [DONE]", b"data:[DONE]") for line in lines[:-1])
    assert _track(Shape.OPENAI, [data])[1] == (done and at_boundary)


def _track(shape: Shape, pieces: list[bytes]) -> tuple[bool, bool, bool]:
    tracker = SseTracker(shape)
    for piece in pieces:
        tracker.feed(piece)
    return tracker.at_boundary, tracker.finished, tracker.may_end
