"""What an upstream cannot make of its answer: another head, endless trailers, more than its end."""

import pytest

from netmgr_proxy.wire.response import BadResponse, ResponseHead, ResponseReader

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
