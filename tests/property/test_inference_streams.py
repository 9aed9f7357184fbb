"""Streams: any way of cutting one gives the same answers; nothing escapes on any bytes."""

import re
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from netmgr.inference.protocols import Shape
from netmgr_proxy.inference.sse import SseTracker
from netmgr_proxy.inference.usage import UsageMeter

SSE_PIECES = st.sampled_from(
    [
        b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"x", b"data: {}", b"data: [DONE]",
        b"data:[DONE]", b"data: x[DONE]", b"event: message_stop", b": message_stop",
        b"event: response.completed", b'data: {"type":"response.completed"', b"}",
        b'data: {"type":"message_stop"}', b"response.failed",
    ]
)  # fmt: skip
USAGE_PIECES = st.sampled_from(
    [
        b'"usage"', b'\\"usage"', b'{"usage"', b',"usage"', b":", b" ", b"\n", b"{", b"}", b"null",
        b'"prompt_tokens":5', b'"completion_tokens":7', b",", b'"x"',
        b'{"usage":{"input_tokens":3}}',
        b"\\", b"\xff",
    ]
)  # fmt: skip


@st.composite
def cut(draw: st.DrawFn, pieces: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    whole = b"".join(draw(st.lists(pieces | st.binary(max_size=4), max_size=20)))
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return whole, [whole[a:b] for a, b in pairwise([0, *places, len(whole)])]


def tracked(shape: Shape, chunks: list[bytes]) -> tuple[bool, bool]:
    tracker = SseTracker(shape)
    for chunk in chunks:
        tracker.feed(chunk)
    return tracker.at_boundary, tracker.finished


def metered(chunks: list[bytes]) -> tuple[int | None, int | None]:
    meter = UsageMeter()
    for chunk in chunks:
        meter.feed(chunk)
    return meter.tokens_in, meter.tokens_out


@given(cut(SSE_PIECES), st.sampled_from(Shape))
def test_a_stream_may_be_cut_anywhere(stream: tuple[bytes, list[bytes]], shape: Shape) -> None:
    whole, chunks = stream
    assert tracked(shape, [whole]) == tracked(shape, chunks)
    assert tracked(shape, [whole]) == tracked(shape, [bytes([b]) for b in whole])


@given(cut(SSE_PIECES))
def test_a_boundary_is_what_the_grammar_says(stream: tuple[bytes, list[bytes]]) -> None:
    """WHATWG HTML 9.2.5 read literally: the last line is complete and blank, or there is none."""
    whole, chunks = stream
    lines = re.split(rb"\r\n|\n|\r", whole)
    # What is complete is followed by a line end; the rest after the last one has to be empty.
    at_boundary = whole == b"" or (lines[-1] == b"" and (len(lines) == 1 or lines[-2] == b""))
    assert tracked(Shape.OPENAI, chunks)[0] == at_boundary


@given(cut(SSE_PIECES))
def test_done_counts_as_a_whole_line_only(stream: tuple[bytes, list[bytes]]) -> None:
    whole, chunks = stream
    lines = re.split(rb"\r\n|\n|\r", whole)[:-1]
    seen = any(line in (b"data: [DONE]", b"data:[DONE]") for line in lines)
    boundary, finished = tracked(Shape.OPENAI, chunks)
    assert finished == (seen and boundary)


@given(cut(USAGE_PIECES))
@example((b'{"usage":{"prompt_tokens":5}}', [bytes([b]) for b in b'{"usage":{"prompt_tokens":5}}']))
def test_usage_is_counted_however_it_arrives(stream: tuple[bytes, list[bytes]]) -> None:
    whole, chunks = stream
    assert metered([whole]) == metered(chunks) == metered([bytes([b]) for b in whole])


@given(st.binary(max_size=300), st.sampled_from([b"", b"gzip", b"deflate", b"br", b"\xff"]))
def test_the_meter_never_fails(data: bytes, coding: bytes) -> None:
    meter = UsageMeter(coding)
    meter.feed(data)
    assert meter.tokens_in is None or meter.tokens_in >= 0
