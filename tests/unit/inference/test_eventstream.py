"""Amazon's frames: cut anywhere they read the same, and botocore reads what we write."""

import base64
import json
from itertools import pairwise

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from netmgr.inference.protocols import Shape
from netmgr.reasons import Reason
from netmgr.testing.event_frames import event_frame
from netmgr_proxy.inference.broken_stream import render_stream_error
from netmgr_proxy.inference.errors import Refusal, render_error
from netmgr_proxy.inference.eventstream import MAX_READ, FrameReader
from netmgr_proxy.inference.frame_usage import FrameMeter


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(places)]


@given(
    st.lists(st.dictionaries(st.text(max_size=4), st.integers()), max_size=4),
    st.lists(st.integers(0, 10_000), max_size=5),
)
def test_any_way_of_cutting_reads_the_same(payloads: list[dict[str, int]], cuts: list[int]) -> None:
    stream = b"".join(event_frame("chunk", payload) for payload in payloads)
    reader = FrameReader()
    found = [frame.payload for piece in pieces(stream, cuts) for frame in reader.feed(piece)]
    assert [json.loads(payload) for payload in found] == payloads
    assert reader.at_boundary


@given(st.binary(max_size=200))
def test_garbage_is_told_and_nothing_is_raised(data: bytes) -> None:
    reader = FrameReader()
    reader.feed(data)
    if len(data) >= 12 and data[:4] != b"\0\0\0\x10":
        assert reader.broken or data[8:12] != b"\0\0\0\0"


def test_a_frame_that_is_too_long_is_passed_over() -> None:
    long = event_frame("chunk", {"x": "a" * MAX_READ})
    reader = FrameReader()
    found = []
    for start in range(0, len(long), 10_000):
        found += reader.feed(long[start : start + 10_000])
        assert len(reader._buffer) <= MAX_READ
    assert found == []
    assert reader.at_boundary
    assert len(reader.feed(event_frame("chunk", {"a": 1}))) == 1


@pytest.mark.parametrize("reason", [Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_UNREACHABLE])
def test_botocore_reads_our_exception(reason: Reason) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(render_stream_error(Shape.BEDROCK, reason, "too late \u2028"))
    (event,) = list(buffer)
    assert event.headers[":message-type"] == "exception"
    assert event.headers[":exception-type"] == "modelStreamErrorException"
    assert json.loads(event.payload) == {"message": "too late \u2028"}


def test_refusals_name_an_error_type() -> None:
    refusal = Refusal(403, Reason.PATTERN_NOT_SUPPORTED, "no", shape=Shape.BEDROCK)
    headers, body = render_error(refusal, "req")
    assert (b"x-amzn-errortype", b"AccessDeniedException") in headers
    assert json.loads(body)["message"] == "no"


def test_tokens_of_both_kinds_of_stream() -> None:
    meter = FrameMeter()
    inner = {
        "type": "x",
        "amazon-bedrock-invocationMetrics": {"inputTokenCount": 7, "outputTokenCount": 5},
    }
    wrapped = base64.b64encode(json.dumps(inner, separators=(",", ":")).encode()).decode()
    meter.feed(event_frame("chunk", {"bytes": wrapped}))
    assert (meter.tokens_in, meter.tokens_out) == (7, 5)
    meter = FrameMeter()
    usage = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}
    for byte in event_frame("metadata", {"usage": usage}):
        meter.feed(bytes([byte]))
    assert (meter.tokens_in, meter.tokens_out) == (3, 4)
