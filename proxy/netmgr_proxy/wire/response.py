"""Owns: framing an upstream's HTTP/1.1 responses while their bytes are relayed as they are.

httptools reads heads and finds the end of chunked bodies; bodies with a length are counted. The
head is written anew without hop-by-hop fields. Pure: bytes in, bytes and states out.
Sources: RFC 9112 §6.3 (message body length), RFC 9110 §7.6.1 (hop by hop), §15.2 (1xx).
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import httptools

from netmgr_proxy.wire.request import BAD_HEAD, HOP_BY_HOP

_HEAD_END: Final = b"\r\n\r\n"
_CHUNKS_END: Final = re.compile(rb"[^\r\n]\r\n\r\n")  # of the last chunk or the last trailer
_END_BYTES: Final = 5  # what that matches
_FRAMING_FIELDS: Final = frozenset((b"transfer-encoding", b"content-length"))
_MEMO_BYTES: Final = 2048  # a longer head is not kept: every idle connection would hold it
_SWITCHING: Final = 101
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
    SWITCHED = auto()  # no HTTP any more


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
        nominated: fields that Connection declares to be meant for this hop only.
        relayed: what `render_relayed_head` made of it for a connection that stays; empty before.
    """

    status: int
    phrase: bytes
    fields: list[tuple[bytes, bytes]]
    framing: Framing
    length: int
    keep_alive: bool
    nominated: frozenset[bytes] = frozenset()
    relayed: bytes = b""

    @property
    def interim(self) -> bool:
        """1xx: the real response follows."""
        return self.status < 200 and not self.switches

    @property
    def switches(self) -> bool:
        """What follows is another protocol."""
        return self.framing is Framing.SWITCHED

    def field(self, name: bytes) -> bytes | None:
        """The first field called `name` (lower case)."""
        return next((v for n, v in self.fields if n.lower() == name), None)


def render_relayed_head(head: ResponseHead, *, close: bool, dechunk: bool = False) -> bytes:
    """The head as the client gets it.

    Args:
        close: the client connection ends after this response.
        dechunk: an HTTP/1.0 client: the body is sent bare and ended by closing.
    """
    if close or dechunk:
        return _render_relayed_head(head, close=close, dechunk=dechunk)
    if not head.relayed:
        head.relayed = _render_relayed_head(head, close=False, dechunk=False)
    return head.relayed


def _render_relayed_head(head: ResponseHead, *, close: bool, dechunk: bool) -> bytes:
    drop = _DROPPED | {b"transfer-encoding"} if dechunk else _DROPPED
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.phrase)]
    nominated = head.nominated
    for name, value in head.fields:
        lowered = name.lower()
        if lowered not in drop and lowered not in nominated:
            lines.append(name + b": " + value)
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
    headed: bool = False
    complete: bool = False

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_status(self, status: bytes) -> None:
        self.phrase += status

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.headed:  # trailers are relayed as they are, and are no part of the head
            self.fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


_NOTHING_HEARD: Final = _Heard()  # of a reader that has not parsed: replaced, never written to


class HeadMemo:
    """The last response head of one connection: an origin says nearly the same again and again.

    Only heads of bodies with a length are kept: nothing of the parser is needed behind them. The
    key is the head's every byte, so what is recalled has been checked.
    """

    __slots__ = ("_head", "_raw")

    def __init__(self) -> None:
        self._raw = b""
        self._head: ResponseHead | None = None

    def recall(self, raw: bytes) -> ResponseHead | None:
        """What those bytes were read as, if they came last."""
        return self._head if raw == self._raw else None

    def keep(self, raw: bytes, head: ResponseHead) -> None:
        """Remember a head in place of the one before."""
        if head.framing is Framing.LENGTH and len(raw) <= _MEMO_BYTES:
            self._raw, self._head = raw, head


class ResponseReader:
    """One response, interim heads before it included.

    Args:
        bodyless: the request was a HEAD.
        max_head: bytes of one head.
        memo: the connection's own.
        upgrade: the request asked to switch protocols, so the response may.
    """

    __slots__ = (
        "_behind_body",
        "_bodyless",
        "_buffer",
        "_heard",
        "_left",
        "_max_head",
        "_memo",
        "_parser",
        "_tail",
        "_upgrade",
        "done",
        "head",
    )

    def __init__(
        self,
        max_head: int,
        *,
        bodyless: bool,
        memo: HeadMemo | None = None,
        upgrade: bool = False,
    ) -> None:
        self._upgrade = upgrade
        self._bodyless = bodyless
        self._max_head = max_head
        self._buffer = b""
        # The answer to a HEAD has the same head and another framing.
        self._memo = None if bodyless else memo
        self._heard = _NOTHING_HEARD
        self._parser: httptools.HttpResponseParser | None = None
        self._left = 0
        self._behind_body = 0  # bytes since the last one of a chunked body
        self._tail = b""
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
        # Of a head without an end, the last three bytes may be the beginning of it.
        if (end if end >= 0 else len(buffer) - len(_HEAD_END) + 1) > self._max_head:
            raise BadResponse(f"its response head is longer than {self._max_head} bytes")
        if end < 0:
            self._buffer = buffer
            return None
        self._buffer = b""
        end += len(_HEAD_END)
        head = self._recall(buffer[:end])
        if not head.interim:
            self.head = head
            self._left = head.length
            self.done = head.framing is Framing.NONE
        return head, buffer[end:]

    def _recall(self, raw: bytes) -> ResponseHead:
        if self._memo is None:
            return self._parse(raw)
        head = self._memo.recall(raw)
        if head is None:
            head = self._parse(raw)
            self._memo.keep(raw, head)
        return head

    def _parse(self, raw: bytes) -> ResponseHead:
        if BAD_HEAD.search(raw):  # httptools lets some pass, in the reason phrase
            raise BadResponse("its response head holds a control byte, a bare CR or LF, or a fold")
        self._heard = heard = _Heard()
        self._parser = parser = httptools.HttpResponseParser(heard)
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            if not self._upgrade or parser.get_status_code() != _SWITCHING:
                raise BadResponse("it switched protocols without having been asked") from None
            return ResponseHead(
                _SWITCHING, heard.phrase, heard.fields, Framing.SWITCHED, 0, keep_alive=False
            )
        except httptools.HttpParserError as fault:
            raise BadResponse(f"its response head is not valid HTTP: {fault}") from None
        heard.headed = True
        status = parser.get_status_code()
        if status == _SWITCHING or not 100 <= status <= 999:
            raise BadResponse(f"its response has the status {status}")
        framing, length, nominated = self._framing(status)
        keep = framing is not Framing.CLOSE and self._keeps_alive(parser.get_http_version())
        return ResponseHead(status, heard.phrase, heard.fields, framing, length, keep, nominated)

    def _keeps_alive(self, version: str) -> bool:
        """RFC 9112 §9.3. (llhttp forgets what it read once a message without a body is whole.)"""
        words: set[bytes] = set()
        for name, value in self._heard.fields:
            if name.lower() == b"connection":
                words.update(word.strip().lower() for word in value.split(b","))
        return b"close" not in words and (version == "1.1" or b"keep-alive" in words)

    def _framing(self, status: int) -> tuple[Framing, int, frozenset[bytes]]:
        """How the body ends, its length, and the fields that Connection nominates."""
        length: int | None = None
        chunked = False
        nominated: frozenset[bytes] = frozenset()
        for name, value in self._heard.fields:
            match name.lower():
                case b"transfer-encoding":
                    if value.lower() != b"chunked":
                        raise BadResponse("its response has a transfer coding other than chunked")
                    chunked = True
                case b"content-length":
                    length = int(value)  # httptools has refused what is no number, and repetition
                case b"connection":
                    words = (word.strip().lower() for word in value.split(b","))
                    nominated |= frozenset(words) - _FRAMING_FIELDS
        if self._bodyless or status < 200 or status in _NO_BODY or length == 0:
            return Framing.NONE, 0, nominated
        if chunked:
            return Framing.CHUNKED, 0, nominated
        if length is None:
            return Framing.CLOSE, 0, nominated
        return Framing.LENGTH, length, nominated

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
        # httptools gathers a trailer's bytes without a bound until its line ends.
        self._behind_body = 0 if self._heard.pieces else self._behind_body + len(data)
        if self._behind_body > self._max_head:
            raise BadResponse(f"its trailers are longer than {self._max_head} bytes")
        self._tail = (self._tail + data[-_END_BYTES:])[-_END_BYTES:]
        self.done = self._heard.complete
        # httptools skips empty lines behind the end; a client would take them for the next answer.
        if self._heard.begun > 1 or (self.done and not _CHUNKS_END.fullmatch(self._tail)):
            raise BadResponse("it sent bytes behind the end of its response")

    def bare(self) -> bytes:
        """The body bytes of the last `take_body` of a chunked response, without framing."""
        return b"".join(self._heard.pieces)

    def end_of_stream(self) -> None:
        """The upstream closed its side.

        Raises:
            BadResponse: the response was not complete.
        """
        if self.head is not None and self.head.framing in (Framing.CLOSE, Framing.SWITCHED):
            self.done = True
        elif not self.done:
            raise BadResponse("it closed the connection before the end of its response")
