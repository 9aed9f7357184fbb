"""What an upstream cannot make of its answer: another head, endless trailers, more than its end."""

from typing import Final

import pytest

from netmgr_proxy.wire.response import (
    BadResponse,
    Framing,
    HeadMemo,
    ResponseHead,
    ResponseReader,
    render_relayed_head,
)

MAX_HEAD = 256
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def reader_of_chunks() -> tuple[ResponseReader, ResponseHead]:
    reader = ResponseReader(MAX_HEAD, bodyless=False)
    taken = reader.take_head(CHUNKED)
    assert taken is not None
    return reader, taken[0]


@pytest.mark.parametrize("odd", [b"\0", b"\x1b[2J", b"\x7f", b"\r", b"\n", b"\r\n X: y"])
def test_a_head_with_bytes_that_readers_disagree_about_is_refused(odd: bytes) -> None:
    reader = ResponseReader(MAX_HEAD, bodyless=False)
    with pytest.raises(BadResponse):
        reader.take_head(b"HTTP/1.1 200 O" + odd + b"K\r\nContent-Length: 0\r\n\r\n")


def test_trailers_do_not_become_fields_of_the_head() -> None:
    reader, head = reader_of_chunks()
    reader.take_body(b"0\r\nSet-Cookie: a\r\n\r\n")
    assert reader.done
    assert head.fields == [(b"Transfer-Encoding", b"chunked")]


@pytest.mark.parametrize("piece", [b"x" * 50, b"a: b\r\n" * 8])
def test_trailers_have_a_bound(piece: bytes) -> None:
    reader, _ = reader_of_chunks()
    reader.take_body(b"0\r\nT: ")
    for _ in range(MAX_HEAD // len(piece)):
        reader.take_body(piece)
    with pytest.raises(BadResponse, match="trailers are longer than 256"):
        reader.take_body(piece)


def test_a_long_body_in_small_chunks_has_none() -> None:
    reader, _ = reader_of_chunks()
    for _ in range(200):
        for piece in (b"1\r", b"\n", b"x", b"\r\n"):
            reader.take_body(piece)
    reader.take_body(b"0\r\n\r\n")
    assert reader.done


@pytest.mark.parametrize(
    "end", [b"0\r\n\r\n", b"00\r\n\r\n", b"0;x\r\nT: x\r\n\r\n", b"0\r\nT:\r\n\r\n"]
)
@pytest.mark.parametrize("behind", [b"\r\n", b"\r", b"\n", b"\r\n\r\n"])
def test_empty_lines_behind_the_end_are_not_relayed(end: bytes, behind: bytes) -> None:
    for cut in range(len(end) - 1):
        reader, _ = reader_of_chunks()
        if cut:
            reader.take_body(end[:cut])
        with pytest.raises(BadResponse, match="behind the end"):
            reader.take_body(end[cut:] + behind)
    reader, _ = reader_of_chunks()
    reader.take_body(end)
    assert reader.done


@pytest.mark.parametrize("over", [0, 1])
def test_the_bound_of_a_head_does_not_depend_on_its_pieces(over: int) -> None:
    start = b"HTTP/1.1 204 No\r\nX: "
    data = start + b"x" * (MAX_HEAD - len(start) + over) + b"\r\n\r\n"
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        reader = ResponseReader(MAX_HEAD, bodyless=False)
        if not over:
            assert [reader.take_head(piece) for piece in pieces][-1] is not None
            continue
        with pytest.raises(BadResponse, match="longer than 256"):
            any(reader.take_head(piece) for piece in pieces)


PLAIN: Final = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nConnection: x-a\r\nContent-Length: 5\r\n\r\n"


def read_with(memo: HeadMemo, raw: bytes, *, bodyless: bool = False) -> ResponseHead:
    """One head, read by a new reader of the same connection."""
    taken = ResponseReader(8192, bodyless=bodyless, memo=memo).take_head(raw)
    assert taken is not None
    return taken[0]


def test_a_head_that_came_before_is_not_read_again() -> None:
    memo = HeadMemo()
    first = read_with(memo, PLAIN)
    assert read_with(memo, PLAIN) is first
    assert render_relayed_head(first, close=False) == PLAIN.replace(
        b"X-A: 1\r\nConnection: x-a\r\n", b""
    )
    assert render_relayed_head(first, close=True).endswith(b"\r\nconnection: close\r\n\r\n")
    assert b"close" not in render_relayed_head(first, close=False)


def test_a_recalled_head_frames_its_own_body() -> None:
    memo = HeadMemo()
    for _ in range(2):
        reader = ResponseReader(MAX_HEAD, bodyless=False, memo=memo)
        taken = reader.take_head(PLAIN + b"ab")
        assert taken is not None
        assert taken[1] == b"ab"
        ended = []
        for piece in (b"ab", b"cde"):
            reader.take_body(piece)
            ended.append(reader.done)
        assert ended == [False, True]
        with pytest.raises(BadResponse):
            reader.take_body(b"f")
    reader = ResponseReader(MAX_HEAD, bodyless=False, memo=memo)
    reader.take_head(PLAIN)
    with pytest.raises(BadResponse):
        reader.take_body(b"abcdef")


def test_the_answer_to_head_is_framed_by_itself() -> None:
    memo = HeadMemo()
    read_with(memo, PLAIN)
    assert read_with(memo, PLAIN, bodyless=True).framing is Framing.NONE
    assert read_with(memo, PLAIN).framing is Framing.LENGTH


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        PLAIN.replace(b"X-A: 1", b"X-A: " + b"1" * 3000),
    ],
)
def test_only_short_heads_of_bodies_with_a_length_are_kept(raw: bytes) -> None:
    memo = HeadMemo()
    assert read_with(memo, raw) is not read_with(memo, raw)
