"""Owns: an upstream proxy (CONNECT) on a thread in a namespace of a world; it wants a password."""

import asyncio
import base64
import contextlib
import threading
from typing import Final

from world.namespaces import Namespace, inside

START_S: Final = 10.0
CREDENTIAL: Final = "proxy-user:proxy-word"
_READ: Final = 65536


class ConnectProxy:
    """Listens at `address`:`port`; `asked` are the targets of its requests. `close` it.

    Args:
        to: (address, port) that every target leads to.
    """

    def __init__(self, namespace: Namespace, address: str, port: int, to: tuple[str, int]) -> None:
        self.asked: list[str] = []
        self._where, self._to = (namespace, address, port), to
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="connect proxy", daemon=True)
        self._thread.start()
        assert self._started.wait(START_S), "the proxy does not start"

    def close(self) -> None:
        """End it with its connections."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(START_S)
        assert not self._thread.is_alive(), "the proxy does not end"

    def _run(self) -> None:
        with inside(self._where[0].path), contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        _, address, port = self._where
        server = await asyncio.start_server(self._answer, address, port)
        async with server:
            self._started.set()
            await self._end.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.05)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head.split(" ")[1])
            word = base64.b64encode(CREDENTIAL.encode()).decode()
            if f"proxy-authorization: Basic {word}\r\n" not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                await writer.drain()
                return
            far_reader, far_writer = await asyncio.open_connection(*self._to)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with contextlib.closing(far_writer):
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_READ):
        writer.write(data)
        await writer.drain()
    writer.close()
