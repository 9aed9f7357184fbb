"""Owns: the framing of `application/vnd.amazon.eventstream`, in which Bedrock streams.

A frame: length of the whole and of the headers (4 bytes each), CRC-32 of these 8, headers, payload,
CRC-32 of all before. Source: "Event stream encoding", Amazon Transcribe developer guide. Frames are
relayed as they come; here they are only read, and one is made: the error that ends a broken stream.
"""

import struct
import zlib
from typing import Final, NamedTuple

CONTENT_TYPE: Final = b"application/vnd.amazon.eventstream"
# AWS's own clients take 24 MiB (16 MiB of payload); what is longer is relayed but not looked into.
MAX_FRAME: Final = 24 * 1024 * 1024
MAX_READ: Final = 256 * 1024  # bytes of one frame that are kept to be read; a chunk has a few KiB

_PRELUDE: Final = struct.Struct(">II")
_NUMBER: Final = struct.Struct(">I")
_HEAD: Final = 12  # prelude and its checksum
_LEAST: Final = 16  # a frame without headers and payload
_STRING: Final = 7  # a header value's type


class Frame(NamedTuple):
    """One message."""

    payload: bytes


class FrameReader:
    """Cuts a stream into frames. Feed it every chunk, in order.

    Attributes:
        broken: whether what came is no event stream; nothing more is read then.
    """

    __slots__ = ("_buffer", "_skip", "broken")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0  # bytes of a frame that is too long to be kept
        self.broken = False

    @property
    def at_boundary(self) -> bool:
        """Whether the stream stands between two frames."""
        return not self._buffer and not self._skip and not self.broken

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that have become complete."""
        if self.broken:
            return []
        if self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            chunk = chunk[skipped:]
        self._buffer += chunk
        found: list[Frame] = []
        while len(self._buffer) >= _HEAD and not self.broken:
            frame = self._next()
            if frame is None:
                break
            if frame.payload:
                found.append(frame)
        return found

    def _next(self) -> Frame | None:
        """The frame at the front of the buffer, taken off it; None where more has to come."""
        total, headers = _PRELUDE.unpack_from(self._buffer)
        sum_of_head = _NUMBER.unpack_from(self._buffer, _PRELUDE.size)[0]
        fits = _LEAST <= total <= MAX_FRAME and headers <= total - _LEAST
        if not fits or zlib.crc32(self._buffer[: _PRELUDE.size]) != sum_of_head:
            self.broken = True
            self._buffer.clear()
            return None
        if total > MAX_READ:
            self._skip = max(total - len(self._buffer), 0)
            del self._buffer[:total]
            return Frame(b"")
        if len(self._buffer) < total:
            return None
        payload = bytes(self._buffer[_HEAD + headers : total - _NUMBER.size])
        del self._buffer[:total]
        return Frame(payload)


def render_frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame. Header names and values: ASCII, names shorter than 256 bytes."""
    head = b"".join(
        bytes([len(name)])
        + name.encode("ascii")
        + bytes([_STRING])
        + struct.pack(">H", len(value))
        + value.encode("ascii")
        for name, value in headers.items()
    )
    prelude = _PRELUDE.pack(_LEAST + len(head) + len(payload), len(head))
    body = prelude + _NUMBER.pack(zlib.crc32(prelude)) + head + payload
    return body + _NUMBER.pack(zlib.crc32(body))


def render_exception(kind: str, payload: bytes) -> bytes:
    """The frame that AWS's SDKs raise as an exception of that kind."""
    headers = {
        ":exception-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return render_frame(headers, payload)
