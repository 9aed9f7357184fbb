"""Owns: what every exchange has: a client's request, a connection to an origin, an end.

The response comes in by callbacks (`ResponseSink`) and goes out at once; the exchange's task only
sends the request and waits. Knows nothing of what may be asked.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from netmgr.process.view import SandboxView
from netmgr.reasons import Reason
from netmgr_proxy.account import Account
from netmgr_proxy.client import ClientConnection, DeadlinePassed
from netmgr_proxy.recorder import Measures
from netmgr_proxy.room import Room
from netmgr_proxy.upstream import UpstreamConnection
from netmgr_proxy.upstreams import Origin
from netmgr_proxy.wire.face import Refusal, Refused
from netmgr_proxy.wire.request import Body, End, Event, Head
from netmgr_proxy.wire.response import ResponseHead, ResponseReader


class CutShort(Exception):
    """The response has begun and cannot be completed: the client's connection must be cut.

    Attributes:
        refusal: what is recorded.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(slots=True)
class Progress:
    """How far an exchange has come. Bytes of bodies, without framing of ours.

    Attributes:
        status: of the final response head; None before it.
        answered: whether bytes of the final response have gone to the client.
        started_at: loop's time.
    """

    started_at: float
    status: int | None = None
    answered: bool = False
    request_sent: bool = False
    bytes_in: int = 0
    bytes_out: int = 0

    def measures(self, now: float) -> Measures:
        """As a record has them."""
        return Measures(
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            duration_ms=round((now - self.started_at) * 1000),
        )


class Exchange:
    """One request and its response. Subclasses say what is sent and how the answer is handed on."""

    def __init__(self, room: Room, client: ClientConnection, account: Account, head: Head) -> None:
        self.room = room
        self.client = client
        self.account = account
        self.head = head
        self.progress = Progress(room.now())
        self.upstream: UpstreamConnection | None = None
        self.over = False
        self.failure: Refusal | None = None
        self.keep_client = head.keep_alive and not head.http10
        self.keep_upstream = False

    # -- for the flow that it belongs to ---------------------------------------------------

    async def run(self) -> bool:
        """Do it all.

        Returns:
            whether the client's connection takes another request.

        Raises:
            Refused: before anything was answered.
            CutShort: afterwards.
            ClientGone, DeadlinePassed: see ClientConnection.wait.
        """
        raise Refused(Refusal(Reason.UNSUPPORTED_PROTOCOL, "nothing is served here"))

    def judge_again(self) -> Refusal | None:
        """Why it may not go on under the present policy; None where it may."""
        return None

    def break_off(self, refusal: Refusal) -> bool:
        """End what the client has got a part of, as a failure of the origin would; whether it
        could be."""
        return False

    def record_start(self) -> None:
        """It has become a long one."""

    def beat(self, now: float) -> None:
        """Called several times a second while it lasts."""

    @property
    def http(self) -> dict[str, Any]:
        """The record's `http` part: no query, no headers."""
        path = self.head.target.partition(b"?")[0].decode("latin-1")
        return {"method": self.head.method, "path": path, "status": self.progress.status}

    @property
    def parts(self) -> dict[str, Any]:
        """The parts of its record."""
        return {"http": self.http}

    # -- tools of subclasses ---------------------------------------------------------------

    def sandbox(self) -> SandboxView:
        """The sandbox as it is now.

        Raises:
            Refused: it is gone, or nothing new may be allowed.
        """
        sandbox = self.room.view.get(self.account.caller.address)
        if sandbox is None:
            raise Refused(Refusal(Reason.UNKNOWN_CALLER, "the sandbox is gone"))
        if not self.room.view.journal_available:
            why = "decisions cannot be recorded now (the disk is full), so nothing new is allowed"
            raise Refused(Refusal(Reason.JOURNAL_UNAVAILABLE, why))
        self.account.moved_to(sandbox)
        return sandbox

    async def connect(
        self, origin: Origin, revision: int, context: ssl.SSLContext | None = None
    ) -> UpstreamConnection:
        """A connection to `origin`, pooled or new; given up when the client goes.

        Raises:
            Refused: there is none.
        """
        idle = self.room.upstreams.take_idle(origin, revision)
        if idle is not None:
            return idle
        return await self.connect_anew(origin, revision, context)

    async def connect_anew(
        self, origin: Origin, revision: int, context: ssl.SSLContext | None = None
    ) -> UpstreamConnection:
        """The same without the pool."""
        opening = self.room.tasks.start(
            _open(self.room, origin, revision, context), name=f"open {origin.target}"
        )
        opening.add_done_callback(lambda _: self.client.wake())
        try:
            while not opening.done():
                await self.client.wait()
        except BaseException:
            opening.cancel()
            opening.add_done_callback(_abort_opened)
            raise
        opened: UpstreamConnection | Refusal = opening.result()
        if isinstance(opened, Refusal):
            raise Refused(opened)
        return opened

    async def send_body(self, frame: Callable[[bytes], bytes], last: bytes) -> None:
        """Send the request's body on as it comes, until its end or the response's.

        Args:
            frame: puts a piece into the upstream's framing.
            last: what ends the body there.
        """
        while not self.over:
            event = None if self.upstream_blocked() else self.client.next_event_nowait()
            if isinstance(event, End):
                self.write_upstream(last)
                self.progress.request_sent = True
                return
            if isinstance(event, Body):
                self.progress.bytes_out += len(event.data)
                self.write_upstream(frame(event.data))
            else:
                self.client.within(self.room.limits.request_body_timeout_s)
                await self.client.wait()

    def write_upstream(self, data: bytes) -> None:
        """Send to the origin, if there is anything to send."""
        if data and self.upstream is not None:
            self.upstream.write(data)

    def upstream_blocked(self) -> bool:
        """Whether the origin takes nothing for now."""
        return self.upstream is not None and self.upstream.blocked

    async def until_over(self) -> None:
        """Wait for the response's end.

        Raises:
            Refused, CutShort: it failed, before or after the client had got something.
        """
        while not self.over:
            await self.client.wait()
        if self.failure is not None:
            if self.progress.answered:
                raise CutShort(self.failure)
            raise Refused(self.failure)

    async def read_whole_body(self, most: int) -> bytes:
        """Collect the request's body.

        Raises:
            Refused: limit_exceeded (413).
        """
        if self.head.length is not None and self.head.length > most:
            raise Refused(_too_large(most))
        pieces: list[bytes] = []
        size = 0
        while True:
            event: Event = self.client.next_event_nowait()
            if isinstance(event, End):
                self.progress.request_sent = True
                return b"".join(pieces)
            if isinstance(event, Body):
                size += len(event.data)
                if size > most:
                    raise Refused(_too_large(most))
                pieces.append(event.data)
                continue
            self.client.within(self.room.limits.request_body_timeout_s)
            try:
                await self.client.wait()
            except DeadlinePassed:
                raise Refused(slow_body(self.room.limits.request_body_timeout_s)) from None

    def release(self, origin: Origin) -> None:
        """Keep the connection for reuse where it is fit for that, else close it."""
        upstream, self.upstream = self.upstream, None
        self.client.on_writable = None
        if upstream is None:
            return
        if self.keep_upstream and self.over and self.progress.request_sent and not self.failure:
            self.room.upstreams.give_back(origin, upstream)
        else:
            upstream.abort()

    # -- ResponseSink ----------------------------------------------------------------------

    def take_head(self, head: ResponseHead) -> None:
        """See ResponseSink."""

    def take_body(self, data: bytes, reader: ResponseReader) -> None:
        """See ResponseSink."""

    def flush(self) -> None:
        """See ResponseSink."""

    def finish(self) -> None:
        """See ResponseSink."""
        self.over = True
        self.client.wake()

    def fail(self, refusal: Refusal) -> None:
        """See ResponseSink."""
        self.failure = refusal
        self.over = True
        self.client.wake()

    def upstream_writable(self) -> None:
        """See ResponseSink."""
        self.client.wake()

    def hold_back(self) -> None:
        """Let the origin wait while the client does not read."""
        if self.client.blocked and self.upstream is not None:
            self.upstream.pause()
            self.client.on_writable = self.upstream.resume
            # It is the client that is slow now, not the origin.
            self.client.within(self.room.limits.flow_idle_timeout_s)


def slow_body(seconds: float) -> Refusal:
    """The refusal of a body that does not come."""
    why = f"no byte of the request's body came within {seconds:g} s"
    return Refusal(Reason.MALFORMED_REQUEST, why, status=408)


def _too_large(most: int) -> Refusal:
    why = f"the request's body is larger than {most} bytes"
    return Refusal(Reason.LIMIT_EXCEEDED, why, status=413)


async def _open(
    room: Room, origin: Origin, revision: int, context: ssl.SSLContext | None
) -> UpstreamConnection | Refusal:
    try:
        return await room.upstreams.open(origin, revision, context)
    except Refused as refused:
        return refused.refusal


def _abort_opened(task: "asyncio.Task[UpstreamConnection | Refusal]") -> None:
    """The client left while we were connecting; the connection may have come all the same."""
    if not task.cancelled() and isinstance(opened := task.result(), UpstreamConnection):
        opened.abort()
