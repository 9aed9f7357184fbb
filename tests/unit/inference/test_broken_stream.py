"""The last words of a broken stream, as the OpenAI SDK and a plain reader of SSE hear them."""

import json
import re

import httpx
import openai
import pytest

from netmgr.inference.protocols import Shape
from netmgr.reasons import Reason
from netmgr_proxy.inference.broken_stream import render_stream_error
from netmgr_proxy.inference.errors import MAX_MESSAGE
from netmgr_proxy.inference.sse import MAX_HALF, SseTracker

CHUNK = (
    'data: {"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index"'
    ':0,"delta":{"content":"hé\\"l\\u00e9😀"},"logprobs":null,"finish_reason":null,"n":[1.5e-3,true'
    ",{}]}]}\n\n"
).encode()
TYPED = (
    'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":'
    '"text_delta","text":"hé\\u00e9"}}\n\n'
).encode()


def broken(shape: Shape, sent: bytes) -> bytes:
    tracker = SseTracker(shape)
    tracker.feed(sent)
    number = tracker.next_number
    return sent + render_stream_error(
        shape, Reason.UPSTREAM_TIMEOUT, "it fell silent", half=tracker.half, sequence_number=number
    )


def events(stream: bytes) -> list[tuple[str, str]]:
    """(event, data) of each event: WHATWG HTML, 9.2.6."""
    found, name, data = [], "", list[str]()
    for line in re.split("\r\n|\n|\r", stream.decode()):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif not line:
            if data:
                found.append((name, "\n".join(data)))
            name, data = "", []
    return found


def hear(body: bytes) -> tuple[int, Exception | None]:
    """How many chunks the OpenAI SDK hands out, and what it raises then."""
    head = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=head, content=body))
    with openai.OpenAI(
        api_key="k", base_url="http://x/v1", http_client=httpx.Client(transport=transport)
    ) as client:
        count = 0
        try:
            for _ in client.chat.completions.create(model="m", messages=[], stream=True):
                count += 1
        except Exception as fault:
            return count, fault
    return count, None


@pytest.mark.parametrize("first", [b"", CHUNK])
def test_the_openai_sdk_raises_its_own_error_wherever_the_stream_is_cut(first: bytes) -> None:
    for cut in range(len(CHUNK)):
        sent = first + CHUNK[:cut]
        count, fault = hear(broken(Shape.OPENAI, sent))
        assert isinstance(fault, openai.APIError), (sent, fault)
        assert fault.message == "it fell silent"
        assert count == sent.count(b",{}]}]}")


@pytest.mark.parametrize("shape", [s for s in Shape if s is not Shape.BEDROCK])
@pytest.mark.parametrize("whole", [CHUNK, TYPED, TYPED.replace(b"\n", b"\r\n"), b": c\n" + TYPED])
def test_every_event_of_a_cut_stream_parses(shape: Shape, whole: bytes) -> None:
    for cut in range(len(whole)):
        found = events(broken(shape, whole[:cut]))
        bodies = [json.loads(data) for _, data in found]
        assert bodies[-1]["error"]["message"] == "it fell silent"
        assert found[-1][0] == "error" or shape is Shape.OPENAI
        assert len(bodies) <= 2
        if len(bodies) == 2 and "error" in bodies[0] and shape is not Shape.OPENAI:
            assert found[0][0] == "error"


@pytest.mark.parametrize("shape", [s for s in Shape if s is not Shape.BEDROCK])
def test_between_two_events_it_is_one_event_of_its_own(shape: Shape) -> None:
    event = render_stream_error(
        shape, Reason.UPSTREAM_TIMEOUT, "silent\r\nfor \u2028 long" * 900, sequence_number=7
    )
    ((name, data),) = events(event)
    assert name == ("" if shape is Shape.OPENAI else "error")
    body = json.loads(data)
    assert len(body["error"]["message"]) <= MAX_MESSAGE
    match shape:
        case Shape.OPENAI:
            assert body["error"]["type"] == "proxy_stream_error"
        case Shape.RESPONSES:
            assert (body["type"], body["sequence_number"]) == ("error", 7)
            assert body["code"] == "upstream_timeout"
        case Shape.ANTHROPIC:
            assert (body["type"], body["error"]["type"]) == ("error", "timeout_error")


def test_numbers_of_a_responses_stream_go_on() -> None:
    tracker = SseTracker(Shape.RESPONSES)
    assert tracker.next_number == 0
    for piece in (b'data: {"type":"x","sequence_num', b'ber":41,"a":1}\n\n', b"data: {}\n\n"):
        tracker.feed(piece)
    assert tracker.next_number == 42


def test_half_an_event_is_kept_within_a_bound() -> None:
    tracker = SseTracker(Shape.OPENAI)
    tracker.feed(b"data: {}\n\ndata: {")
    assert tracker.half == b"data: {"
    tracker.feed(b"x" * (MAX_HALF + 1))
    assert tracker.half is None
    tracker.feed(b"\n\n")
    assert tracker.half == b""
