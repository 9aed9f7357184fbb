"""Owns: a model upstream for tests and the demonstration: recorded, scripted, on a real socket.

Knows nothing of netmgr's proxy. It serves HTTP/1.1, plain or over TLS, as
`python -m netmgr.testing.model_server --host H --port P` or inside a test:

    async with running_model_server("127.0.0.1", 0) as server:
        server.script = parse_script([...]); server.events  # what it saw

`GET /_recorded` lists the same events as JSON lines, `POST /_script` replaces the script,
`DELETE /_recorded` forgets. Every event is also a line of the `--record` file. Records hold
requests byte for byte, credentials included: this server is for keys that protect nothing.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import ssl
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

import h11

from netmgr.errors import BadInput
from netmgr.process.tasks import TaskSet
from netmgr.testing.model_answers import default_answer
from netmgr.testing.model_script import Reply, Script, parse_reply, parse_script

MAX_HEAD: Final = 64 * 1024  # bytes; four times what the proxy lets through
MAX_BODY: Final = 64 * 1024 * 1024  # bytes; twice what the proxy lets through
MAX_EVENTS: Final = 10_000  # kept in memory; the record file has all
IDLE_S: Final = 600.0  # a kept connection without a request ends
READ: Final = 64 * 1024  # bytes per read

_ANSWERED: Final = "answered"
_CLOSED: Final = "closed"
_CONTROL: Final = ("/_recorded", "/_script")


@dataclass(slots=True)
class ModelServer:
    """What the server saw and what it shall say. `events` are JSON objects, oldest first."""

    script: Script = field(default_factory=Script)
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    record_to: TextIO | None = None
    url: str = ""
    port: int = 0
    _count: int = 0

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The events that are requests."""
        return [event for event in self.events if event["event"] == "request"]

    def note(self, event: dict[str, Any]) -> None:
        """Record one event."""
        self.events.append(event)
        if self.record_to is not None:
            self.record_to.write(json.dumps(event) + "\n")
            self.record_to.flush()

    def number(self) -> int:
        """The next request's number, from 1."""
        self._count += 1
        return self._count


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def event(self, number: int) -> dict[str, Any]:
        return {
            "event": "request",
            "number": number,
            "time": time.time(),
            "method": self.method,
            "target": self.target,
            "headers": [list(pair) for pair in self.headers],
            "body": self.body.decode("utf-8", "replace"),
            "body_base64": base64.b64encode(self.body).decode(),
            "raw_base64": base64.b64encode(self.raw).decode(),
        }


class _Connection:
    """One client's connection: requests one after the other, its end noticed at any time."""

    def __init__(
        self, server: ModelServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._raw = bytearray()  # what came in since the last request ended
        self._closed = asyncio.Event()

    async def serve(self) -> None:
        tasks = TaskSet()
        try:
            while (request := await self._next_request()) is not None:
                watch = tasks.start(self._watch_end(), name="model-server watch")
                outcome = await self._answer(request)
                if outcome == _CLOSED:
                    return
                if outcome != _ANSWERED:
                    self._writer.transport.abort()
                    return
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
                if self._h11.our_state is h11.MUST_CLOSE or self._closed.is_set():
                    return
                self._h11.start_next_cycle()
        except h11.RemoteProtocolError as error:
            self._server.note({"event": "malformed", "time": time.time(), "message": str(error)})
        finally:
            await tasks.cancel()

    async def _next_request(self) -> _Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                data = await asyncio.wait_for(self._reader.read(READ), IDLE_S)
                self._raw += data
                self._h11.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY:
                    raise h11.RemoteProtocolError("request body too long")
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return self._whole(head, bytes(body))
            else:  # ConnectionClosed, PAUSED
                return None

    def _whole(self, head: h11.Request, body: bytes) -> _Request:
        rest = self._h11.trailing_data[0]
        raw = bytes(self._raw[: len(self._raw) - len(rest)])
        self._raw = bytearray(rest)
        return _Request(
            method=head.method.decode("ascii"),
            target=head.target.decode("latin-1"),
            headers=tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in head.headers),
            body=body,
            raw=raw,
        )

    async def _watch_end(self) -> None:
        """Read on while an answer is under way: a close is an event, more bytes are kept."""
        while data := await self._reader.read(READ):
            self._raw += data
            self._h11.receive_data(data)
        self._closed.set()

    async def _answer(self, request: _Request) -> str:
        """How it ended: see `_play`."""
        if request.path in _CONTROL:
            return await self._write(_control(self._server, request))
        number = self._server.number()
        self._server.note(request.event(number))
        reply = self._server.script.choose(request.method, request.path, request.body)
        if reply is None:
            given = default_answer(request.path, dict(request.headers), request.body)
            reply = parse_reply(given, "default answer")
        begun = time.monotonic()
        outcome = await self._play(reply)
        self._server.note(
            {
                "event": "end",
                "number": number,
                "time": time.time(),
                "outcome": outcome,
                "seconds": round(time.monotonic() - begun, 4),
            }
        )
        return outcome

    async def _play(self, reply: Reply) -> str:
        """How it ended: answered, closed (well), cut (by the script) or client_closed."""
        if not await self._pause(reply.delay_s):
            return "client_closed"
        if reply.drop:
            return "cut"
        try:
            return await (self._write_raw(reply) if reply.raw else self._write(reply))
        except ConnectionError:
            return "client_closed"

    async def _write_raw(self, reply: Reply) -> str:
        for piece in reply.body():
            self._writer.write(piece)
            await self._writer.drain()
            if not await self._pause(reply.gap_s):
                return "client_closed"
        return _CLOSED if reply.cut_after is None else "cut"

    async def _write(self, reply: Reply) -> str:
        length = [] if reply.streaming else [("content-length", str(sum(map(len, reply.pieces))))]
        headers = [*reply.headers, *length, ("server", "netmgr-model-server")]
        await self._send(h11.Response(status_code=reply.status, headers=headers))
        first = True
        for piece in reply.body():
            if not first and not await self._pause(reply.gap_s):
                return "client_closed"
            first = False
            await self._send(h11.Data(data=piece))
            if self._closed.is_set():
                return "client_closed"
        if reply.cut_after is not None:
            return "cut"
        if reply.stall_after is not None:
            await self._pause(IDLE_S)
            return "client_closed" if self._closed.is_set() else "cut"
        await self._send(h11.EndOfMessage())
        return _ANSWERED

    async def _pause(self, seconds: float) -> bool:
        """Wait; False where the client went away meanwhile."""
        if seconds <= 0:
            await asyncio.sleep(0)  # an endless stream must let others run
            return not self._closed.is_set()
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except TimeoutError:
            return True
        return False

    async def _send(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data:
            self._writer.write(data)
            async with asyncio.timeout(IDLE_S):
                await self._writer.drain()


def _control(server: ModelServer, request: _Request) -> Reply:
    if request.path == "/_recorded" and request.method == "DELETE":
        server.events.clear()
    elif request.path == "/_recorded":
        lines = "".join(json.dumps(event) + "\n" for event in server.events)
        return parse_reply({"text": lines, "headers": {"content-type": "application/jsonl"}}, "")
    else:
        try:
            server.script = parse_script(json.loads(request.body))
        except (BadInput, ValueError) as error:
            return parse_reply({"status": 422, "json": {"error": {"message": str(error)}}}, "")
    return parse_reply({"json": {"ok": True}}, "")


@contextlib.asynccontextmanager
async def running_model_server(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tls: ssl.SSLContext | None = None,
    record_to: TextIO | None = None,
) -> AsyncIterator[ModelServer]:
    """A server that runs until the block ends; port 0 takes a free one.

    Raises:
        OSError: the address cannot be listened on.
    """
    server = ModelServer(record_to=record_to)
    clients: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        try:
            await _Connection(server, reader, writer).serve()
        except (ConnectionError, TimeoutError):
            pass
        except asyncio.CancelledError:
            # Only the end below cancels; before Python 3.12 streams would report it as an error.
            writer.transport.abort()  # nobody waits for TLS's good-bye then
        except (h11.LocalProtocolError, UnicodeError) as error:  # a reply that HTTP does not have
            server.note({"event": "bad_reply", "time": time.time(), "message": str(error)})
        finally:
            clients.discard(task)
            writer.close()

    listener = await asyncio.start_server(serve, host, port, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    server.url = f"{'https' if tls else 'http'}://{shown}:{server.port}"
    try:
        yield server
    finally:
        listener.close()
        for task in tuple(clients):
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await listener.wait_closed()


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m netmgr.testing.model_server", description="a scripted, recording model API"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--record", type=Path, help="append every event to this file")
    parser.add_argument("--script", type=Path, help="JSON file with the rules to begin with")
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    return parser.parse_args(argv)


async def _run(args: argparse.Namespace) -> None:
    tls = None
    if args.tls_cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(args.tls_cert, args.tls_key)
    with contextlib.ExitStack() as stack:
        record = stack.enter_context(args.record.open("a")) if args.record else None
        script = parse_script(json.loads(args.script.read_text())) if args.script else Script()
        async with running_model_server(args.host, args.port, tls=tls, record_to=record) as server:
            server.script = script
            print(f"listening on {server.url}", flush=True)
            await asyncio.Event().wait()  # until a signal ends the process


def main(argv: list[str] | None = None) -> int:
    """Run until interrupted."""
    try:
        asyncio.run(_run(_arguments(sys.argv[1:] if argv is None else argv)))
    except KeyboardInterrupt:
        return 130
    except (BadInput, OSError, ValueError) as error:
        print(f"model server: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
