"""Owns: the HTTP/1.1 servers of the world's internet and their behaviours.

A behaviour is a coroutine that gets the parsed request and the stream and writes bytes as it likes.
Requests are parsed with h11 only to know where they end; what is asserted are the recorded bytes.
"""

import asyncio
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import h11

from world.streams import Handler, Stream

MAX_HEAD: Final = 128 * 1024  # the tests' largest head is 64 KiB; a server must see what we let by


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the server parsed it; `headers` keep their order and lower-case names."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of that name, or None."""
        return next((v for k, v in self.headers if k == name.lower()), None)


Behaviour = Callable[[Request, Stream], Awaitable[None]]


class Web:
    """An HTTP application: `handler` serves connections, `requests` is what came."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._lock = threading.Lock()
        self._requests: list[Request] = []

    @property
    def requests(self) -> list[Request]:
        """Every whole request, in order of its end."""
        with self._lock:
            return list(self._requests)

    def forget(self) -> None:
        """Begin the list of requests anew."""
        with self._lock:
            self._requests.clear()

    @property
    def handler(self) -> Handler:
        """For `Internet.tcp` and `Internet.tls`."""
        return self._serve

    async def _serve(self, stream: Stream) -> None:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        while True:
            request = await _next_request(parser, stream)
            if request is None:
                return
            with self._lock:
                self._requests.append(request)
            await self.behaviour(request, stream)
            if stream.connection.ended != "open" or parser.their_state is not h11.DONE:
                return
            # The behaviour wrote the response itself; tell the parser that there was one.
            parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            parser.send(h11.EndOfMessage())
            if parser.our_state is h11.MUST_CLOSE:
                return
            parser.start_next_cycle()


async def _next_request(parser: h11.Connection, stream: Stream) -> Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError:
            return None
        if event is h11.NEED_DATA:
            parser.receive_data(await stream.read())
        elif isinstance(event, h11.Request):
            head = event
            if parser.they_are_waiting_for_100_continue:
                await stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = tuple((k.decode("latin-1"), v.decode("latin-1")) for k, v in head.headers)
            method, target = head.method.decode("latin-1"), head.target.decode("latin-1")
            return Request(method, target, headers, bytes(body))
        else:
            return None


def response(
    status: int, body: bytes, content_type: str = "application/json", **headers: str
) -> bytes:
    """A whole response; underscores in header names become hyphens."""
    lines = [
        f"HTTP/1.1 {status} World",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def echo(request: Request, stream: Stream) -> None:
    """Answers with the request as JSON."""
    seen = {
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": request.body[:65536].decode("latin-1"),
        "length": len(request.body),
        "sha256": hashlib.sha256(request.body).hexdigest(),
    }
    body = b"" if request.method == "HEAD" else json.dumps(seen).encode()
    await stream.write(response(200, body))


def fixed(body: bytes, status: int = 200, content_type: str = "text/plain") -> Behaviour:
    """Answers always the same."""

    async def behave(request: Request, stream: Stream) -> None:
        await stream.write(response(status, body, content_type))

    return behave


def slow(delay_s: float) -> Behaviour:
    """Echoes after a while."""

    async def behave(request: Request, stream: Stream) -> None:
        await asyncio.sleep(delay_s)
        await echo(request, stream)

    return behave


def chunked(parts: Sequence[bytes], interval_s: float = 0.0) -> Behaviour:
    """Answers in chunks, one per part."""

    async def behave(request: Request, stream: Stream) -> None:
        head = b"HTTP/1.1 200 World\r\ntransfer-encoding: chunked\r\n\r\n"
        await stream.write(head)
        for part in parts:
            await stream.write(b"%x\r\n%b\r\n" % (len(part), part))
            await asyncio.sleep(interval_s)
        await stream.write(b"0\r\n\r\n")

    return behave


def events(lines: Sequence[str], interval_s: float = 0.0) -> Behaviour:
    """A stream of server-sent events, ended by the end of the chunked body."""
    parts = [f"data: {line}\n\n".encode() for line in lines]

    async def behave(request: Request, stream: Stream) -> None:
        await stream.write(
            b"HTTP/1.1 200 World\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for part in parts:
            await stream.write(b"%x\r\n%b\r\n" % (len(part), part))
            await asyncio.sleep(interval_s)
        await stream.write(b"0\r\n\r\n")

    return behave


def cut(after: int, announced: int = 100_000) -> Behaviour:
    """Announces a long body and breaks off after some bytes of it."""

    async def behave(request: Request, stream: Stream) -> None:
        head = f"HTTP/1.1 200 World\r\ncontent-length: {announced}\r\n\r\n".encode()
        await stream.write(head + b"x" * after)
        await asyncio.sleep(0.1)  # so that the bytes are not overtaken by the reset
        stream.abort()

    return behave


# -- what is no HTTP -----------------------------------------------------------------------


def banner(greeting: bytes) -> Handler:
    """Speaks first, then echoes, as an SMTP server would greet."""

    async def handle(stream: Stream) -> None:
        await stream.write(greeting)
        await echo_bytes(stream)

    return handle


async def echo_bytes(stream: Stream) -> None:
    """Sends back what it gets, to the client's end of writing."""
    while data := await stream.read():
        await stream.write(data)


async def sink(stream: Stream) -> None:
    """Reads to the end and says how much it was."""
    total = 0
    while data := await stream.read():
        total += len(data)
    await stream.write(f"{total}\n".encode())
