"""Serves event streams: `stream_source.py ADDRESS PORT LEAF`. Every request gets one of so many
events with so many milliseconds between, as its body says: {"events": N, "gap_ms": G}.

Each event carries the moment at which it was written.
"""

import asyncio
import json
import ssl
import sys
import time

import uvloop

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
# About as long as a chunk of a chat completion.
EVENT = (
    'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    '[{"index":0,"delta":{"content":" token"},"finish_reason":null}],"at":%d}\n\n'
)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, request after request."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            body = await reader.readexactly(int(fields[b"content-length"]))
            await stream(writer, json.loads(body))
    except (OSError, EOFError):
        pass
    finally:
        writer.close()


async def stream(writer: asyncio.StreamWriter, asked: dict[str, int]) -> None:
    """The events of one answer, at their times."""
    loop = asyncio.get_running_loop()
    gap = asked["gap_ms"] / 1000
    writer.write(HEAD)
    due = loop.time() + gap * (time.monotonic_ns() % 997) / 997  # streams are not in step
    for _ in range(asked["events"]):
        await asyncio.sleep(max(0.0, due - loop.time()))
        due += gap
        event = (EVENT % time.monotonic_ns()).encode()
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
    writer.write(b"0\r\n\r\n")


async def main() -> None:
    """Serve for ever."""
    address, port, leaf = sys.argv[1:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(leaf)
    server = await asyncio.start_server(serve, address, int(port), ssl=context, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
