"""Owns: one connection to an origin, which carries one exchange at a time.

Bytes of a response are handed on as they arrive; nothing is gathered but a head. Knows nothing of
clients, policies or pools.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from netmgr.reasons import Reason
from netmgr_proxy.inbox import Inbox
from netmgr_proxy.inference.answer import Judged
from netmgr_proxy.wire.face import Refusal
from netmgr_proxy.wire.response import BadResponse, HeadMemo, ResponseHead, ResponseReader


class ResponseSink(Protocol):
    """Who wants a response. Called from the connection's own callbacks; must not wait."""

    def take_head(self, head: ResponseHead) -> None:
        """An interim or the final head."""

    def take_body(self, data: bytes, reader: ResponseReader) -> None:
        """Bytes of the body as framed by the origin. `reader.done` tells whether it ends here."""

    def flush(self) -> None:
        """No more has come for now: what was held back to be sent with it goes out."""

    def finish(self) -> None:
        """The response is complete."""

    def fail(self, refusal: Refusal) -> None:
        """It will not be completed."""

    def upstream_writable(self) -> None:
        """The connection takes request bytes again."""


class UpstreamConnection(Inbox):
    """The protocol object of one connection.

    Args:
        name: of the origin, for messages.
        max_head: bytes of a response head.
    """

    def __init__(self, name: str, max_head: int) -> None:
        self._name = name
        self._max_head = max_head
        self._memo = HeadMemo()
        self._sink: ResponseSink | None = None
        self._reader: ResponseReader | None = None
        self._transport: asyncio.Transport | None = None
        self.on_idle_loss: Callable[[], None] | None = None
        self._paused = False
        self.closed = False
        self.torn = False  # it ended without the end that its protocol has (TLS's close_notify)
        self.blocked = False
        self.heard = False  # whether any byte of the present response has come
        self.used = 0  # exchanges before the present one
        self.revision = 0  # of the policy by which it was opened
        self.peer: str | None = None  # the real address
        self.parked_at = 0.0
        self.judged: Judged | None = None  # the head of the last model's answer

    # -- for its user ----------------------------------------------------------------------

    def begin(self, sink: ResponseSink, *, bodyless: bool, upgrade: bool = False) -> None:
        """The next response is for `sink`.

        Args:
            bodyless: the request was a HEAD.
            upgrade: it asked to switch protocols.
        """
        self._sink = sink
        self._reader = ResponseReader(
            self._max_head, bodyless=bodyless, memo=self._memo, upgrade=upgrade
        )
        self.heard = False

    def write(self, data: bytes) -> None:
        """Send request bytes; buffered, see `blocked`."""
        if self._transport is not None and not self.closed:
            self._transport.write(data)

    def write_pieces(self, pieces: Sequence[bytes | memoryview]) -> None:
        """The same of what comes in several; nothing may change them any more."""
        if self._transport is not None and not self.closed:
            self._transport.writelines(pieces)

    def pause(self) -> None:
        """Read no more of the response for now. Twice is once."""
        if self._transport is not None and not self.closed and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on. Twice is once."""
        if self._transport is not None and not self.closed and self._paused:
            self._paused = False
            self._transport.resume_reading()

    def end_exchange(self) -> None:
        """The response is complete; the connection may carry another."""
        self.resume()  # the last bytes may have met a client that did not read
        self._sink = None
        self._reader = None
        self.used += 1

    def abort(self) -> None:
        """Close at once; nobody is told."""
        self._sink = None
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # -- for the loop ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports stand outside of asyncio's class tree.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        reader, sink = self._reader, self._sink
        if reader is None or sink is None:
            self._lose()  # it speaks unasked: what it says would be taken for the next answer
            return
        self.heard = True
        try:
            self._read(reader, sink, data)
        except BadResponse as fault:
            self._fail(f"{self._name}: {fault}")

    def _read(self, reader: ResponseReader, sink: ResponseSink, data: bytes) -> None:
        while reader.head is None:
            taken = reader.take_head(data)
            if taken is None:
                return
            head, data = taken
            if data and reader.done:
                raise BadResponse("it sent bytes behind the end of its response")
            sink.take_head(head)
            if self._sink is not sink:
                return  # the sink has given up on what the head says
        if data:
            body = reader.take_body(data)
            sink.take_body(body, reader)
        if self._sink is sink:
            if reader.done:
                sink.finish()
            else:
                sink.flush()

    def eof_received(self) -> None:
        reader, sink = self._reader, self._sink
        if reader is None or sink is None:
            self._lose()
            return
        try:
            reader.end_of_stream()
        except BadResponse as fault:
            self._fail(f"{self._name}: {fault}")
            return
        self.closed = True
        sink.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sink is not None and not self.closed:
            if exc is None:
                self.torn = True
                self.eof_received()
            else:
                self._fail(f"{self._name} reset the connection")
        self._lose()

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        if self._sink is not None:
            self._sink.upstream_writable()

    def _fail(self, why: str) -> None:
        sink = self._sink
        self.abort()
        if sink is not None:
            sink.fail(Refusal(Reason.UPSTREAM_UNREACHABLE, why))

    def _lose(self) -> None:
        self.abort()
        if self.on_idle_loss is not None:
            self.on_idle_loss()
            self.on_idle_loss = None
