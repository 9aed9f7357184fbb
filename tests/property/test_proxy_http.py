"""Request and response readers: only their own errors escape; the cut of the bytes is no matter."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from netmgr_proxy.wire.request import (
    HOP_BY_HOP,
    NEED_DATA,
    BadRequest,
    Body,
    End,
    Head,
    RequestReader,
)
from netmgr_proxy.wire.response import BadResponse, Framing, ResponseReader

TOKENS = st.from_regex(rb"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True)
VALUES = st.from_regex(rb"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)
FRAMING_NAMES = (b"content-length", b"transfer-encoding", b"connection", b"host", b"upgrade")
FIELDS = st.lists(
    st.tuples(TOKENS.filter(lambda n: n.lower() not in FRAMING_NAMES), VALUES), max_size=5
)
LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /a HTTP/1.1\r\n",
        b"Host: a.test\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: Chunked\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"\n",
        b" fold\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\nTrailer: x\r\n\r\n",
    ]
)
STREAMS = st.lists(LINES | st.binary(max_size=8), max_size=14).map(b"".join)


def read_all(pieces: list[bytes]) -> list[Any]:
    """Events of a reader that gets the pieces; bodies joined; the error last."""
    reader = RequestReader(16384, 100)
    events: list[Any] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next()) is not NEED_DATA:
                if isinstance(event, Body) and events and isinstance(events[-1], bytes):
                    events[-1] += event.data
                else:
                    events.append(event.data if isinstance(event, Body) else event)
    except BadRequest as fault:
        events.append(fault.status)
    return events


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@given(STREAMS)
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
def test_requests_byte_by_byte_are_the_same_as_all_at_once(data: bytes) -> None:
    whole, single = read_all([data]), read_all(bytewise(data))
    # Where it is malformed, the slow reader may know earlier; nothing it said before differs.
    assert single == whole or (whole[-1] == single[-1] in (400, 431) and single[:-1] == whole[:-1])


@given(st.lists(st.tuples(FIELDS, st.binary(max_size=40), st.booleans()), min_size=1, max_size=4))
def test_what_was_sent_is_what_is_read(requests: list[tuple[Any, bytes, bool]]) -> None:
    data = b""
    for fields, body, chunked in requests:
        data += b"POST /x HTTP/1.1\r\nHost: a.test\r\n"
        data += b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        if chunked:
            data += b"Transfer-Encoding: chunked\r\n\r\n"
            data += b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        else:
            data += b"Content-Length: %d\r\n\r\n" % len(body) + body
    events = read_all([data])
    heads = [event for event in events if isinstance(event, Head)]
    assert [list(head.fields) for head in heads] == [
        [(n, v) for n, v in fields if n.lower() not in HOP_BY_HOP] for fields, _, _ in requests
    ]
    assert [e for e in events if isinstance(e, bytes)] == [b for _, b, _ in requests if b]
    assert sum(isinstance(event, End) for event in events) == len(requests)


SIMILAR = st.lists(
    st.builds(
        lambda lines: b"POST / HTTP/1.1\r\nHost: a\r\n" + b"".join(lines) + b"\r\n",
        st.lists(
            st.sampled_from(
                [
                    b"Content-Length: 0\r\n",
                    b"Content-Length: 00\r\n",
                    b"content-length: 1\r\n",
                    b"Content-Length: -0\r\n",
                    b"Content-Length:\r\n",
                    b"Content-Length: 0, 0\r\n",
                    b"X: Content-Length: 0\r\n",
                    b"Transfer-Encoding: chunked\r\n",
                ]
            ),
            max_size=3,
        ),
    ),
    min_size=1,
    max_size=5,
)


@given(SIMILAR)
def test_what_is_remembered_changes_nothing(heads: list[bytes]) -> None:
    """A head is read the same whatever came before it on the connection."""
    used = RequestReader(16384, 100)
    for raw in heads:
        fresh = RequestReader(16384, 100)
        outcomes = []
        for reader in (used, fresh):
            reader.feed(raw)
            try:
                head = reader.next()
            except BadRequest as fault:
                outcomes.append(str(fault))
                continue
            assert isinstance(head, Head)
            outcomes.append(head)
            reader.feed(b"0\r\n\r\n" if head.length is None else b"x" * head.length)
            while not isinstance(reader.next(), End):
                pass
        assert outcomes[0] == outcomes[1]
        if isinstance(outcomes[0], str):
            return


@given(st.binary(max_size=300))
def test_any_bytes_are_events_or_bad_request(data: bytes) -> None:
    read_all([b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data])
    read_all([data])


RESPONSE_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No\r\n",
        b"HTTP/1.1 101 S\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Connection: close\r\n",
        b"Upgrade: x\r\n",
        b"\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
    ]
)
RESPONSES = st.lists(RESPONSE_LINES | st.binary(max_size=6), max_size=12).map(b"".join)


def relay_all(pieces: list[bytes], *, bodyless: bool = False) -> tuple[bytes, Any]:
    """What is relayed of a response's body, and how it ended."""
    reader = ResponseReader(65536, bodyless=bodyless)
    relayed = b""
    try:
        for piece in pieces:
            data: bytes = piece
            while reader.head is None and data:
                taken = reader.take_head(data)
                if taken is None:
                    data = b""
                    break
                _, data = taken
            if data:
                relayed += reader.take_body(data)
        reader.end_of_stream()
    except BadResponse:
        return relayed, "bad"
    return relayed, reader.head.status if reader.head else None


@given(RESPONSES, st.booleans())
def test_responses_byte_by_byte_are_the_same_as_all_at_once(data: bytes, bodyless: bool) -> None:
    whole = relay_all([data], bodyless=bodyless)
    single = relay_all(bytewise(data), bodyless=bodyless)
    assert single[1] == whole[1]
    assert whole[1] == "bad" or single == whole


@given(st.binary(max_size=200), st.integers(0, 50))
def test_never_more_than_the_announced_length_is_relayed(body: bytes, length: int) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length
    relayed, end = relay_all([head + body])
    assert len(relayed) <= length
    assert end == (200 if len(body) == length else "bad")


def test_framings_are_told_apart() -> None:
    for fields, bodyless, framing in (
        (b"Content-Length: 5\r\n", False, Framing.LENGTH),
        (b"Content-Length: 5\r\n", True, Framing.NONE),
        (b"Content-Length: 0\r\n", False, Framing.NONE),
        (b"Transfer-Encoding: chunked\r\n", False, Framing.CHUNKED),
        (b"", False, Framing.CLOSE),
    ):
        reader = ResponseReader(65536, bodyless=bodyless)
        taken = reader.take_head(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
        assert taken is not None
        assert taken[0].framing is framing
