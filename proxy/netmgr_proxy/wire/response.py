"""Owns: framing an upstream's HTTP/1.1 responses while their bytes are relayed as they are.

httptools reads heads and finds the end of chunked bodies; bodies with a length are counted. The
head is written anew without hop-by-hop fields. Pure: bytes in, bytes and states out.
Sources: RFC 9112 §6.3 (message body length), RFC 9110 §7.6.1 (hop by hop), §15.2 (1xx).
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import httptools

from netmgr_proxy.wire.request import HOP_BY_HOP

_HEAD_END: Final = b"\r\n\r\n"
_NO_BODY: Final = frozenset((204, 304))
# The body is relayed as framed by the upstream, so its Transfer-Encoding is kept. Alt-Svc names
# other ports and HTTP/3, which a sandbox cannot reach: a client would only lose time there.
_DROPPED: Final = (HOP_BY_HOP - {b"transfer-encoding"}) | {b"alt-svc"}


class BadResponse(Exception):
    """The upstream broke HTTP/1.1 or a bound; its connection is of no further use."""


class Framing(Enum):
    """How the end of a body is found."""

    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()


@dataclass(slots=True)
class ResponseHead:
    """One response head.

    Attributes:
        status: 100 to 999.
        phrase: the reason phrase as sent.
        fields: names and values as sent.
        framing: how the body ends.
        length: bytes of the body where `framing` is LENGTH.
        keep_alive: the upstream takes another request after this response.
    """

    status: int
    phrase: bytes
    fields: list[tuple[bytes, bytes]]
    framing: Framing
    length: int
    keep_alive: bool

    @property
    def interim(self) -> bool:
        """1xx: the real response follows."""
        return self.status < 200

    def field(self, name: bytes) -> bytes | None:
        """The first field called `name` (lower case)."""
        return next((v for n, v in self.fields if n.lower() == name), None)


def render_relayed_head(head: ResponseHead, *, close: bool, dechunk: bool = False) -> bytes:
    """The head as the client gets it.

    Args:
        close: the client connection ends after this response.
        dechunk: an HTTP/1.0 client: the body is sent bare and ended by closing.
    """
    drop = _DROPPED
    for name, value in head.fields:
        if name.lower() == b"connection":
            drop = drop | {word.strip().lower() for word in value.split(b",")}
            drop -= {b"transfer-encoding", b"content-length"}
    if dechunk:
        drop = drop | {b"transfer-encoding"}
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.phrase)]
    lines += [name + b": " + value for name, value in head.fields if name.lower() not in drop]
    if close and not head.interim:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + _HEAD_END


@dataclass(slots=True)
class _Heard:
    """Where httptools puts what it reads."""

    phrase: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    begun: int = 0
    complete: bool = False

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_status(self, status: bytes) -> None:
        self.phrase += status

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


class ResponseReader:
    """One response, interim heads before it included.

    Args:
        bodyless: the request was a HEAD.
        max_head: bytes of one head.
    """

    __slots__ = ("_bodyless", "_buffer", "_heard", "_left", "_max_head", "_parser", "done", "head")

    def __init__(self, max_head: int, *, bodyless: bool) -> None:
        self._bodyless = bodyless
        self._max_head = max_head
        self._buffer = b""
        self._heard = _Heard()
        self._parser: httptools.HttpResponseParser | None = None
        self._left = 0
        self.head: ResponseHead | None = None
        self.done = False

    def take_head(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Add bytes while no final head is there.

        Returns:
            a head (interim or final) and the bytes behind it, or None while it is unfinished.

        Raises:
            BadResponse: what the upstream sent is no response.
        """
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(_HEAD_END)
        if max(end, 0 if end >= 0 else len(buffer)) > self._max_head:
            raise BadResponse(f"its response head is longer than {self._max_head} bytes")
        if end < 0:
            self._buffer = buffer
            return None
        self._buffer = b""
        end += len(_HEAD_END)
        head = self._parse(buffer[:end])
        if not head.interim:
            self.head = head
            self._left = head.length
            self.done = head.framing is Framing.NONE
        return head, buffer[end:]

    def _parse(self, raw: bytes) -> ResponseHead:
        self._heard = heard = _Heard()
        self._parser = parser = httptools.HttpResponseParser(heard)
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            raise BadResponse("it switched protocols without having been asked") from None
        except httptools.HttpParserError as fault:
            raise BadResponse(f"its response head is not valid HTTP: {fault}") from None
        status = parser.get_status_code()
        if status == 101 or not 100 <= status <= 999:
            raise BadResponse(f"its response has the status {status}")
        framing, length = self._framing(status)
        keep = parser.should_keep_alive() if framing is not Framing.CLOSE else False
        return ResponseHead(status, heard.phrase, heard.fields, framing, length, keep)

    def _framing(self, status: int) -> tuple[Framing, int]:
        if self._bodyless or status < 200 or status in _NO_BODY:
            return Framing.NONE, 0
        length: int | None = None
        for name, value in self._heard.fields:
            lowered = name.lower()
            if lowered == b"transfer-encoding":
                if value.lower() != b"chunked":
                    raise BadResponse("its response has a transfer coding other than chunked")
                return Framing.CHUNKED, 0
            if lowered == b"content-length":
                length = int(value)  # httptools has refused what is no number, and repetition
        if length is None:
            return Framing.CLOSE, 0
        return (Framing.LENGTH, length) if length else (Framing.NONE, 0)

    def take_body(self, data: bytes) -> bytes:
        """Add bytes behind the head; `done` tells when the body has ended.

        Returns:
            the bytes to relay, framing included.

        Raises:
            BadResponse: broken framing, or bytes behind the response's end.
        """
        assert self.head is not None
        if self.done:
            raise BadResponse("it sent bytes behind the end of its response")
        match self.head.framing:
            case Framing.LENGTH:
                self._left -= len(data)
                if self._left < 0:
                    raise BadResponse("it sent more than its Content-Length")
                self.done = self._left == 0
            case Framing.CHUNKED:
                self._take_chunks(data)
        return data

    def _take_chunks(self, data: bytes) -> None:
        assert self._parser is not None
        self._heard.pieces.clear()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            raise BadResponse(f"its chunked body is broken: {fault}") from None
        if self._heard.begun > 1:
            raise BadResponse("it sent bytes behind the end of its response")
        self.done = self._heard.complete

    def bare(self) -> bytes:
        """The body bytes of the last `take_body` of a chunked response, without framing."""
        return b"".join(self._heard.pieces)

    def end_of_stream(self) -> None:
        """The upstream closed its side.

        Raises:
            BadResponse: the response was not complete.
        """
        if self.head is not None and self.head.framing is Framing.CLOSE:
            self.done = True
        elif not self.done:
            raise BadResponse("it closed the connection before the end of its response")
