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
