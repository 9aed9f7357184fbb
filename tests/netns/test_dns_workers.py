"""The dns worker and the dialer as they run in production: own user, no capability, an empty root.

Whatever they would load or open only when they need it fails here.
"""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import dnslib
import pytest
from world import World
from world.internet import DNS_SERVERS, PUBLIC
from world.namespaces import inside

from netmgr.policy.policy import parse_policy
from netmgr.process.ipc import Answer, Body, Peer, PeerRefused
from netmgr.process.supervise import Launch, Supervisor, Worker, WorkerSpec

pytestmark = pytest.mark.root

ANNA = "127.0.0.11"
SERVER = "127.0.0.53"
NOBODY = 65534
POLICY = """
version: 1
network_policies:
  web:
    endpoints:
      - {host: page.test, port: 443}
      - {host: "*.wild.test", port: 443}
      - {host: rebind.test, port: 443}
      - {host: inner.test, port: 443}
      - {host: own.test, port: 443}
    binaries: [{path: "/**"}]
"""
NAMES = {"inference.local": "198.18.0.1", "page.test": "198.18.0.2"}


@pytest.fixture(scope="module")
def bare() -> Iterator[World]:
    """A world without a daemon, shared by this file."""
    with World() as made:
        yield made


def full_state() -> list[Body]:
    policy = parse_policy(POLICY, "test.yaml")
    sandbox = {"op": "sandbox", "address": ANNA, "name": "anna", "tenant": None, "labels": {}}
    return [
        {"op": "policy", "digest": policy.digest, "doc": policy.to_doc()},
        sandbox | {"policy": policy.digest, "revision": 1, "names": NAMES, "scope": "anna"},
    ]


@asynccontextmanager
async def worker(
    world: World, kind: str, settings: Body, fds: dict[str, int], records: list[Body]
) -> AsyncIterator[Worker]:
    """A confined worker in the world's host namespace."""
    netns = os.open(world.host.path, os.O_RDONLY)
    supervisor = Supervisor()

    async def on_ask(what: str, body: Body, _: tuple[int, ...]) -> Answer:
        names = {body["name"]: "198.18.1.1"}
        op = {"op": "names", "address": body["address"], "names": names}
        await supervisor.change(lambda _: [op])
        return Answer({"ip": "198.18.1.1", "ttl": 30})

    def on_tell(what: str, body: Body, _: tuple[int, ...]) -> None:
        records.append(body)

    with tempfile.TemporaryDirectory() as empty:
        confine = {"uid": NOBODY, "gid": NOBODY, "root": empty}
        spec = WorkerSpec(
            kind=kind,
            index=0,
            launch=lambda: Launch(settings, {"netns": netns, **fds}, confine),
            full_state=full_state,
            on_ask=on_ask,
            on_tell=on_tell,
        )
        try:
            added = supervisor.add(spec)
            await supervisor.wait_ready()
            yield added
        finally:
            await supervisor.stop()
            os.close(netns)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(40):
            await test()

    asyncio.run(bounded())


def ask(world: World, name: str, kind: str, *, tcp: bool) -> dnslib.DNSRecord:
    """One query from the sandbox's address; the thread enters the world for it."""
    query = dnslib.DNSRecord.question(name, kind)
    query.add_ar(dnslib.EDNS0(udp_len=1232))
    form = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with world.host.socket(socket.AF_INET, form) as sock:
        sock.settimeout(5)
        sock.bind((ANNA, 0))
        sock.connect((SERVER, 53))
        wire = bytes(query.pack())
        sock.sendall(len(wire).to_bytes(2, "big") + wire if tcp else wire)
        answer = sock.recv(4096)
    return dnslib.DNSRecord.parse(answer[2:] if tcp else answer)


@pytest.mark.parametrize("tcp", [False, True])
def test_a_confined_dns_worker_answers_every_shape(bare: World, tcp: bool) -> None:
    async def test() -> None:
        records: list[Body] = []
        with inside(bare.host.path):
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind(("0.0.0.0", 53))
            listener = socket.create_server(("0.0.0.0", 53))
        with closing(udp), closing(listener):
            fds = {"dns_udp": udp.fileno(), "dns_tcp": listener.fileno()}
            async with worker(bare, "dns", {}, fds, records) as dns:
                shapes = [
                    ("page.test", "A", 0, "198.18.0.2"),
                    ("inference.local", "A", 0, "198.18.0.1"),
                    ("new.wild.test", "A", 0, "198.18.1.1"),
                    ("2.0.18.198.in-addr.arpa", "PTR", 0, "page.test."),
                    ("page.test", "AAAA", 0, None),
                    ("page.test", "HTTPS", 0, None),
                    ("nowhere.test", "A", 3, None),
                    ("localhost", "AAAA", 0, "::1"),
                ]
                for name, kind, rcode, data in shapes:
                    answer = await asyncio.to_thread(ask, bare, name, kind, tcp=tcp)
                    assert answer.header.rcode == rcode, name
                    assert [str(rr.rdata) for rr in answer.rr] == ([data] if data else []), name
                numbers = (await dns.peer.ask("statistics")).body
                assert (numbers["queries"], numbers["malformed"]) == (len(shapes), 0)
            assert {record["reason"] for record in records} == {"allowed", "no_matching_rule"}
        assert bare.internet.zone.asked("nowhere.test") == []

    run(test)


async def dial(channel: Peer, name: str) -> str:
    """Where a name was dialled, or the reason why not."""
    body = {"address": ANNA, "name": name, "ip": None, "port": 443, "revision": 1}
    try:
        answer = await channel.ask("dial", body, deadline_s=12)
    except PeerRefused as refusal:
        return refusal.code
    for fd in answer.fds:
        os.close(fd)
    return str(answer.body["peer"])


def settings(**more: Any) -> Body:
    servers = [[address, 53] for address in DNS_SERVERS]
    return {"servers": servers, "treat_as_public": list(PUBLIC), "host_addresses": []} | more


@asynccontextmanager
async def dialer(world: World, **more: Any) -> AsyncIterator[Peer]:
    """A proxy's channel to a confined dialer."""
    async with worker(world, "dialer", settings(**more), {}, []) as process:
        ours, theirs = socket.socketpair()
        with theirs:
            await process.peer.ask("worker", {"index": 0}, fds=[theirs.fileno()])
        channel = Peer(ours)
        try:
            yield channel
        finally:
            channel.close()


def test_a_confined_dialer_resolves_guards_and_connects(bare: World) -> None:
    site = bare.internet.https("page.test")
    zone = bare.internet.zone
    zone.set("page.test", site.address, truncate=True)  # the answer comes over TCP
    zone.set("a.wild.test", alias="page.test")
    zone.set("b.wild.test", "10.99.0.1")
    zone.set("loop.wild.test", alias="loop.wild.test")
    zone.set("rebind.test", "127.0.0.1", site.address)
    zone.set("inner.test", "169.254.169.254", "168.63.129.16", "::ffff:169.254.169.254")
    zone.set("own.test", "192.0.2.1", "2001:db8::1")  # the host's own, which nobody told it

    async def test() -> None:
        async with dialer(bare) as channel:
            assert await dial(channel, "page.test") == site.address
            assert await dial(channel, "a.wild.test") == site.address
            assert await dial(channel, "b.wild.test") == "address_blocked"
            assert await dial(channel, "loop.wild.test") == "name_not_resolved"
            assert await dial(channel, "gone.wild.test") == "name_not_resolved"
            assert await dial(channel, "rebind.test") == site.address
            assert await dial(channel, "inner.test") == "address_blocked"
            assert await dial(channel, "own.test") == "address_blocked"
            assert await dial(channel, "denied.test") == "no_matching_rule"
        assert zone.asked("denied.test") == []

    run(test)


def test_the_second_server_serves_when_the_first_is_silent(bare: World) -> None:
    site = bare.internet.https("page.test")
    bare.internet.zone.set("page.test", site.address)
    servers = [["203.0.113.99", 53], [DNS_SERVERS[1], 53]]

    async def test() -> None:
        async with dialer(bare, servers=servers, dns_try_s=0.3) as channel:
            assert await dial(channel, "page.test") == site.address
        assert bare.internet.zone.asked("page.test")[-1].server == DNS_SERVERS[1]

    run(test)


def test_a_confined_worker_has_nothing_left(bare: World) -> None:
    async def test() -> None:
        async with worker(bare, "dialer", settings(), {}, []) as process:
            status = Path(f"/proc/{process.pid}/status").read_text()
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert fields["CapEff"].strip("0") == ""
            assert fields["NoNewPrivs"] == "1"
            assert fields["Uid"].split() == [str(NOBODY)] * 4
            assert os.stat(f"/proc/{process.pid}/root").st_ino != os.stat("/").st_ino

    run(test)
