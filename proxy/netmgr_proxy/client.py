"""Owns: the sandbox's side of a terminated connection: bytes in as request events, bytes out.

One task per connection waits on one thing (`wait`), which every event ends: bytes, loss, a
deadline, an end from outside. Knows nothing of what is asked or answered.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from netmgr_proxy.flows import FOREVER
from netmgr_proxy.inbox import Inbox
from netmgr_proxy.limits import Limits
from netmgr_proxy.wire.request import Event, RequestReader


class ClientGone(Exception):
    """The client closed or broke the connection."""


class DeadlinePassed(Exception):
    """The deadline that was set last has passed."""


class ClientConnection(Inbox):
    """The protocol object of one client connection, and what its task waits on."""

    def __init__(self, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._limits = limits
        self._reader = RequestReader(limits.request_head_bytes, limits.request_headers)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._reading = True
        self._discard = False
        self._stop: Exception | None = None
        self._raw: Callable[[bytes], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.deadline = FOREVER
        self.gone = False
        self.blocked = False
        self.bytes_in = 0

    # -- for its task ----------------------------------------------------------------------

    @property
    def between_requests(self) -> bool:
        """No byte of a next request is there."""
        return self._reader.between_requests

    def within(self, seconds: float) -> None:
        """Set the deadline; it replaces the one before."""
        self.deadline = self._now() + seconds

    async def wait(self) -> None:
        """Wait until anything has happened.

        Raises:
            ClientGone: nobody is there to answer.
            DeadlinePassed: see `within`.
            Exception: what `stop` was given.
        """
        self._check()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        self._check()

    async def drained(self, seconds: float) -> None:
        """Wait until the client has read what it was sent, but for a buffer's worth.

        Without this a client that asks and never reads would fill our memory with answers.
        """
        while self.blocked:
            self.within(seconds)
            await self.wait()

    def _check(self) -> None:
        if self._stop is not None:
            raise self._stop
        if self.gone:
            raise ClientGone

    def next_event_nowait(self) -> Event:
        """The next request event, or NEED_DATA.

        Raises:
            BadRequest: the client broke HTTP.
        """
        event = self._reader.next()
        if event is None and not self._reading:
            self.resume()
        return event

    def take_over(self, on_data: Callable[[bytes], None]) -> bytes:
        """From now on what comes is no HTTP and goes to `on_data`; what has come is returned."""
        self._raw = on_data
        self.resume()
        return self._reader.take_rest()

    def pause(self) -> None:
        """Read nothing for now. Twice is once."""
        if self._reading and self._transport is not None and not self.gone:
            self._reading = False
            self._transport.pause_reading()

    def write(self, data: bytes) -> None:
        """Send; buffered, see `blocked`."""
        if self._transport is not None and not self.gone:
            self._transport.write(data)

    def discard_input(self) -> None:
        """Throw away what the client still sends: nothing more is read from it."""
        self._discard = True
        self.resume()

    def finish_writing(self) -> None:
        """Say that nothing follows what was written. TLS cannot; there `Connection: close` does."""
        if self._transport is not None and not self.gone and self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        """Close in good order once everything is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, without TLS's or HTTP's good end."""
        if self._transport is not None:
            self._transport.abort()

    # -- for others ------------------------------------------------------------------------

    def wake(self) -> None:
        """Something has happened: let the task look."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def stop(self, cause: Exception) -> None:
        """End the task's waiting with `cause`, now and from now on. The first cause counts."""
        if self._stop is None:
            self._stop = cause
            self.wake()

    def renew(self) -> None:
        """A deadline was met with an answer: the task may wait again (to say good-bye)."""
        self._stop = None

    # -- for the loop ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports stand outside of asyncio's class tree.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._discard:
            return
        self.bytes_in += len(data)
        if self._raw is not None:
            self._raw(data)
            return
        self._reader.feed(data)
        if self._reader.held > self._limits.client_buffer_bytes:
            self.pause()
        self.wake()

    def resume(self) -> None:
        """Read on. Twice is once."""
        if not self._reading and self._transport is not None and not self.gone:
            self._reading = True
            self._transport.resume_reading()

    def eof_received(self) -> None:
        # A half-closed client cannot be told from a gone one: its exchange is given up, as
        # nginx does by default. TLS has no half-close here anyway.
        self.gone = True
        self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.wake()

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        if self.on_writable is not None:
            self.on_writable()
        self.wake()
