"""An upstream's answers: only `BadResponse` escapes, no cut matters, nobody reads it otherwise.

The first byte says what was asked: odd for a HEAD. h11 as a client is the other reader: an answer
that ends for it elsewhere than for us would poison the next one on the connection.
"""

import h11

from fuzz.cuts import bytewise, uneven
from netmgr_proxy.wire.response import (
    BadResponse,
    Framing,
    ResponseHead,
    ResponseReader,
    render_relayed_head,
)

MAX_HEAD = 1024  # below MAX_INPUT, so that the bound is met
WORDS = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.0 304 Not Modified\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n",
    b"\r\n\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
)


class _Heard:
    """What was understood of one response, in comparable form."""

    def __init__(self) -> None:
        self.heads: list[ResponseHead] = []
        self.relayed = b""
        self.bare = b""
        self.done = False
        self.bad = False


def fuzz(data: bytes) -> None:
    """Byte by byte equals all at once; the relayed head is a head; h11 finds the same body."""
    bodyless, stream = bool(data[:1]) and data[0] % 2 == 1, data[1:]
    whole = _read(stream, [stream], bodyless)
    for pieces in (bytewise(stream), uneven(stream)):
        cut = _read(stream, pieces, bodyless)
        assert cut.bad == whole.bad, (cut.bad, whole.bad)
        assert cut.heads[: len(whole.heads)] == whole.heads[: len(cut.heads)]
        if not whole.bad:
            assert (cut.heads, cut.relayed, cut.bare) == (whole.heads, whole.relayed, whole.bare)
            assert cut.done == whole.done
    for head in whole.heads:
        _check_relayed(head)
    if whole.done:
        body = whole.bare if whole.heads[-1].framing is Framing.CHUNKED else whole.relayed
        theirs = _as_h11_reads(stream, bodyless)
        assert theirs is None or theirs == (whole.heads[-1].status, body), theirs


def _read(stream: bytes, pieces: list[bytes], bodyless: bool) -> _Heard:
    reader = ResponseReader(MAX_HEAD, bodyless=bodyless)
    heard = _Heard()
    try:
        for piece in pieces:
            _take(reader, piece, heard)
    except BadResponse:
        heard.bad = True
    heard.done = reader.done and not heard.bad
    return heard


def _take(reader: ResponseReader, piece: bytes, heard: _Heard) -> None:
    while reader.head is None and piece:
        found = reader.take_head(piece)
        if found is None:
            return
        head, piece = found
        heard.heads.append(head)
    if piece:
        heard.relayed += reader.take_body(piece)
        heard.bare += reader.bare()


def _check_relayed(head: ResponseHead) -> None:
    for close in (True, False):
        lines = render_relayed_head(head, close=close).split(b"\r\n")
        assert lines[-2:] == [b"", b""]
        assert all(line.strip(b" \t") for line in lines[:-2])
        assert not any(byte in line for line in lines for byte in (b"\r", b"\n", b"\0"))


def _as_h11_reads(stream: bytes, bodyless: bool) -> tuple[int, bytes] | None:
    """Status and body of the final response, or None where h11 gives up."""
    connection = h11.Connection(h11.CLIENT)
    method = "HEAD" if bodyless else "GET"
    connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(stream)
    status, body = 0, b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return None
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return status, body
        elif not isinstance(event, h11.InformationalResponse):
            return status, body  # it waits for more
