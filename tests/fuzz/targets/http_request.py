"""A sandbox's HTTP requests: only `BadRequest` escapes, no cut matters, nobody reads it otherwise.

h11 as a whole server is the other reader: a request that ends for it elsewhere than for us would
be smuggled.
"""

import h11

from fuzz.cuts import bytewise, uneven
from netmgr_proxy.wire.request import BadRequest, Body, End, Head, RequestReader

MAX_HEAD = 1024  # below MAX_INPUT, so that the bound is met
MAX_FIELDS = 12
WORDS = (
    b"GET / HTTP/1.1\r\n",
    b"POST /a HTTP/1.0\r\n",
    b"Host: a.test\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, x\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b";ext=1\r\n",
)
Event = Head | End | bytes | int


class _Forgetful(RequestReader):
    """Without the memory of the last head, which must be a matter of speed only."""

    def _recall(self, raw: bytes) -> Head | None:
        return None


def fuzz(data: bytes) -> None:
    """Byte by byte equals all at once, with and without memory, and as h11 reads it."""
    whole = _read(RequestReader(MAX_HEAD, MAX_FIELDS), [data])
    assert whole == _read(_Forgetful(MAX_HEAD, MAX_FIELDS), [data])
    for pieces in (bytewise(data), uneven(data)):
        cut = _read(RequestReader(MAX_HEAD, MAX_FIELDS), pieces)
        if cut == whole:
            continue
        # Where it is malformed, the slow reader may know earlier or for another reason.
        assert isinstance(cut[-1], int)
        assert isinstance(whole[-1], int)
        assert _complete(cut) == _complete(whole)
    ours = _complete(whole)
    theirs = _as_h11_reads(data, len(ours))
    assert ours[: len(theirs)] == theirs


def _read(reader: RequestReader, pieces: list[bytes]) -> list[Event]:
    """What the reader says; bodies joined, an error as its status."""
    events: list[Event] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next()) is not None:
                if not isinstance(event, Body):
                    events.append(event)
                elif isinstance(events[-1], bytes):
                    events[-1] += event.data
                else:
                    events.append(event.data)
    except BadRequest as fault:
        events.append(fault.status)
    return events


def _complete(events: list[Event]) -> list[tuple[str, bytes, bytes]]:
    """Method, target and body of each request that was read to its end."""
    found = []
    head, body = None, b""
    for event in events:
        match event:
            case Head():
                head, body = event, b""
            case bytes():
                body = event
            case End() if head is not None:
                found.append((head.method, head.target, body))
    return found


def _as_h11_reads(data: bytes, count: int) -> list[tuple[str, bytes, bytes]]:
    """The first `count` requests as another server reads them, or fewer where it gives up."""
    found: list[tuple[str, bytes, bytes]] = []
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request, body = None, b""
    while len(found) < count:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return found
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            # Ours is in upper case from the first moment: it is judged and sent so.
            found.append((request.method.decode().upper(), request.target, body))
            if not _answer(connection):
                return found
        else:
            return found
    return found


def _answer(connection: h11.Connection) -> bool:
    """Answer, so that h11 reads on; False where it will not, because it would close."""
    connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
        return False
    connection.start_next_cycle()
    return True
