"""Owns: reading HTTP/1.1 requests from a hostile client, strictly, one after the other.

h11 does the grammar; this file adds what h11 lets pass (bare LF, obs-fold, control bytes, CL beside
TE, the counts) and hands out values. Pure: bytes in, events out. Knows nothing of policy or hosts.
Sources: RFC 9112 §2.2, §5.2, §6.1-6.3, §11.2 (request smuggling); RFC 9110 §7.6.1 (hop by hop).
"""

import re
from dataclasses import dataclass, replace
from typing import Final

import h11

from netmgr.reasons import Reason

# Any byte that makes two parsers disagree: controls, a bare CR or LF, a folded line.
BAD_HEAD: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n)|\n[ \t]")
_HEAD_END: Final = b"\r\n\r\n"
HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)
_REFRAMED: Final = HOP_BY_HOP | {b"host", b"content-length"}
_NEVER_NOMINATED: Final = frozenset((b"host", b"content-length", b"transfer-encoding"))
_WEBSOCKET: Final = b"websocket"
_UPGRADE: Final = b"upgrade"
# The same client sends nearly the same head again and again; only this number differs.
_MAX_DIGITS: Final = 12
# A petabyte. A number that an origin's 64 bits do not hold would wrap round there, and what follows
# the short body that it then sees would be its next request, which nobody has judged.
MAX_LENGTH: Final = 10**15
_LENGTH_FIELD = re.compile(rb"\r\nContent-Length: ([0-9]{1,12})\r\n", re.IGNORECASE)
_LENGTHS = re.compile(rb"\r\nContent-Length:([^\r]*)", re.IGNORECASE)
REPEATED_LENGTH: Final = "more than one Content-Length (RFC 9112 §6.3)"  # see Head
_MEMO_BYTES: Final = 2048  # a longer head is not kept: every idle connection would hold it
# h11 starts with room for a head; chunk sizes and trailers stay below this as well.
_H11_BUFFER: Final = 16 * 1024


class BadRequest(Exception):
    """The client broke HTTP/1.1 or a bound; the connection ends after the answer.

    Attributes:
        status: HTTP status of the answer.
        reason: the code that is shown.
    """

    def __init__(self, status: int, why: str, reason: Reason = Reason.MALFORMED_REQUEST) -> None:
        super().__init__(why)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head.

    Attributes:
        method: in upper case, as it is judged and sent. Servers differ in what they take `get`
            for (RFC 9110 §9.1: methods are case-sensitive); a rule for GET must not let it by.
        target: the request target as sent.
        http10: the client speaks HTTP/1.0.
        host: the Host field, None where an HTTP/1.0 client sent none.
        length: bytes of the body; 0 without one, None for a chunked body.
        keep_alive: the client can take a further response on this connection.
        expects_continue: it waits for 100 before it sends the body.
        upgrade: the Upgrade field, lower case, or None.
        fields: end-to-end header fields without Host and framing, names as sent.
        repeats_length: the length was said more than once, and always the same.
    """

    method: str
    target: bytes
    http10: bool
    host: bytes | None
    length: int | None
    keep_alive: bool
    expects_continue: bool
    upgrade: bytes | None
    fields: tuple[tuple[bytes, bytes], ...]
    repeats_length: bool = False

    def field(self, name: bytes) -> bytes | None:
        """The first field called `name` (lower case)."""
        return next((v for n, v in self.fields if n.lower() == name), None)

    def is_like(self, other: "Head") -> bool:
        """Whether the two are equal but for the body's length, if it has one at all."""
        return self is other or (
            self.fields == other.fields
            and self.target == other.target
            and self.method == other.method
            and self.host == other.host
            and self.http10 == other.http10
            and self.upgrade == other.upgrade
            and self.repeats_length == other.repeats_length
        )


@dataclass(slots=True)  # not frozen: one is made for every piece, and that costs three times less
class Body:
    """A piece of the request's body, without its framing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The request is complete."""


NEED_DATA: Final = None
_END: Final = End()  # all are equal
Event = Head | Body | End | None


class RequestReader:
    """Requests of one connection. After an `End` the next request begins.

    Args:
        max_head: bytes of line and fields together.
        max_fields: number of header fields.
    """

    __slots__ = ("_buffer", "_h11", "_left", "_max_fields", "_max_head", "_memo", "_searched")

    def __init__(self, max_head: int, max_fields: int) -> None:
        self._max_head = max_head
        self._max_fields = max_fields
        self._buffer = bytearray()
        self._searched = 0  # no end of a head before this place
        self._left: int | None = None  # of a body with a length; None between bodies
        self._h11: h11.Connection | None = None  # only while a chunked body is read
        self._memo: tuple[bytes, bytes, Head] | None = None  # the last head, around its length

    def feed(self, data: bytes) -> None:
        """Add what the client sent."""
        if self._h11 is not None:
            self._h11.receive_data(data)
        else:
            self._buffer += data

    @property
    def held(self) -> int:
        """Bytes that were fed and not yet handed out."""
        if self._h11 is not None:
            return len(self._h11.trailing_data[0])
        return len(self._buffer)

    def take_rest(self) -> bytes:
        """What came behind the last request, which is no HTTP any more."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    @property
    def between_requests(self) -> bool:
        """Nothing of a next request is there."""
        return self._h11 is None and self._left is None and not self._buffer

    def next(self) -> Event:
        """The next event, or NEED_DATA.

        Raises:
            BadRequest: the reader is of no further use.
        """
        if self._h11 is not None:
            return self._next_chunked(self._h11)
        if self._left is not None:
            return self._next_of_length(self._left)
        return self._next_head()

    # -- the head --------------------------------------------------------------------------

    def _next_head(self) -> Event:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # an empty line before a request: RFC 9112 §2.2
            del buffer[:2]
        if not buffer:
            return NEED_DATA
        end = buffer.find(_HEAD_END, self._searched)
        if end < 0 and self._is_bad_already(buffer):
            raise BadRequest(400, _BAD_HEAD_WHY)
        size = len(buffer) if end < 0 else end + len(_HEAD_END)
        if size > self._max_head:
            why = f"the request's head is longer than {self._max_head} bytes"
            raise BadRequest(431, why, Reason.LIMIT_EXCEEDED)
        if end < 0:
            self._searched = max(len(buffer) - len(_HEAD_END) + 1, 0)
            return NEED_DATA
        raw = bytes(buffer[:size])
        del buffer[:size]
        self._searched = 0
        return self._recall(raw) or self._parse_head(raw)

    def _recall(self, raw: bytes) -> Head | None:
        """The head, if the last one was the same but for the number in Content-Length.

        h11 accepts any such number where it accepts one, so nothing is left to be checked.
        """
        if self._memo is None:
            return None
        before, after, head = self._memo
        if raw == before:
            self._left = head.length
            return head
        if not after or not (raw.startswith(before) and raw.endswith(after)):
            return None
        digits = raw[len(before) : len(raw) - len(after)]
        if not digits.isdigit() or len(digits) > _MAX_DIGITS:
            return None
        self._left = length = int(digits)
        return head if head.length == length else replace(head, length=length)

    def _remember(self, raw: bytes, head: Head) -> None:
        """Keep a head for `_recall`, cut where its one Content-Length has its number."""
        self._memo = None
        if len(raw) > _MEMO_BYTES or head.length is None:
            return
        lengths = raw.lower().count(b"content-length")
        found = _LENGTH_FIELD.search(raw)
        if lengths == 1 and found is not None:
            self._memo = (raw[: found.start(1)], raw[found.end(1) :], head)
        elif not lengths:
            self._memo = (raw, b"", head)

    def _is_bad_already(self, buffer: bytearray | bytes) -> bool:
        """Whether an unfinished head is lost: no client waits for a deadline to learn it."""
        known = len(buffer) - buffer.endswith(b"\r")  # what follows this CR is not known yet
        return BAD_HEAD.search(buffer, max(self._searched - 1, 0), known) is not None

    def _parse_head(self, raw: bytes) -> Head:
        if BAD_HEAD.search(raw):
            raise BadRequest(400, _BAD_HEAD_WHY)
        if raw.count(b"\r\n") - 2 > self._max_fields:
            why = f"the request has more than {self._max_fields} header fields"
            raise BadRequest(431, why, Reason.LIMIT_EXCEEDED)
        lengths = _LENGTHS.findall(raw)
        if any(b"," in value for value in lengths):  # h11 takes `3, 3` for one; not everybody does
            raise BadRequest(400, "Content-Length is a list (RFC 9112 §6.3)")
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_H11_BUFFER)
        connection.receive_data(raw)
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as fault:
            raise BadRequest(400, _explain(fault)) from None
        if not isinstance(event, h11.Request):
            raise BadRequest(400, "the request's head is not valid HTTP/1.1")
        head = _head_from(event)
        if len(lengths) > 1:  # h11 has compared them
            head = replace(head, repeats_length=True)
        if head.length is None:
            self._h11 = connection
            if self._buffer:  # nothing at all would mean the end of the connection to h11
                connection.receive_data(bytes(self._buffer))
                self._buffer.clear()
        else:
            self._left = head.length
        self._remember(raw, head)
        return head

    # -- the body --------------------------------------------------------------------------

    def _next_of_length(self, left: int) -> Event:
        if left == 0:
            self._left = None
            return _END
        if not self._buffer:
            return NEED_DATA
        piece = bytes(self._buffer[:left])
        del self._buffer[:left]
        self._left = left - len(piece)
        return Body(piece)

    def _next_chunked(self, connection: h11.Connection) -> Event:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as fault:
            raise BadRequest(400, f"the request's chunked body: {fault}") from None
        if isinstance(event, h11.Data):
            return Body(bytes(event.data))
        if isinstance(event, h11.EndOfMessage):
            self._buffer += connection.trailing_data[0]
            self._h11 = None
            return _END  # trailers are dropped: they are hop by hop for our re-framed request
        if self._is_bad_already(
            connection.trailing_data[0]
        ):  # a line of framing: bodies are not kept
            raise BadRequest(400, _BAD_CHUNK_WHY)
        return NEED_DATA


_BAD_HEAD_WHY: Final = (
    "the request's head holds a control byte, a bare CR or LF, or a folded line"
    " (RFC 9112 §2.2, §5.2)"
)
_BAD_CHUNK_WHY: Final = (
    "the request's chunked body: a control byte, or a bare CR or LF, where a chunk's size or a"
    " trailer stands (RFC 9112 §2.2, §7.1)"
)


def _explain(fault: h11.RemoteProtocolError) -> str:
    """h11's sentence without the types of its buffers."""
    return str(fault).replace("bytearray(b", "(")


def _head_from(event: h11.Request) -> Head:
    """Our value from h11's, with the checks that need the fields."""
    host = length = upgrade = None
    chunked = expects = False
    nominated: set[bytes] = set()
    for name, value in event.headers:
        match name:
            case b"host":
                host = value
            case b"content-length":
                length = int(value)
            case b"transfer-encoding":
                chunked = True  # h11 has refused everything but the one word `chunked`
            case b"connection":
                nominated.update(word.strip().lower() for word in value.split(b","))
            case b"upgrade":
                upgrade = value.lower()
            case b"expect":
                expects = value.lower() == b"100-continue"
    http10 = event.http_version == b"1.0"
    if not http10 and event.http_version != b"1.1":
        raise BadRequest(400, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    _check_framing(chunked, length, http10)
    _check_nominated(nominated, upgrade)
    drop = _REFRAMED | nominated
    raw = event.headers.raw_items()
    return Head(
        method=event.method.decode("ascii").upper(),
        target=event.target,
        http10=http10,
        host=host,
        length=None if chunked else length or 0,
        keep_alive=b"close" not in nominated and (not http10 or b"keep-alive" in nominated),
        expects_continue=expects and not http10,
        upgrade=upgrade,
        fields=tuple((n, v) for n, v in raw if n.lower() not in drop),
    )


def _check_nominated(nominated: set[bytes], upgrade: bytes | None) -> None:
    if nominated & _NEVER_NOMINATED:
        raise BadRequest(400, "the Connection field nominates a framing field (RFC 9110 §7.6.1)")
    if upgrade == _WEBSOCKET and _UPGRADE not in nominated:
        raise BadRequest(400, "Upgrade without 'Connection: Upgrade' (RFC 9110 §7.8)")


def _check_framing(chunked: bool, length: int | None, http10: bool) -> None:
    if chunked and length is not None:
        raise BadRequest(400, "Content-Length beside Transfer-Encoding (RFC 9112 §6.3)")
    if length is not None and length > MAX_LENGTH:
        why = f"Content-Length beyond {MAX_LENGTH}"
        raise BadRequest(413, why, Reason.LIMIT_EXCEEDED)
    if chunked and http10:
        raise BadRequest(400, "Transfer-Encoding in an HTTP/1.0 request (RFC 9112 §6.1)")
