"""Owns: the internet of a world: its addresses, name servers and servers, on one thread.

The servers are coroutines of the test's own process whose sockets live in the internet's namespace:
a test scripts them with Python and reads what they saw from variables.
Knows nothing of netmgr's daemon; of netmgr it takes only the shipped model server.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from netmgr.testing.model_script import parse_script
from netmgr.testing.model_server import ModelServer, running_model_server
from world import web
from world.authority import Authority
from world.namespaces import Namespace, inside
from world.streams import Connection, Handler, Server, Stream
from world.zone import Zone

# RFC 5737: the addresses of the public servers. Every address of these networks answers.
SERVERS: Final = ipaddress.ip_network("203.0.113.0/24")
OTHERS: Final = ipaddress.ip_network("198.51.100.0/24")
PUBLIC_V6: Final = ipaddress.ip_network("2001:db8:1::/48")  # RFC 3849
PUBLIC: Final = (str(SERVERS), str(OTHERS), "2001:db8::/32")

# What a sandbox must not reach through any name: it answers here, so a leak would be seen.
FORBIDDEN: Final = (
    "10.99.0.0/16",
    "100.64.0.0/16",
    "169.254.169.254/32",
    "168.63.129.16/32",
    "8.8.8.8/32",
    "1.1.1.1/32",
    "9.9.9.9/32",
)

DNS_SERVERS: Final = ("203.0.113.53", "203.0.113.54")
END_DEADLINE_S: Final = 10.0  # the thread cancels all and ends; it waits for nobody outside
_SNI: Final = "world_sni"  # attribute under which a handshake notes the name it was given


@dataclass(slots=True)
class Site:
    """A web server with a name: what was asked of it, and how it behaves."""

    server: Server
    app: web.Web

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def address(self) -> str:
        return self.server.address

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def requests(self) -> list[web.Request]:
        """Every whole request that came."""
        return self.app.requests

    @property
    def connections(self) -> list[Connection]:
        """Every connection that came."""
        return self.server.connections

    @property
    def received(self) -> bytes:
        """Every byte that came, after TLS."""
        return self.server.received

    def behave(self, behaviour: web.Behaviour) -> None:
        """Behave so from the next request on."""
        self.app.behaviour = behaviour

    def forget(self) -> None:
        """Begin the records anew."""
        self.app.forget()
        self.server.forget()


@dataclass(slots=True)
class Model:
    """A scripted model upstream: what a provider saw, and what it says."""

    name: str
    address: str
    server: ModelServer

    @property
    def base_url(self) -> str:
        """What an operator writes into the provider."""
        return f"https://{self.name}/v1"

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Every request as netmgr.testing.model_server records it."""
        return list(self.server.requests)

    def script(self, *rules: dict[str, Any]) -> None:
        """Say this from now on (the rules of netmgr.testing.model_script); nothing: the usual."""
        self.server.script = parse_script(list(rules))

    def forget(self) -> None:
        """Begin the records and the script anew."""
        self.server.events.clear()
        self.script()


class Internet:
    """All servers outside. `close` it."""

    def __init__(self, namespace: Namespace, authority: Authority) -> None:
        self.namespace = namespace
        self.authority = authority
        self.zone = Zone()
        self._free = chain(SERVERS.hosts(), OTHERS.hosts())
        self._listeners: list[socket.socket] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()  # model servers, ended by the thread
        self._thread = threading.Thread(target=self._run, name="internet", daemon=True)
        self._thread.start()
        for address in DNS_SERVERS:
            self._serve_dns(address)

    # -- what a test makes -----------------------------------------------------------------

    def address(self) -> str:
        """A public address that no server has yet."""
        taken = {*DNS_SERVERS}
        return next(str(a) for a in self._free if str(a) not in taken)

    def https(
        self,
        name: str,
        behaviour: web.Behaviour = web.echo,
        *,
        port: int = 443,
        address: str | None = None,
        tls: ssl.SSLContext | None = None,
        publish: bool = True,
    ) -> Site:
        """A site over TLS, with a leaf for `name` unless `tls` says otherwise."""
        context = tls or self.authority.server_context(name)
        return self._site(name, behaviour, port, address, context, publish)

    def http(
        self,
        name: str,
        behaviour: web.Behaviour = web.echo,
        *,
        port: int = 80,
        address: str | None = None,
        publish: bool = True,
    ) -> Site:
        """A site over plain HTTP."""
        return self._site(name, behaviour, port, address, None, publish)

    def tcp(
        self,
        name: str,
        port: int,
        handler: Handler = web.echo_bytes,
        *,
        address: str | None = None,
        tls: ssl.SSLContext | None = None,
        publish: bool = True,
    ) -> Server:
        """A server of any protocol. `publish` makes `name` resolve to it."""
        where = address or self.address()
        server = Server(name, where, port, handler, tls)
        if tls is not None:
            tls.sni_callback = _note_sni
        self._listen(server, self.namespace)
        if publish:
            self.zone.set(name, where)
        return server

    def model(self, name: str) -> Model:
        """A model upstream over TLS, for a provider's base URL."""
        address = self.address()
        context = self.authority.server_context(name)
        self.zone.set(name, address)
        work = self._run_model(address, context)
        server = asyncio.run_coroutine_threadsafe(work, self._loop).result(END_DEADLINE_S)
        return Model(name, address, server)

    def listen_in(
        self, namespace: Namespace, address: str, port: int, handler: Handler = web.echo_bytes
    ) -> Server:
        """A plain server elsewhere: on the host, say, for what a sandbox may or may not reach."""
        server = Server(f"{namespace.name}:{port}", address, port, handler, None)
        self._listen(server, namespace)
        return server

    def close(self) -> None:
        """End every server, connection and the thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(timeout=END_DEADLINE_S)
        assert not self._thread.is_alive(), "the internet does not end"

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._live())
        asyncio.set_event_loop(None)

    async def _live(self) -> None:
        await self._stopped.wait()
        await self._stack.aclose()
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in self._listeners:
            with contextlib.suppress(ValueError):
                self._loop.remove_reader(sock)
            sock.close()
        await asyncio.sleep(0)  # transports that were closed above end in the loop's next turn

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _run_model(self, address: str, context: ssl.SSLContext) -> ModelServer:
        # The listening socket is made by this thread while it stands in the internet's namespace;
        # nothing else makes sockets in it (see Namespace.socket).
        with inside(self.namespace.path):
            running = running_model_server(address, 443, tls=context)
            return await self._stack.enter_async_context(running)

    # -- connections -----------------------------------------------------------------------

    def _site(
        self,
        name: str,
        behaviour: web.Behaviour,
        port: int,
        address: str | None,
        tls: ssl.SSLContext | None,
        publish: bool,
    ) -> Site:
        app = web.Web(behaviour)
        server = self.tcp(name, port, app.handler, address=address, tls=tls, publish=publish)
        return Site(server, app)

    def _listen(self, server: Server, namespace: Namespace) -> None:
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        sock = namespace.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((server.address, server.port))
        except OSError as taken:
            sock.close()
            raise AssertionError(f"{server}: another server of this world is there") from taken
        sock.listen(1024)
        sock.setblocking(False)
        self._listeners.append(sock)
        self._loop.call_soon_threadsafe(lambda: self._start(self._accept(sock, server)))

    async def _accept(self, sock: socket.socket, server: Server) -> None:
        while True:
            client, peer = await self._loop.sock_accept(sock)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(peer[:2], client.getsockname()[:2])
            server.add(connection)
            self._start(self._serve(client, server, connection))

    async def _serve(self, sock: socket.socket, server: Server, connection: Connection) -> None:
        reader = asyncio.StreamReader(limit=1024 * 1024)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=server.tls
            )
        except (OSError, asyncio.CancelledError) as failure:
            connection.ended = f"tls: {failure}"
            sock.close()
            return
        connection.sni = getattr(transport.get_extra_info("ssl_object"), _SNI, None)
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        stream = Stream(reader, writer, connection)
        try:
            await server.handler(stream)
            connection.ended = "closed" if reader.at_eof() else connection.ended
        except (OSError, asyncio.CancelledError):
            connection.ended = "reset"
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    # -- names -----------------------------------------------------------------------------

    def _serve_dns(self, address: str) -> None:
        udp = self.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((address, 53))
        udp.setblocking(False)
        self._listeners.append(udp)
        self._loop.call_soon_threadsafe(
            self._loop.add_reader, udp, lambda: self._answer_udp(udp, address)
        )

        async def serve_tcp(stream: Stream) -> None:
            await self._answer_tcp(stream, address)

        self._listen(Server("dns", address, 53, serve_tcp, None), self.namespace)

    def _answer_udp(self, sock: socket.socket, server: str) -> None:
        with contextlib.suppress(BlockingIOError):
            data, peer = sock.recvfrom(65535)
            found = self.zone.respond(data, transport="udp", server=server, source=peer[0])
            if found.data is not None:
                self._loop.call_later(found.delay_s, sock.sendto, found.data, peer)

    async def _answer_tcp(self, stream: Stream, server: str) -> None:
        buffer = b""
        while data := await stream.read():
            buffer += data
            while len(buffer) >= 2 and len(buffer) >= (end := 2 + int.from_bytes(buffer[:2])):
                message, buffer = buffer[2:end], buffer[end:]
                source = stream.connection.peer[0]
                found = self.zone.respond(message, transport="tcp", server=server, source=source)
                if found.data is not None:
                    await asyncio.sleep(found.delay_s)
                    await stream.write(len(found.data).to_bytes(2) + found.data)


def _note_sni(sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    setattr(sock, _SNI, name)


def routes() -> Iterable[str]:
    """`ip` commands that make every address of the internet local to its namespace."""
    for network in (str(SERVERS), str(OTHERS), *FORBIDDEN):
        yield f"route add local {network} dev lo"
    yield f"route add local {PUBLIC_V6} dev lo"
