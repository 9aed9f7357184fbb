"""Owns: TCP port 53 of the hub (RFC 7766): two bytes of length, then the message, any number.

Answers leave when they are ready, not in order (RFC 7766 §7). The answer comes from the address
that was asked by itself: it is the connection's local address.
"""

import asyncio
import socket
import struct
import time
from typing import Final, cast

from netmgr_dns.desk import Client, Desk
from netmgr_dns.wire import MAX_QUERY

MAX_CONNECTIONS: Final = 16  # per sandbox; a resolver library uses one
MAX_CONNECTIONS_IN_ALL: Final = 1_024
BACKLOG: Final = 128
IDLE_S: Final = 10.0  # without a whole query; RFC 7766 §6.2.3: "of the order of a few seconds"
MAX_UNSENT: Final = 64 * 1024  # answers that the client does not take: then it is cut off
MAX_ANSWER: Final = 65_535

_LENGTH: Final = struct.Struct("!H")


class QueryReader:
    """Bytes in, whole messages out. Pure."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add what was read; give every message that is now whole.

        Raises:
            ValueError: a message is longer than any query; the stream is of no use any more.
        """
        self._buffer += data
        messages = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > MAX_QUERY:
                raise ValueError(f"a query of {length} bytes; the limit is {MAX_QUERY}")
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return messages


class TcpServer:
    """Accepts connections on an inherited, listening socket."""

    def __init__(self, sock: socket.socket, desk: Desk) -> None:
        self._sock = sock
        self.desk = desk
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), sock=self._sock, backlog=BACKLOG
        )

    def close(self) -> None:
        """Stop, and end every connection. May be called twice."""
        if self._server is not None:
            self._server.close()
        self._sock.close()
        for connection in tuple(self.connections):
            connection.abort()


class Connection(asyncio.Protocol):
    """One connection of a sandbox."""

    def __init__(self, server: TcpServer) -> None:
        self._server = server
        self._reader = QueryReader()
        self._transport: asyncio.Transport | None = None
        self._client: Client | None = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the sandbox in, unless it or everybody together has enough connections."""
        # uvloop's transports stand outside of asyncio's class tree.
        transport = self._transport = cast(asyncio.Transport, transport)
        desk = self._server.desk
        address = (transport.get_extra_info("peername") or ("?",))[0]
        client = desk.clients.get(address)
        if client is None:
            desk.stranger(address)
            transport.abort()
        elif (
            client.connections >= MAX_CONNECTIONS
            or len(self._server.connections) >= MAX_CONNECTIONS_IN_ALL
        ):
            desk.over_limit(client, time.monotonic())
            transport.abort()
        else:
            client.connections += 1
            self._client = client
            self._server.connections.add(self)
            self._wait_idle()

    def data_received(self, data: bytes) -> None:
        """Answer every query that is now whole."""
        client, desk = self._client, self._server.desk
        if client is None:
            return
        try:
            messages = self._reader.feed(data)
        except ValueError:
            desk.statistics.malformed += 1
            self.abort()
            return
        if messages:
            self._wait_idle()
        now = time.monotonic()
        for message in messages:
            # A sandbox that was deleted, or replaced at its address, has no voice any more.
            if desk.clients.get(client.sandbox.address) is not client:
                self.abort()
            elif client.queries.take(now):
                desk.answer(client, message, MAX_ANSWER, self._reply)
            else:
                desk.over_limit(client, now)

    def eof_received(self) -> bool:
        """A client that has sent its last query still gets its answers: keep our half open."""
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        if self._idle is not None:
            self._idle.cancel()
        if self._client is not None:
            self._client.connections -= 1
            self._client = None
        self._server.connections.discard(self)

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _reply(self, wire: bytes) -> None:
        transport = self._transport
        if self._client is None or transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > MAX_UNSENT:
            transport.abort()
            return
        transport.write(_LENGTH.pack(len(wire)) + wire)

    def _wait_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.abort)
