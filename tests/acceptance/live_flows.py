"""Owns: one open connection of each kind that a sandbox can have, driven step by step.

A flow's `step` sends something new and sees it arrive; `is_cut` says whether it has ended. The
client's sockets live in the sandbox's namespace, the protocol is spoken by the test itself, so that
no client library can quietly connect again. Every host name is the kind of its flow.
"""

import contextlib
import itertools
import socket
import ssl
import time
from abc import ABC, abstractmethod
from typing import Final

from dnslib import DNSRecord
from world import Sandbox, World, web
from world.namespaces import inside
from world.streams import Server, Stream
from wsproto import ConnectionType, WSConnection, events

RESOLVER: Final = "169.254.77.1"
ARRIVES_S: Final = 5.0  # for a byte through two busy cores; it takes milliseconds on free ones
EVENT_PAUSE_S: Final = 0.02
EVENTS: Final = 20_000  # more than any test waits for
UPLOAD_PIECES: Final = 64
PIECE: Final = b"p" * 1000
SCHEMES: Final = {
    "websocket": "protocol: websocket, access: read-write",
    "events": "protocol: rest, access: read-only",
    "upload": "protocol: rest, access: full",
    "spliced": "",
    "raw": "protocol: tcp",
}


def host(kind: str) -> str:
    """The server's name."""
    return f"{kind}.flow.test"


def port(kind: str) -> int:
    """The server's port."""
    return 5432 if kind == "raw" else 443


def policy(*kinds: str) -> str:
    """A policy that allows these flows, one entry for each."""
    lines = ["version: 1", f"network_policies:{'' if kinds else ' {}'}"]
    for kind in kinds:
        more = f", {SCHEMES[kind]}" if SCHEMES[kind] else ""
        lines += [
            f"  {kind}:",
            f"    endpoints: [{{host: {host(kind)}, port: {port(kind)}{more}}}]",
            '    binaries: [{path: "/**"}]',
        ]
    return "\n".join(lines) + "\n"


def raise_servers(world: World) -> dict[str, Server]:
    """The five servers, by kind."""
    internet, authority = world.internet, world.authority
    ticks = web.events([str(number) for number in range(EVENTS)], EVENT_PAUSE_S)
    certificate = authority.server_context(host("websocket"))
    return {
        "websocket": internet.tcp(host("websocket"), 443, echo_messages, tls=certificate),
        "events": internet.https(host("events"), ticks).server,
        "upload": internet.https(host("upload")).server,
        "spliced": internet.https(host("spliced")).server,
        "raw": internet.tcp(host("raw"), 5432),
    }


async def echo_messages(stream: Stream) -> None:
    """A WebSocket server that says what it hears."""
    protocol = WSConnection(ConnectionType.SERVER)
    while data := await stream.read():
        protocol.receive_data(data)
        for event in protocol.events():
            if isinstance(event, events.Request):
                await stream.write(protocol.send(events.AcceptConnection()))
            elif isinstance(event, events.TextMessage):
                await stream.write(protocol.send(events.TextMessage(event.data)))


class Flow(ABC):
    """One connection. Closed by leaving its `with`."""

    kind: str

    def __init__(self, box: Sandbox) -> None:
        self._numbers = itertools.count(1)
        self.sock: socket.socket = _connect(box, host(self.kind), port(self.kind))
        if self.kind != "raw":
            context = ssl.create_default_context(cafile=box.facts["env"]["SSL_CERT_FILE"])
            self.sock = context.wrap_socket(self.sock, server_hostname=host(self.kind))
        self.begin()

    def __enter__(self) -> "Flow":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def begin(self) -> None:
        """What comes before the first step."""
        return

    @abstractmethod
    def step(self) -> None:
        """Something new goes through, in every direction that the flow has.

        Raises:
            OSError: it is cut, or nothing arrived in time.
            AssertionError: something else arrived.
        """

    def is_cut(self) -> bool:
        """Whether the connection ends within ARRIVES_S. Reads away what still comes."""
        deadline = time.monotonic() + ARRIVES_S
        with contextlib.suppress(TimeoutError):
            while time.monotonic() < deadline:
                try:
                    if not self.sock.recv(65536):
                        return True
                except (ConnectionError, ssl.SSLError) as failure:
                    return not isinstance(failure, TimeoutError)
        return False

    def read_until(self, mark: bytes) -> bytes:
        """What arrives, to the first piece that holds `mark`."""
        got = b""
        while mark not in got:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError(f"{self.kind} ended, with {got[-200:]!r}")
            got += data
        return got


class WebSocketFlow(Flow):
    """Text messages to and fro."""

    kind = "websocket"

    def begin(self) -> None:
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self.sock.sendall(self._protocol.send(events.Request(host=host(self.kind), target="/")))
        assert isinstance(self._hear(), events.AcceptConnection)

    def step(self) -> None:
        word = f"word {next(self._numbers)}"
        self.sock.sendall(self._protocol.send(events.TextMessage(word)))
        heard = self._hear()
        assert isinstance(heard, events.TextMessage), heard
        assert heard.data == word

    def _hear(self) -> events.Event:
        while True:
            for event in self._protocol.events():
                return event
            data = self.sock.recv(65536)
            self._protocol.receive_data(data or None)


class EventsFlow(Flow):
    """Server-sent events; the client has nothing to say."""

    kind = "events"

    def begin(self) -> None:
        self.sock.sendall(f"GET /ticks HTTP/1.1\r\nHost: {host(self.kind)}\r\n\r\n".encode())
        self._got = self.read_until(b"data: 0\n")

    def step(self) -> None:
        # Counted from what has come: nothing may be missing between, whatever was buffered.
        newest = int(self._got.rpartition(b"data: ")[2].partition(b"\n")[0])
        awaited = b"data: %d\n" % (newest + 10)
        while awaited not in self._got:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError("the events ended")
            self._got += data
        assert self._got.index(b"data: %d\n" % (newest + 5)) < self._got.index(awaited)


class UploadFlow(Flow):
    """A POST whose body comes slowly; the server answers after its last byte."""

    kind = "upload"

    def begin(self) -> None:
        head = f"POST /slow HTTP/1.1\r\nHost: {host(self.kind)}\r\n"
        length = f"Content-Length: {UPLOAD_PIECES * len(PIECE)}\r\n\r\n"
        self.sock.sendall((head + length).encode())
        self.sent = 0

    def step(self) -> None:
        self.sock.sendall(PIECE)
        self.sent += 1

    def finish(self) -> bytes:
        """The rest of the body, and the answer to it."""
        while self.sent < UPLOAD_PIECES:
            self.step()
        return self.read_until(b"\r\n\r\n")


class SplicedFlow(Flow):
    """Requests on one connection whose TLS the server ends: nobody between reads them."""

    kind = "spliced"

    def step(self) -> None:
        target = f"/{next(self._numbers)}"
        self.sock.sendall(f"GET {target} HTTP/1.1\r\nHost: {host(self.kind)}\r\n\r\n".encode())
        assert f'"target": "{target}"'.encode() in self.read_until(b"sha256")


class RawFlow(Flow):
    """Bytes of no protocol, to and fro."""

    kind = "raw"

    def step(self) -> None:
        word = b"\0word %d;" % next(self._numbers)
        self.sock.sendall(word)
        assert self.read_until(b";") == word


FLOWS: Final[tuple[type[Flow], ...]] = (
    WebSocketFlow,
    EventsFlow,
    UploadFlow,
    SplicedFlow,
    RawFlow,
)
KINDS: Final = tuple(flow.kind for flow in FLOWS)


def _connect(box: Sandbox, name: str, number: int) -> socket.socket:
    with inside(box.namespace.path):
        raw = DNSRecord.question(name).send(RESOLVER, timeout=ARRIVES_S)
    address = str(DNSRecord.parse(raw).rr[0].rdata)
    sock = box.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(ARRIVES_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect((address, number))
    return sock
