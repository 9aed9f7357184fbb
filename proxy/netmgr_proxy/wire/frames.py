"""Owns: the WebSocket frames of a client, read strictly, each with the very bytes that it came as.

What is judged is what is sent on: frames are never written anew. Text is checked to be UTF-8 as it
comes, control frames are whole before they are handed out. No extension is ever in force (offers
are struck out of the handshake), so reserved bits are errors. Pure: bytes in, events out.
Source: RFC 6455 §5, §7.4.
"""

import codecs
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MIB: Final = 1024 * 1024
MAX_TEXT: Final = 4 * MIB  # of one text message, the modelled system's
MAX_BINARY_FRAME: Final = 16 * MIB  # the same; a binary message may have any number of them
MAX_FRAGMENTS: Final = 4096  # of one message
MAX_CONTROL: Final = 125  # RFC 6455 §5.5
_MASK: Final = 0x80
_FIN: Final = 0x80
_RESERVED: Final = 0x70
_OPCODES: Final = frozenset((0, 1, 2, 8, 9, 10))
_REGISTERED: Final = frozenset((*range(1000, 1004), *range(1007, 1015)))  # RFC 6455 §7.4, IANA


class Opcode(IntEnum):
    """RFC 6455 §5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(IntEnum):
    """What a connection of ours is closed with (RFC 6455 §7.4.1; 1012 and 1013: IANA)."""

    AWAY = 1001
    PROTOCOL = 1002
    NO_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    RESTART = 1012
    TRY_LATER = 1013


class BadFrame(Exception):
    """The client broke the protocol or a bound; nothing more is read from it.

    Attributes:
        code: for the close frame.
    """

    def __init__(self, code: CloseCode, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(slots=True)
class Begin:
    """A message begins; none of its bytes has been handed out."""

    text: bool


@dataclass(slots=True)
class Piece:
    """A part of the message that has begun.

    Attributes:
        raw: as the client sent it, headers of frames included.
        payload: what it says, unmasked.
        last: the message ends here.
    """

    raw: bytes
    payload: bytes
    last: bool


@dataclass(slots=True)
class Control:
    """A whole control frame. It may stand between the pieces of a message."""

    opcode: Opcode
    raw: bytes


Event = Begin | Piece | Control


@dataclass(slots=True)
class _Header:
    opcode: Opcode
    fin: bool
    length: int
    mask: bytes
    raw: bytes


class FrameReader:
    """The frames of one connection. After a close frame nothing more comes out."""

    __slots__ = (
        "_begun",
        "_buffer",
        "_fragments",
        "_frame",
        "_left",
        "_pending_begin",
        "_size",
        "_text",
        "_turn",
        "_unsent",
        "closed",
    )

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._frame: _Header | None = None  # whose payload is being read
        self._left = 0
        self._turn = 0  # where in the mask the next byte of payload stands
        self._unsent = b""  # the frame's header, until some piece takes it along
        self._begun: Opcode | None = None  # of the message under way
        self._fragments = 0
        self._size = 0
        self._text: codecs.IncrementalDecoder | None = None
        self._pending_begin = False
        self.closed = False

    @property
    def between_messages(self) -> bool:
        """Nothing of a message or of a frame is there."""
        return self._begun is None and self._frame is None and not self._buffer

    def feed(self, data: bytes) -> Iterator[Event]:
        """What these bytes complete. Go through all of it before feeding more.

        Raises:
            BadFrame: while it is gone through; the reader is of no further use then.
        """
        if self.closed:
            return
        self._buffer += data
        while not self.closed:
            if self._frame is None:
                header = self._read_header()
                if header is None:
                    return
                if header.opcode >= Opcode.CLOSE:
                    event = self._read_control(header)
                    if event is None:
                        return
                    yield event
                    continue
                self._open(header)
                if self._pending_begin:
                    self._pending_begin = False
                    yield Begin(header.opcode is Opcode.TEXT)
            piece = self._read_piece()
            if piece is None:
                return
            yield piece

    # -- headers ---------------------------------------------------------------------------

    def _read_header(self) -> _Header | None:
        """The next frame's header, left in the buffer of a control frame that is not whole."""
        buffer = self._buffer
        if buffer:
            _check_first(buffer[0])
        if len(buffer) < 2:
            return None
        short = buffer[1] & 0x7F
        opcode = Opcode(buffer[0] & 0x0F)
        if not buffer[1] & _MASK:
            raise BadFrame(CloseCode.PROTOCOL, "a client's frame without a mask (RFC 6455 §5.1)")
        if opcode >= Opcode.CLOSE and (short > MAX_CONTROL or not buffer[0] & _FIN):
            raise BadFrame(CloseCode.PROTOCOL, "a control frame that is long or in fragments")
        at = 2 + {126: 2, 127: 8}.get(short, 0)
        if len(buffer) < at + 4:
            return None
        length = short if short < 126 else int.from_bytes(buffer[2:at], "big")
        if (short == 126 and length < 126) or (short == 127 and not 1 << 16 <= length < 1 << 63):
            raise BadFrame(CloseCode.PROTOCOL, "a length in more bytes than it needs, or too many")
        raw = bytes(buffer[: at + 4])
        return _Header(opcode, bool(buffer[0] & _FIN), length, raw[at:], raw)

    def _open(self, header: _Header) -> None:
        """Begin a data frame: the order of fragments, and every bound that a header can tell."""
        if header.opcode is Opcode.CONTINUATION:
            if self._begun is None:
                raise BadFrame(CloseCode.PROTOCOL, "a fragment of no message")
        elif self._begun is not None:
            raise BadFrame(CloseCode.PROTOCOL, "a message within another one")
        else:
            self._begun = header.opcode
            self._fragments = self._size = 0
            self._text = _decoder() if header.opcode is Opcode.TEXT else None
            self._pending_begin = True
        self._fragments += 1
        self._size += header.length
        if self._fragments > MAX_FRAGMENTS:
            why = f"a message of more than {MAX_FRAGMENTS} fragments"
            raise BadFrame(CloseCode.PROTOCOL, why)
        if self._text is not None and self._size > MAX_TEXT:
            raise BadFrame(CloseCode.TOO_BIG, f"a text message of more than {MAX_TEXT} bytes")
        if self._text is None and header.length > MAX_BINARY_FRAME:
            why = f"a binary frame of more than {MAX_BINARY_FRAME} bytes"
            raise BadFrame(CloseCode.TOO_BIG, why)
        del self._buffer[: len(header.raw)]
        self._frame, self._left, self._turn = header, header.length, 0
        self._unsent = header.raw

    # -- payloads --------------------------------------------------------------------------

    def _read_piece(self) -> Piece | None:
        frame = self._frame
        assert frame is not None
        if not self._buffer and self._left:
            return None
        masked = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        payload = unmask(masked, frame.mask, self._turn)
        self._turn = (self._turn + len(masked)) % 4
        self._left -= len(masked)
        raw, self._unsent = self._unsent + masked, b""
        ended = not self._left
        last = ended and frame.fin
        if self._text is not None:
            _decode(self._text, payload, last)
        if ended:
            self._frame = None
        if last:
            self._begun = self._text = None
        return Piece(raw, payload, last)

    def _read_control(self, header: _Header) -> Control | None:
        end = len(header.raw) + header.length
        if len(self._buffer) < end:
            return None
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        if header.opcode is Opcode.CLOSE:
            _check_close(unmask(raw[len(header.raw) :], header.mask, 0))
            self.closed = True
            self._buffer.clear()
        return Control(header.opcode, raw)


def unmask(data: bytes, mask: bytes, turn: int) -> bytes:
    """Apply a mask (which undoes it, too). RFC 6455 §5.3.

    Args:
        turn: where in the mask the first byte stands.
    """
    if not data:
        return b""
    turned = mask[turn:] + mask[:turn]
    key = (turned * (len(data) // 4 + 1))[: len(data)]
    mixed = int.from_bytes(data, "little") ^ int.from_bytes(key, "little")
    return mixed.to_bytes(len(data), "little")


def render_close(code: CloseCode, reason: str) -> bytes:
    """A server's close frame."""
    payload = struct.pack("!H", code) + _cut(reason, MAX_CONTROL - 2)
    return bytes((_FIN | Opcode.CLOSE, len(payload))) + payload


def render_message(payload: bytes, mask: bytes, *, text: bool) -> bytes:
    """A client's message in one frame.

    Args:
        mask: four random bytes (RFC 6455 §5.3).
    """
    size = len(payload)
    if size < 126:
        length = bytes((_MASK | size,))
    elif size < 1 << 16:
        length = bytes((_MASK | 126,)) + struct.pack("!H", size)
    else:
        length = bytes((_MASK | 127,)) + struct.pack("!Q", size)
    first = bytes((_FIN | (Opcode.TEXT if text else Opcode.BINARY),))
    return first + length + mask + unmask(payload, mask, 0)


class Meter:
    """Where the frames of a server end, so that a word of ours can stand between two of them.

    Nothing else is looked at: a server's bytes are relayed as they are.
    """

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    @property
    def between_frames(self) -> bool:
        """Whether a frame may begin here."""
        return not self._left and not self._head

    def pass_by(self, data: bytes) -> int | None:
        """Count bytes.

        Returns:
            how many of them reach to the end of a frame that they complete first; None where they
            complete none.
        """
        at = 0
        first: int | None = None
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
            else:
                at = self._read_header(data, at)
                if self._head:
                    break  # the header is not whole
            if not self._left and first is None:
                first = at
        return first

    def _read_header(self, data: bytes, at: int) -> int:
        """Take a header from `at` on; `_head` keeps what there is of one that is not whole."""
        head = self._head + data[at : at + 14 - len(self._head)]
        size = 2
        if len(head) >= 2:
            short = head[1] & 0x7F
            size += {126: 2, 127: 8}.get(short, 0)
            size += 4 if head[1] & _MASK else 0
        if len(head) < size:
            self._head = head
            return len(data)
        used = size - len(self._head)
        short = head[1] & 0x7F
        long = {126: head[2:4], 127: head[2:10]}.get(short)
        self._left = short if long is None else int.from_bytes(long, "big")
        self._head = b""
        return at + used


def _check_first(byte: int) -> None:
    if byte & _RESERVED:
        raise BadFrame(CloseCode.PROTOCOL, "a reserved bit is set, and no extension was agreed on")
    if byte & 0x0F not in _OPCODES:
        raise BadFrame(CloseCode.PROTOCOL, f"the unknown opcode {byte & 0x0F}")


def _check_close(payload: bytes) -> None:
    """RFC 6455 §5.5.1, §7.4."""
    if not payload:
        return
    if len(payload) == 1:
        raise BadFrame(CloseCode.PROTOCOL, "a close frame with half a code")
    code = int.from_bytes(payload[:2], "big")
    if code not in _REGISTERED and not 3000 <= code <= 4999:
        raise BadFrame(CloseCode.PROTOCOL, f"a close frame with the code {code}")
    _decode(_decoder(), payload[2:], True)


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")()


def _decode(decoder: codecs.IncrementalDecoder, payload: bytes, last: bool) -> None:
    try:
        decoder.decode(payload, last)
    except UnicodeDecodeError:
        raise BadFrame(CloseCode.NO_TEXT, "a text message that is not UTF-8") from None


def _cut(text: str, most: int) -> bytes:
    return text.encode()[:most].decode(errors="ignore").encode()
