"""Owns: where a relayed event stream stands: between two events or inside one, finished or not.

Knows nothing of what the events say. It costs a search or two per chunk and keeps 64 bytes
and the event that is not whole yet.
Grammar: WHATWG HTML, 9.2.5 "Parsing an event stream"; a line ends in CR LF, LF or CR.
"""

import re
from typing import Final

from netmgr.inference.protocols import Shape

MAX_HALF: Final = 64 * 1024  # bytes of an event that are kept while it is not whole
_CARRY: Final = 64  # bytes; longer than any marker with the line end before and behind it

# A stream that ends in one of these ends in an empty line. `\n\r` may become `\n\r\n`.
_BLANK_LINE: Final = (b"\n\n", b"\r\r", b"\n\r\n", b"\n\r", b"\r\r\n")

_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\n\r|\r\r\n")
_NUMBER_KEY: Final = b'"sequence_number":'
_NUMBER: Final = re.compile(rb'"sequence_number": ?([0-9]{1,9})')

_MARKERS: Final = {
    Shape.OPENAI: (b"[DONE]",),
    Shape.RESPONSES: (b"response.completed", b"response.failed", b"response.incomplete", b"[DONE]"),
    Shape.ANTHROPIC: (b"message_stop",),
    Shape.BEDROCK: (),  # its frames are no server-sent events
}
# The same at the place where they mean what they say: a whole line, or the head of the data.
_TERMINAL: Final = {
    Shape.OPENAI: re.compile(rb"[\r\n]data: ?\[DONE\][\r\n]"),
    Shape.RESPONSES: re.compile(
        rb"[\r\n](?:event: ?response\.(?:completed|failed|incomplete)[\r\n]"
        rb"|data: ?\{\"type\": ?\"response\.(?:completed|failed|incomplete)\""
        rb"|data: ?\[DONE\][\r\n])"
    ),
    Shape.ANTHROPIC: re.compile(
        rb"[\r\n](?:event: ?message_stop[\r\n]|data: ?\{\"type\": ?\"message_stop\")"
    ),
    Shape.BEDROCK: re.compile(rb"(?!)"),
}
# Some end with it and not with a blank line behind.
_DONE_LAST: Final = re.compile(rb"[\r\n]data: ?\[DONE\][\r\n]*\Z")


class SseTracker:
    """Feed it every chunk of one event stream, in order."""

    __slots__ = (
        "_half",
        "_markers",
        "_number",
        "_numbered",
        "_strict",
        "_tail",
        "_terminal",
        "_terminal_seen",
    )

    def __init__(self, shape: Shape) -> None:
        self._markers = _MARKERS[shape]
        self._terminal = _TERMINAL[shape]
        self._terminal_seen = False
        self._strict = shape in (Shape.RESPONSES, Shape.ANTHROPIC)  # every server has their last
        self._half = b""  # since the last chunk that ended an event; longer than MAX_HALF: unknown
        self._numbered = shape is Shape.RESPONSES
        self._number = b""
        self._tail = b"\n\n"  # the beginning of a stream is a boundary

    def feed(self, chunk: bytes) -> None:
        """Take note of the next bytes; any way of cutting the stream gives the same answers."""
        recent = self._tail + chunk
        if not self._terminal_seen:
            for marker in self._markers:
                if marker in recent and self._terminal.search(recent):
                    self._terminal_seen = True
                    break
        if self._numbered and (at := recent.rfind(_NUMBER_KEY)) >= 0:
            self._number = recent[at : at + _CARRY]
        self._tail = recent[-_CARRY:]
        if self._tail.endswith(_BLANK_LINE):
            self._half = b""
        elif len(self._half) <= MAX_HALF:
            self._half += chunk

    @property
    def at_boundary(self) -> bool:
        """Whether the stream stands between two events."""
        return self._tail.endswith(_BLANK_LINE)

    @property
    def half(self) -> bytes | None:
        """The event that was begun and not ended; b"" at a boundary, None where it is too long."""
        if len(self._half) > MAX_HALF:
            return None
        return _EVENT_END.split(self._half)[-1]

    @property
    def next_number(self) -> int:
        """One more than the last `sequence_number` of a Responses stream."""
        found = _NUMBER.match(self._number)
        return int(found[1]) + 1 if found else 0

    @property
    def may_end(self) -> bool:
        """Whether a stream may be whole that ends here. Of `[DONE]` alone not all servers know."""
        if self.finished or _DONE_LAST.search(self._tail):
            return True
        return self.at_boundary and not self._strict

    @property
    def finished(self) -> bool:
        """Whether the protocol's last event was seen whole."""
        return self._terminal_seen and self.at_boundary
