"""Reads event streams: `stream_sink.py ADDRESS PORT NAME CA STREAMS EVENTS GAP_MS`.

Prints a line once every stream has begun, and at the end what was counted, as JSON: events, errors,
and how long an event took from the source, in microseconds.
"""

import asyncio
import json
import re
import ssl
import statistics
import sys
import time

import uvloop

AT = re.compile(rb'"at":([0-9]+)\}')
OPENING_AT_ONCE = 50


class Sink:
    """What all streams share."""

    def __init__(self, argv: list[str]) -> None:
        self.address, port, self.name, ca, streams, events, gap = argv
        self.port, self.streams, self.events, self.gap = int(port), int(streams), int(events), gap
        self.context = ssl.create_default_context(cafile=ca)
        self.delays: list[float] = []
        self.errors: list[str] = []
        self.begun = 0
        self.gate = asyncio.Semaphore(OPENING_AT_ONCE)

    async def one(self) -> None:
        """One stream to its end."""
        try:
            await self._one()
        except (OSError, EOFError, AssertionError) as fault:
            self.errors.append(repr(fault))

    async def _one(self) -> None:
        async with self.gate:
            reader, writer = await asyncio.open_connection(
                self.address, self.port, ssl=self.context, server_hostname=self.name
            )
            body = json.dumps({"events": self.events, "gap_ms": int(self.gap), "stream": True})
            writer.write(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.name}\r\n"
                "Content-Type: application/json\r\nAuthorization: Bearer unused\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
        self._begin()
        await self._read(reader)
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        seen, tail = 0, b""
        while not tail.endswith(b"0\r\n\r\n"):
            data = await reader.read(65536)
            assert data, f"cut after {seen} events"
            now = time.monotonic_ns()
            found = AT.findall(tail + data)
            self.delays += [(now - int(at)) / 1000 for at in found]
            seen += len(found)
            tail = (tail + data).rpartition(b"}\n\n")[2]
        assert seen == self.events, f"{seen} events"

    def _begin(self) -> None:
        self.begun += 1
        if self.begun == self.streams:
            print(json.dumps({"begun": self.begun}), flush=True)


async def main() -> None:
    """Read all streams and tell."""
    sink = Sink(sys.argv[1:])
    await asyncio.gather(*(sink.one() for _ in range(sink.streams)))
    cuts = statistics.quantiles(sink.delays, n=100) if len(sink.delays) > 1 else [0.0] * 99
    told = {
        "events": len(sink.delays),
        "errors": len(sink.errors),
        "p50": cuts[49],
        "p99": cuts[98],
    }
    print(json.dumps(told | {"first_errors": sink.errors[:3]}), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
