"""The dialer whole: the daemon's channel, a proxy's channel, real connections on loopback."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import pytest
import uvloop

from netmgr.dialer.dialer import DialerRole
from netmgr.dialer.resolution import NameNotResolved, Resolved, Unresolved
from netmgr.inference.scope import endpoint_scope
from netmgr.policy.policy import parse_policy
from netmgr.process.ipc import Answer, Body, Peer, PeerClosed, PeerRefused

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
ANNA = "10.77.0.5"


def policy_text(port: int) -> str:
    return f"""
version: 1
network_policies:
  web:
    endpoints:
      - {{host: api.example.com, port: 443}}
      - {{host: "*.wild.example", port: 443}}
      - {{host: host.openshell.internal, ports: [{port}, 6443]}}
      - {{host: db.corp.example, ports: [5432, 6443]}}
    binaries: [{{path: "/**"}}]
"""


class Book:
    """A resolver that looks names up in a table, and remembers what it was asked."""

    def __init__(self, names: dict[str, list[str] | Unresolved]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def resolve(self, name: str) -> Resolved:
        self.asked.append(name)
        found = self.names.get(name, Unresolved.NXDOMAIN)
        if isinstance(found, Unresolved):
            raise NameNotResolved(name, found)
        return Resolved(tuple(ip_address(text) for text in found), 30.0)


class World:
    """A dialer, one proxy's channel to it, and a server on the host's loopback."""

    def __init__(self, names: dict[str, list[str] | Unresolved], settings: Body) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.book = Book(names)
        self.servers: list[list[tuple[str, int]]] = []
        self.role = DialerRole(self._make_resolver)
        ours, theirs = socket.socketpair()
        self.daemon, self.channel = Peer(theirs), Peer(ours)
        base = {"servers": [["192.0.2.53", 53]], "control_plane_ports": [6443]}
        self.role.open(base | settings, {}, self.channel)
        self.put(policy_text(self.port), 3)
        self.role.serve()

    def _make_resolver(self, servers: Any, **_: float) -> Book:
        self.servers.append(list(servers))
        return self.book

    def put(self, text: str, revision: int) -> None:
        policy = parse_policy(text, "test.yaml")
        self.role.apply({"op": "policy", "digest": policy.digest, "doc": policy.to_doc()})
        op = {"op": "sandbox", "address": ANNA, "name": "anna", "tenant": None, "labels": {}}
        op["scope"] = "anna"
        self.role.apply(op | {"policy": policy.digest, "revision": revision, "names": {}})

    async def add_worker(self, index: int = 0) -> Peer:
        ours, theirs = socket.socketpair()
        await self.role.on_ask("worker", {"index": index}, (theirs.detach(),))
        return Peer(ours)

    def route(
        self, base_url: str, scope: str | None = None, ident: str = "r1", **more: Any
    ) -> None:
        route = {"id": ident, "base_url": base_url, "proxy": None, **more}
        self.role.apply({"op": "inference", "scope": scope, "route": route})


@asynccontextmanager
async def world(
    names: dict[str, list[str] | Unresolved] | None = None, **settings: Any
) -> AsyncIterator[tuple[World, Peer]]:
    place = World(names or {}, settings)
    proxy = await place.add_worker()
    try:
        yield place, proxy
    finally:
        await place.role.close()
        for peer in (proxy, place.daemon, place.channel):
            peer.close()
        place.server.close()
        await asyncio.sleep(0)


def run(test: Callable[[], Awaitable[None]], loop: Any = asyncio.new_event_loop) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(15):
            await test()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(bounded())


def egress(name: str | None, port: int, ip: str | None = None, revision: int = 3) -> Body:
    return {"address": ANNA, "name": name, "ip": ip, "port": port, "revision": revision}


def inference(route: str = "r1", address: str | None = ANNA) -> Body:
    return {"address": address, "purpose": "inference", "route": route}


async def refused(proxy: Peer, body: Body) -> tuple[str, str]:
    with pytest.raises(PeerRefused) as caught:
        await proxy.ask("dial", body)
    return caught.value.code, caught.value.message


def take(answer: Answer) -> socket.socket:
    (fd,) = answer.fds
    return socket.socket(fileno=fd)


@LOOPS
def test_the_host_is_reached_at_its_loopback_and_the_socket_works(loop: Any) -> None:
    async def test() -> None:
        async with world() as (place, proxy):
            answer = await proxy.ask("dial", egress("host.openshell.internal", place.port))
            assert answer.body == {"peer": "127.0.0.1"}
            with take(answer) as sock:
                assert not os.get_blocking(sock.fileno())
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                accepted, _ = place.server.accept()
                with accepted:
                    sock.send(b"hello")
                    assert accepted.recv(16) == b"hello"
            assert place.book.asked == []  # its name is nobody's to resolve
            statistics = await place.role.on_ask("statistics", {}, ())
            assert statistics.body["connected"] == 1
            assert statistics.body["under_way"] == 0

    run(test, loop)


def test_a_refusal_by_policy_says_what_would_allow_it() -> None:
    async def test() -> None:
        async with world() as (_, proxy):
            with pytest.raises(PeerRefused) as caught:
                await proxy.ask("dial", egress("api.entropics.com", 443))
            remedy = caught.value.details["remedy"]
            assert remedy.startswith("netmgr policy update anna --add-endpoint api.entropics.com")

    run(test)


def test_the_dialer_keeps_no_descriptor_of_what_it_handed_over() -> None:
    async def test() -> None:
        async with world() as (place, proxy):
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(5):
                answer = await proxy.ask("dial", egress("host.openshell.internal", place.port))
                take(answer).close()
            await asyncio.sleep(0.05)
            assert len(os.listdir("/proc/self/fd")) == before

    run(test)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (egress("api.entropics.com", 443), "no_matching_rule"),
        (egress("api.example.com", 80), "port_not_allowed"),
        (egress(None, 443, ip="192.0.2.1"), "raw_ip"),
        (egress("api.entropics.com", 443, revision=2), "policy_stale"),
        (egress("api.example.com", 443) | {"address": "10.77.0.9"}, "unknown_caller"),
        (egress("api.example.com", 443), "name_not_resolved"),
        (inference(), "not_configured"),
        ({}, "malformed_request"),
        (egress("api.example.com", 0), "malformed_request"),
        (egress("api.example.com", 70000), "malformed_request"),
        (egress("no name", 443), "malformed_request"),
        (egress(None, 443, ip="0x7f000001"), "malformed_request"),
        (egress(None, 443), "malformed_request"),
        (egress("api.example.com", 443) | {"purpose": "fun"}, "malformed_request"),
        (inference() | {"route": 7}, "malformed_request"),
        (egress("api.example.com", 443) | {"revision": True}, "malformed_request"),
    ],
)
def test_what_is_refused_has_its_reason(body: Body, code: str) -> None:
    async def test() -> None:
        async with world() as (place, proxy):
            assert (await refused(proxy, body))[0] == code
            if code != "name_not_resolved":
                assert place.book.asked == []  # nothing is resolved that was not allowed
            statistics = await place.role.on_ask("statistics", {}, ())
            assert statistics.body["refused"] == {code: 1}

    run(test)


@pytest.mark.parametrize(
    ("name", "port", "addresses", "words"),
    [
        ("api.example.com", 443, ["127.0.0.1"], "loopback"),
        ("api.example.com", 443, ["169.254.169.254"], "metadata"),
        ("api.example.com", 443, ["::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe"], "carries"),
        ("a.wild.example", 443, ["10.0.0.5"], "private use"),
        ("db.corp.example", 6443, ["10.0.0.5"], "control planes"),
        ("db.corp.example", 6443, ["9.9.9.9"], "control planes"),
        ("db.corp.example", 5432, ["10.9.9.9"], "of this host"),
        ("host.openshell.internal", 6443, [], "control planes"),
    ],
)
def test_addresses_that_are_blocked(name: str, port: int, addresses: list[str], words: str) -> None:
    async def test() -> None:
        async with world({name: addresses}, host_addresses=["10.9.9.9"]) as (_, proxy):
            code, message = await refused(proxy, egress(name, port))
            assert code == "address_blocked"
            assert words in message

    run(test)


@pytest.mark.parametrize("cause", list(Unresolved))
def test_an_unresolved_name_says_how(cause: Unresolved) -> None:
    async def test() -> None:
        async with world({"api.example.com": cause}) as (_, proxy):
            code, message = await refused(proxy, egress("api.example.com", 443))
            assert code == "name_not_resolved"
            assert message.startswith("api.example.com ")

    run(test)


@LOOPS
def test_an_own_model_server_may_be_on_loopback(loop: Any) -> None:
    async def test() -> None:
        async with world() as (place, proxy):
            for host in ("127.0.0.1", "localhost", "host.openshell.internal"):
                place.route(f"http://{host}:{place.port}/v1")
                answer = await proxy.ask("dial", inference())
                assert answer.body == {"peer": "127.0.0.1"}
                take(answer).close()
            probe = await proxy.ask("dial", inference(address=None))
            take(probe).close()

    run(test, loop)


def test_only_the_route_in_force_for_the_sandbox_is_dialled() -> None:
    async def test() -> None:
        async with world({"gpu.example": ["127.0.0.1"]}) as (place, proxy):
            place.route(f"http://127.0.0.1:{place.port}", scope="bert", ident="r2")
            assert (await refused(proxy, inference("r2")))[0] == "not_configured"
            place.route(f"http://127.0.0.1:{place.port}", scope="anna", ident="r3")
            take(await proxy.ask("dial", inference("r3"))).close()
            assert (await refused(proxy, inference("r1")))[0] == "not_configured"
            place.role.apply({"op": "inference", "scope": "anna", "route": None})
            assert (await refused(proxy, inference("r3")))[0] == "not_configured"
            place.route("https://gpu.example/v1")  # a name that leads here is no configured address
            assert (await refused(proxy, inference("r1")))[0] == "address_blocked"

    run(test)


def test_an_endpoint_of_a_routing_file_is_dialled_for_all_and_a_little_longer() -> None:
    async def test() -> None:
        async with world() as (place, proxy):
            scope, origin = endpoint_scope("near"), f"http://127.0.0.1:{place.port}"
            place.route(origin, scope=scope, ident="e1")
            take(await proxy.ask("dial", inference("e1"))).close()
            place.route(origin, scope=scope, ident="e2")
            for ident in ("e1", "e2"):  # a plan that was made before is carried out
                take(await proxy.ask("dial", inference(ident))).close()
            place.role.apply({"op": "inference", "scope": scope, "route": None})
            take(await proxy.ask("dial", inference("e2"))).close()
            place.role.apply({"op": "inference.revoke", "provider": "x", "scope": None})
            assert (await refused(proxy, inference("e2")))[0] == "not_configured"

    run(test)


@pytest.mark.parametrize(
    ("dial", "words"),
    [
        ({"hosts": ["*.eu.example"], "cidrs": []}, "none of the hosts"),
        ({"hosts": [], "cidrs": ["192.0.2.0/24", "2001:db8::/32"]}, "outside of the networks"),
        (
            {"hosts": ["127.0.0.1"], "cidrs": ["10.0.0.0/8"]},
            "outside of the networks",
        ),
    ],
)
def test_an_endpoint_is_not_dialled_elsewhere(dial: dict[str, list[str]], words: str) -> None:
    async def test() -> None:
        async with world() as (place, proxy):
            origin, scope = f"http://127.0.0.1:{place.port}", endpoint_scope("near")
            place.route(origin, scope=scope, ident="e1", dial=dial)
            code, message = await refused(proxy, inference("e1"))
            assert code == "address_blocked"
            assert words in message
            fits = {"hosts": ["127.0.0.1"], "cidrs": ["127.0.0.0/8"]}
            place.route(origin, scope=scope, ident="e2", dial=fits)
            take(await proxy.ask("dial", inference("e2"))).close()
            behind = f"http://127.0.0.1:{place.port}"
            gpu = "https://gpu.eu.example/v1"
            place.route(gpu, scope=scope, ident="e3", dial=fits | {"hosts": []}, proxy=behind)
            assert "behind an upstream proxy" in (await refused(proxy, inference("e3")))[1]

    run(test)


def test_a_closed_port_is_unreachable_at_once() -> None:
    async def test() -> None:
        async with world() as (place, proxy):
            place.server.close()
            code, message = await refused(proxy, egress("host.openshell.internal", place.port))
            assert code == "upstream_unreachable"
            assert "127.0.0.1: Connection refused; ::1: " in message

    run(test)


def test_a_policy_change_while_connecting_counts() -> None:
    async def test() -> None:
        async with world() as (place, proxy):
            other = policy_text(place.port + 1 if place.port < 65535 else 1)
            asking = asyncio.ensure_future(
                proxy.ask("dial", egress("host.openshell.internal", place.port))
            )
            place.put(other, 4)
            with pytest.raises(PeerRefused) as caught:
                await asking
            assert caught.value.code == "policy_stale"

    run(test)


def test_settings_change_while_it_runs() -> None:
    async def test() -> None:
        async with world({"a.wild.example": ["127.0.0.1"]}) as (place, proxy):
            await place.role.on_ask("settings", {"servers": [["192.0.2.54", 5353]]}, ())
            assert place.servers == [[("192.0.2.53", 53)], [("192.0.2.54", 5353)]]
            await place.role.on_ask("settings", {"host_addresses": ["10.0.0.5"]}, ())
            assert len(place.servers) == 2  # the same servers: the cache is kept
            place.book.names["db.corp.example"] = ["10.0.0.5"]
            code, _ = await refused(proxy, egress("db.corp.example", 5432))
            assert code == "address_blocked"
            with pytest.raises(ValueError, match="does not appear"):
                await place.role.on_ask("settings", {"host_addresses": ["nowhere"]}, ())

    run(test)


def test_a_worker_that_is_replaced_loses_its_channel() -> None:
    async def test() -> None:
        async with world() as (place, proxy):
            successor = await place.add_worker(0)
            await asyncio.sleep(0.05)
            assert proxy.closed
            assert (await refused(successor, {}))[0] == "malformed_request"
            statistics = await place.role.on_ask("statistics", {}, ())
            assert statistics.body["workers"] == 1
            successor.close()
            await asyncio.sleep(0.05)
            statistics = await place.role.on_ask("statistics", {}, ())
            assert statistics.body["workers"] == 0

    run(test)


def test_questions_that_are_none_are_refused_and_descriptors_closed() -> None:
    async def test() -> None:
        async with world() as (place, proxy):
            for body in ({"index": -1}, {"index": "0"}, {}):
                fd = os.dup(1)
                with pytest.raises(PeerRefused, match="expected an index"):
                    await place.role.on_ask("worker", body, (fd,))
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(fd)
            with pytest.raises(PeerRefused, match="does not answer"):
                await place.role.on_ask("probe", {}, ())
            with pytest.raises(PeerRefused, match="does not answer"):
                await proxy.ask("statistics", {})
            with pytest.raises(PeerClosed):  # no question of a proxy comes with a descriptor
                await proxy.ask("dial", {}, fds=(1,))

    run(test)
