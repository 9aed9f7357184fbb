"""Owns: a proxy worker without a kernel fence: real sockets on loopback, real TLS, real channels.

The worker's role runs in the test's loop. The daemon's and the dialer's ends are real Peers: leaves
are signed by a real authority, dials are answered with connected loopback sockets. Only TPROXY is
missing: the rig tells which destination each client socket stands for.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeVar

import uvloop

from netmgr.keys.authority import Authority
from netmgr.policy.policy import parse_policy
from netmgr.process.ipc import Answer, Body, Peer, PeerRefused
from netmgr_proxy.peer import Caller
from netmgr_proxy.server import ProxyRole
from netmgr_proxy.tally import make_tally
from netmgr_proxy.vitals import make_vitals

T = TypeVar("T")
SANDBOX: Final = "10.77.0.5"
TEST_DEADLINE_S: Final = 20.0
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
REST_POLICY: Final = """
version: 1
network_policies:
  api:
    endpoints:
      - host: api.test
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /**}
          - allow: {method: POST, path: /ok/**}
      - {host: audit.test, port: 443, protocol: rest, enforcement: audit, access: read-only}
      - {host: plain.test, port: 8080, protocol: rest, enforcement: enforce, access: full}
    binaries: [{path: /**}]
"""


# libuv makes one pipe for signals per process, with the first loop (src/unix/signal.c); made here,
# it is not taken for a leak of whichever test comes first.
uvloop.new_event_loop().close()


def run(work: Awaitable[T], *, on_uvloop: bool = True) -> T:
    """Run a test's coroutine in a loop of its own, with a deadline."""

    async def bounded() -> T:
        async with asyncio.timeout(TEST_DEADLINE_S):
            return await work

    factory = uvloop.new_event_loop if on_uvloop else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(bounded())


@cache
def sandbox_authority() -> Authority:
    """The CA that the sandbox trusts."""
    return Authority.create("netmgr", "box", time.time())


@cache
def internet_authority() -> Authority:
    """The CA that the worker trusts for origins."""
    return Authority.create("internet", "roots", time.time())


def client_context(*, alpn: list[str] | None = None) -> ssl.SSLContext:
    """What a program in the sandbox uses."""
    context = ssl.create_default_context(cadata=sandbox_authority().certificate_pem)
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    return context


def server_context(name: str, tmp_pem: Callable[[str], str]) -> ssl.SSLContext:
    """What an origin called `name` uses."""
    leaf = internet_authority().sign_leaf(name, time.time())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_pem(leaf.key_pem.reveal() + leaf.chain_pem))
    return context


@dataclass
class Origin:
    """A server of the test's internet. `heard` is what each connection received."""

    port: int
    heard: list[bytearray] = field(default_factory=list)
    ended: list[asyncio.Event] = field(default_factory=list)

    @property
    def bytes(self) -> bytes:
        """All that was received, over all connections."""
        return b"".join(bytes(part) for part in self.heard)


class Tee:
    """A reader that notes what is read."""

    def __init__(self, reader: asyncio.StreamReader, into: bytearray) -> None:
        self._reader = reader
        self._into = into

    async def read(self, most: int = 65536) -> bytes:
        data = await self._reader.read(most)
        self._into += data
        return data

    async def until(self, mark: bytes) -> bytes:
        """Read until `mark`, in pieces."""
        data = b""
        while mark not in data:
            piece = await self.read()
            if not piece:
                raise EOFError(data)
            data += piece
        return data


Script = Callable[[Tee, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Rig:
    """The worker and its surroundings."""

    role: ProxyRole
    daemon: Peer
    port: int
    records: list[Body] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    destinations: dict[int, Caller] = field(default_factory=dict)
    origins: dict[tuple[str, int], int] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    dials: list[Body] = field(default_factory=list)
    dial_gate: asyncio.Event = field(default_factory=asyncio.Event)
    dialled: list[socket.socket] = field(default_factory=list)
    servers: list[asyncio.AbstractServer] = field(default_factory=list)
    revision: int = 1
    tmp_pem: Callable[[str], str] = lambda pem: pem

    # -- the world -------------------------------------------------------------------------

    def set_policy(self, text: str, *, address: str = SANDBOX, judge: bool = True) -> None:
        """Give the sandbox a policy; its exact names get private addresses."""
        policy = parse_policy(text, "test.yaml")
        for name in (*policy.exact_names(), "inference.local"):
            self.names.setdefault(name, f"198.18.0.{len(self.names) + 1}")
        self.role.apply({"op": "policy", "digest": policy.digest, "doc": policy.to_doc()})
        names = {
            n: ip for n, ip in self.names.items() if n in (*policy.exact_names(), "inference.local")
        }
        self.role.apply(
            {
                "op": "sandbox",
                "address": address,
                "name": "box",
                "tenant": None,
                "labels": {},
                "policy": policy.digest,
                "revision": self.revision,
                "names": names,
                "scope": "box",
            }
        )
        self.revision += 1
        if judge:
            self.role.apply({"op": "flow.judge", "address": address})

    async def origin(
        self, name: str, port: int, script: Script, *, tls: str | None = None
    ) -> Origin:
        """Serve `script` as `name`:`port`.

        Args:
            tls: the name in its certificate; None for plain TCP.
        """
        origin = Origin(port)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard, ended = bytearray(), asyncio.Event()
            origin.heard.append(heard)
            origin.ended.append(ended)
            try:
                await script(Tee(reader, heard), writer)
                while await Tee(reader, heard).read():
                    pass
            except (OSError, EOFError):
                pass
            finally:
                ended.set()
                writer.close()

        context = server_context(tls, self.tmp_pem) if tls else None
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        self.servers.append(server)
        self.origins[(name, port)] = server.sockets[0].getsockname()[1]
        return origin

    # -- a program in the sandbox ----------------------------------------------------------

    async def connect(
        self, name: str, port: int, *, address: str = SANDBOX, ip: str | None = None
    ) -> socket.socket:
        """A TCP connection of the sandbox to `name`:`port` (or to a literal address)."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        sport = sock.getsockname()[1]
        self.destinations[sport] = Caller(address, sport, ip or self.names[name], port)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        except OSError:
            sock.close()
            raise
        return sock

    async def touch(self, name: str, port: int, **more: Any) -> bytes:
        """Connect and read one byte."""
        sock = await self.connect(name, port, **more)
        with sock:
            return await asyncio.get_running_loop().sock_recv(sock, 1)

    async def open(
        self, name: str, port: int, *, tls: bool = False, sni: str | None = None, **more: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The same as streams."""
        sock = await self.connect(name, port, **more)
        context = client_context() if tls else None
        return await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname=(sni or name) if tls else None
        )

    async def exchange(self, name: str, port: int, request: bytes, *, tls: bool = False) -> bytes:
        """Send bytes and read until the worker closes."""
        reader, writer = await self.open(name, port, tls=tls)
        writer.write(request)
        answer = await reader.read(-1)
        writer.close()
        return answer

    # -- what was recorded -----------------------------------------------------------------

    async def record(self, reason: str, *, kind: str | None = None) -> Body:
        """The first record with that reason; waits for it."""
        for _ in range(300):
            for record in self.records:
                if record["reason"] == reason and kind in (None, record["kind"]):
                    return record
            await asyncio.sleep(0.01)
        raise AssertionError(f"no record {reason}; there are {self.records}")

    # -- the daemon's and the dialer's side ------------------------------------------------

    def find(self, sock: socket.socket) -> Caller:
        return self.destinations[sock.getpeername()[1]]

    async def answer_daemon(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        if what == "leaf":
            leaf = sandbox_authority().sign_leaf(body["name"], time.time())
            return Answer({"chain": leaf.chain_pem, "key": leaf.key_pem.reveal()})
        if what == "owner":
            return Answer({"process": {"exe": "/usr/bin/curl", "pid": 7}})
        raise PeerRefused("unsupported", what)

    def hear(self, what: str, body: Body, fds: tuple[int, ...]) -> None:
        if what == "records":
            self.records += body["records"]

    async def answer_dial(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        self.dials.append(body)
        await self.dial_gate.wait()
        name = body["name"] or body["ip"]
        if name in self.refusals:
            raise PeerRefused(self.refusals[name], f"{name}: {self.refusals[name]}")
        sock = socket.socket()
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", self.origins[(name, body["port"])]))
        return Answer({"peer": "203.0.113.5"}, (sock.detach(),))


def answer_each(response: bytes) -> Callable[[Tee, asyncio.StreamWriter], Awaitable[None]]:
    """An origin that answers every head (of requests without a body) with `response`."""

    async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
        held = b""
        while True:
            data = await reader.read()
            if not data:
                return
            held += data
            while b"\r\n\r\n" in held:
                _, _, held = held.partition(b"\r\n\r\n")
                writer.write(response)

    return script


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, head and body of one response with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return int(head.split()[1]), head, await reader.readexactly(length)


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


@asynccontextmanager
async def rig(tmp_path: Any, policy: str, **limits: Any) -> AsyncIterator[Rig]:
    """A running worker with one sandbox that has `policy`."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours, theirs = _pair()
    dial_ours, dial_theirs = _pair()
    found: list[Rig] = []
    role = ProxyRole(lambda sock: found[0].find(sock))
    made = Rig(role, Peer(ours), listener.getsockname()[1])
    found.append(made)
    made.daemon.on_ask, made.daemon.on_tell = made.answer_daemon, made.hear
    made.dial_gate.set()
    dialer = Peer(dial_ours, on_ask=made.answer_dial)
    numbers = iter(range(1000))

    def tmp_pem(pem: str) -> str:
        path = tmp_path / f"{next(numbers)}.pem"
        path.write_text(pem)
        return str(path)

    made.tmp_pem = tmp_pem
    worker_end = Peer(theirs, on_ask=role.on_ask)
    settings = {"ca_roots": internet_authority().certificate_pem, "limits": limits}
    tally, vitals = make_tally(1), make_vitals(1)
    fds = {"listener": listener.detach(), "tally": tally, "vitals": vitals}
    role.open({"index": 0, "workers": 1, **settings}, fds, worker_end)
    os.close(tally)
    os.close(vitals)
    await role.on_ask("dialer", {}, (dial_theirs.detach(),))
    made.set_policy(policy)
    role.serve()
    try:
        yield made
    finally:
        await role.close()
        for server in made.servers:
            server.close()
        for peer in (made.daemon, worker_end, dialer):
            peer.close()
        await asyncio.sleep(0)
