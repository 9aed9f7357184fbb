"""Owns: one accepted connection of the world's internet, and the record of what it received.

Knows nothing of HTTP.
"""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

READ_SIZE: Final = 256 * 1024
MAX_RECORDED: Final = 64 * 1024 * 1024  # bytes kept of one connection; the rest is only counted


@dataclass(slots=True)
class Connection:
    """One connection as the server saw it.

    Attributes:
        peer: the client's address.
        local: the address that was dialled.
        sni: the name in the ClientHello, None without TLS or without a name.
        received: every byte after TLS was taken off (the first MAX_RECORDED of them).
        length: how many bytes there were.
        ended: how it went: "open", "closed" (the client ended it in good order), "reset",
            "tls: ..." or "ours" (the handler ended it).
    """

    peer: tuple[str, int]
    local: tuple[str, int]
    sni: str | None = None
    received: bytearray = field(default_factory=bytearray)
    length: int = 0
    ended: str = "open"


class Stream:
    """Reader and writer of one connection; everything read is recorded."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: Connection,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.connection = connection

    async def read(self) -> bytes:
        """The next bytes; b"" at the client's end of writing."""
        data = await self._reader.read(READ_SIZE)
        kept = self.connection.received
        kept += data[: MAX_RECORDED - len(kept)]
        self.connection.length += len(data)
        return data

    async def write(self, data: bytes) -> None:
        """Send, and wait until the transport can take more."""
        self._writer.write(data)
        await self._writer.drain()

    def end_writing(self) -> None:
        """Half-close; not on TLS, which has none here."""
        self._writer.write_eof()

    def abort(self) -> None:
        """Break the connection off without an end."""
        self.connection.ended = "ours"
        self._writer.transport.abort()


Handler = Callable[[Stream], Awaitable[None]]


class Server:
    """One listening address and port of the internet, and all that reached it."""

    def __init__(
        self, name: str, address: str, port: int, handler: Handler, tls: ssl.SSLContext | None
    ) -> None:
        self.name = name
        self.address = address
        self.port = port
        self.handler = handler
        self.tls = tls
        self._lock = threading.Lock()
        self._connections: list[Connection] = []

    def __repr__(self) -> str:
        return f"Server({self.name} at {self.address}:{self.port})"

    @property
    def connections(self) -> list[Connection]:
        """Every connection that was accepted, in order."""
        with self._lock:
            return list(self._connections)

    @property
    def received(self) -> bytes:
        """All bytes of all connections, in order of the connections."""
        return b"".join(bytes(c.received) for c in self.connections)

    def forget(self) -> None:
        """Begin the records anew."""
        with self._lock:
            self._connections.clear()

    def add(self, connection: Connection) -> None:
        """Note an accepted connection. For the internet's loop."""
        with self._lock:
            self._connections.append(connection)
