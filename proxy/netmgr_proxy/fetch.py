"""Owns: one request to an origin that no sandbox asked for, and the beginning of its answer.

The operator's verification and the renewal of credentials go this way: through the dialer, read by
this confined process. Knows nothing of what is asked.
"""

import asyncio
import ssl
from dataclasses import dataclass

from netmgr_proxy.room import Room
from netmgr_proxy.upstream import UpstreamConnection
from netmgr_proxy.upstreams import Origin
from netmgr_proxy.wire.face import Refusal, Refused
from netmgr_proxy.wire.response import Framing, ResponseHead, ResponseReader


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer. `body` is its beginning, a little more than was asked for at most."""

    status: int
    content_type: str
    body: bytes


async def fetch(
    room: Room, origin: Origin, context: ssl.SSLContext | None, request: bytes, most: int
) -> Fetched:
    """Send a whole request on a connection of its own; the caller bounds the time.

    Args:
        most: bytes of the body after which the rest does not matter.

    Raises:
        Refused: no answer came.
    """
    upstream = await room.upstreams.open(origin, 0, context)
    try:
        answer = _Answer(upstream, most)
        upstream.begin(answer, bodyless=False)
        upstream.write(request)
        await answer.done
        return Fetched(answer.status, answer.content_type, bytes(answer.body))
    finally:
        upstream.abort()


class _Answer:
    """A ResponseSink that keeps the beginning of an answer."""

    def __init__(self, upstream: UpstreamConnection, most: int) -> None:
        self._upstream = upstream
        self._most = most
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.content_type = ""
        self.body = bytearray()

    def take_head(self, head: ResponseHead) -> None:
        if not head.interim:
            self.status = head.status
            self.content_type = (head.field(b"content-type") or b"").decode("latin-1")

    def take_body(self, data: bytes, reader: ResponseReader) -> None:
        chunked = reader.head is not None and reader.head.framing is Framing.CHUNKED
        self.body += reader.bare() if chunked else data
        if len(self.body) > self._most:
            self.finish()

    def flush(self) -> None:
        """Nothing is held back."""

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, refusal: Refusal) -> None:
        if not self.done.done():
            self.done.set_exception(Refused(refusal))

    def upstream_writable(self) -> None:
        """The request is small and was written at once."""
