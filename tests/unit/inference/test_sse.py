"""Where a stream stands, for every protocol's own ending."""

import pytest

from netmgr.inference.protocols import SHAPE_OF, Shape
from netmgr.testing.model_answers import default_answer
from netmgr_proxy.inference.patterns import PATTERNS, Pattern
from netmgr_proxy.inference.sse import SseTracker


@pytest.mark.parametrize(
    "pattern", [p for p in PATTERNS if p.may_stream and p.has_body and p.shape is not Shape.BEDROCK]
)
def test_every_protocol_finishes_with_its_last_event(pattern: Pattern) -> None:
    events = default_answer(pattern.path, {}, b'{"stream":true}')["events"]
    tracker = SseTracker(SHAPE_OF[pattern.protocol])
    for event in events:
        assert not tracker.finished
        tracker.feed(event.encode()[:-1])
        assert not tracker.at_boundary
        tracker.feed(b"\n")
        assert tracker.at_boundary
    assert tracker.finished


def test_a_stream_begins_between_events() -> None:
    tracker = SseTracker(Shape.OPENAI)
    assert tracker.at_boundary
    assert not tracker.finished


@pytest.mark.parametrize(
    "text",
    [b'data: {"content":"[DONE]"}\n\n', b": data: [DONE]\n\n", b"x data: [DONE]\n"],
)  # fmt: skip
def test_what_only_looks_like_the_end(text: bytes) -> None:
    tracker = SseTracker(Shape.OPENAI)
    tracker.feed(text)
    assert not tracker.finished


@pytest.mark.parametrize(
    ("shape", "text", "whole"),
    [
        (Shape.OPENAI, b"data: {}\n\n", True),  # not all servers send [DONE]
        (Shape.OPENAI, b"data: {}\n\ndata: [DONE]\n\n", True),
        (Shape.OPENAI, b"data: {}\n\ndata: [DONE]\n", True),
        (Shape.OPENAI, b"data: {}\r\n\r\ndata:[DONE]", True),
        (Shape.OPENAI, b"data: {}\n\ndata: [DON", False),
        (Shape.OPENAI, b"data: {}\n", False),
        (Shape.OPENAI, b"data: {}\n\nda", False),
        (Shape.OPENAI, b"data: " + b"x" * 70_000, False),
        (Shape.OPENAI, b"data: " + b"x" * 70_000 + b"\n\ndata: [DONE]\n", True),
        (Shape.ANTHROPIC, b"event: ping\ndata: {}\n\n", False),
        (Shape.ANTHROPIC, b"event: message_stop\ndata: {}\n\n", True),
        (Shape.RESPONSES, b"event: response.created\ndata: {}\n\n", False),
        (Shape.RESPONSES, b"event: response.failed\ndata: {}\n\n", True),
    ],
)
def test_where_a_stream_may_end(shape: Shape, text: bytes, whole: bool) -> None:
    for cut in (len(text), 1, 7):
        tracker = SseTracker(shape)
        for at in range(0, len(text), cut):
            tracker.feed(text[at : at + cut])
        assert tracker.may_end is whole
