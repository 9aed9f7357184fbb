"""Every way out that a sandbox with raw sockets can try, against captures on every other link.

The attacker sends hand-made frames on its own eth0. Whatever it gets back: no frame of it may be
seen at the neighbour, at the host or in the internet, no canary socket in the hub may hear it, and
the neighbour's own flow goes on without an error.
"""

import contextlib
import itertools
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from attacks import packets
from attacks.vectors import GATEWAY, VECTORS, Field
from dnslib import DNSRecord
from world import Sandbox, World
from world.namespaces import Namespace, inside
from world.streams import Server

pytestmark = pytest.mark.root

POLICY = """\
version: 1
network_policies:
  db:
    endpoints: [{host: echo.attack.test, port: 5432}]
    binaries: [{path: "/**"}]
"""
NAME = "echo.attack.test"
CANARY_PORTS = (9997, 9998)
RAW_CANARIES = (1, 2, 4, 47, 50, 51, 58, 89, 132, 253)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Range:
    """The shooting range: who shoots, who must not be hit, and what listens for hits."""

    world: World
    attacker: Sandbox
    neighbour: Sandbox
    field: Field
    server: Server
    flow: socket.socket
    canaries: list[socket.socket]

    def echo(self) -> None:
        """The neighbour's flow lives."""
        word = b"\0echo-%d" % next(_numbers)
        self.flow.sendall(word)
        assert self.flow.recv(1000) == word

    def fire(self, frames: list[bytes]) -> None:
        """Send frames on the attacker's link."""
        with self.attacker.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("eth0", 0))
            for frame in frames:
                sock.send(frame)

    def heard(self) -> list[bytes]:
        """What the canaries in the hub got."""
        found = []
        for canary in self.canaries:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                if canary.type == socket.SOCK_STREAM:
                    connection, peer = canary.accept()
                    connection.close()
                    found.append(repr(peer).encode())
                else:
                    found.append(canary.recv(65535))
        return found


def hardware_address(namespace: Namespace, link: str) -> bytes:
    """The MAC of a link."""
    text = namespace.run("ip", "link", "show", link).stdout
    found = re.search(r"link/ether ([0-9a-f:]{17})", text)
    assert found, text
    return bytes.fromhex(found[1].replace(":", ""))


def resolve(sandbox: Sandbox, name: str) -> str:
    """The private address that stands for `name` in a sandbox."""
    with inside(sandbox.namespace.path):
        raw = DNSRecord.question(name).send(GATEWAY, timeout=2)
    return str(DNSRecord.parse(raw).rr[0].rdata)


def open_canaries(hub: Namespace) -> list[socket.socket]:
    """Sockets in the hub that nobody may reach."""
    made = []
    for port in CANARY_PORTS:
        stream = hub.socket(socket.AF_INET, socket.SOCK_STREAM)
        stream.bind(("0.0.0.0", port))
        stream.listen(10)
        datagram = hub.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagram.bind(("0.0.0.0", port))
        lite = hub.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)
        lite.bind(("0.0.0.0", port))
        made += [stream, datagram, lite]
    made += [hub.socket(socket.AF_INET, socket.SOCK_RAW, number) for number in RAW_CANARIES]
    for sock in made:
        sock.setblocking(False)
    return made


@pytest.fixture(scope="module")
def arena(world: World) -> Iterator[Range]:
    """Two sandboxes, a flow of the one that is not attacking, canaries and captures."""
    server = world.internet.tcp(NAME, 5432)
    attacker = world.sandbox("attacker", POLICY)
    neighbour = world.sandbox("neighbour", POLICY, watch=True)
    hub = world.netmgrd.hub
    flow = neighbour.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    flow.settimeout(5)
    flow.connect((resolve(neighbour, NAME), 5432))
    field = Field(
        me=attacker.address,
        mac=hardware_address(attacker.namespace, "eth0"),
        hub_mac=hardware_address(hub, attacker.link),
        neighbour=neighbour.address,
        neighbour_mac=hardware_address(neighbour.namespace, "eth0"),
        allowed=resolve(attacker, NAME),
        host="192.0.2.1",
    )
    canaries = open_canaries(hub)
    yield Range(world, attacker, neighbour, field, server, flow, canaries)
    for sock in [flow, *canaries]:
        sock.close()
    world.capture.forget("neighbour")
    attacker.delete()
    neighbour.delete()


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_no_packet_gets_anywhere(arena: Range, name: str) -> None:
    capture = arena.world.capture
    tag = b"attack%04d" % next(_numbers)
    arena.echo()
    connections = len(arena.server.connections)
    since = capture.mark()
    arena.fire(VECTORS[name](arena.field, tag))
    capture.settle()
    for place in ("inet", "host", "neighbour"):
        capture.assert_silent(place, containing=tag, since=since)
        capture.assert_silent(place, src=arena.field.me, since=since)
    capture.assert_silent("inet", src="0.0.0.0/0", since=since)
    assert arena.heard() == []
    assert len(arena.server.connections) == connections
    assert arena.world.internet.zone.asked(f"{tag.decode()}.exfil.test") == []
    arena.echo()


def test_the_capture_would_have_seen_it(arena: Range) -> None:
    """The control: the neighbour's own, permitted bytes are on its link and in the internet."""
    since = arena.world.capture.mark()
    arena.echo()
    assert arena.world.capture.frames("neighbour", dport=5432, since=since)
    assert arena.world.capture.frames("inet", dport=5432, since=since)


def test_refusals_come_at_once(arena: Range) -> None:
    """TCP: a reset. UDP and ICMP: administratively prohibited. Within 100 ms, never a time-out."""
    field, capture = arena.field, arena.world.capture
    capture.watch("attacker", arena.attacker.namespace)
    public = "198.51.100.9"
    cases = {
        "tcp": (packets.TCP, packets.tcp(field.me, public, 700, 443, packets.SYN)),
        "udp": (packets.UDP, packets.udp(field.me, public, 701, 443, b"x")),
        "echo": (packets.ICMP, packets.icmp(8, 0, b"\0\1\0\1abc")),
    }
    try:
        for protocol, body in cases.values():
            since = capture.mark()
            arena.fire([field.frame(packets.ipv4(field.me, public, protocol, body))])
            replies = capture.frames("attacker", dst=field.me, outgoing=False, since=since)
            assert replies, protocol
            sent = capture.frames("attacker", src=field.me, outgoing=True, since=since)
            assert replies[0].time - sent[0].time < 0.1
            kind = replies[0].data[34:36]
            assert replies[0].protocol == packets.TCP or kind == b"\x03\x0d"
    finally:
        capture.forget("attacker")


@pytest.mark.parametrize(
    ("protocol", "reason"), [(packets.UDP, "udp_blocked"), (packets.ICMP, "protocol_blocked")]
)
def test_a_refusal_is_recorded(
    make_sandbox: Callable[..., Sandbox], protocol: int, reason: str
) -> None:
    box, dst = make_sandbox(POLICY), f"198.51.100.{20 + protocol}"
    kind = socket.SOCK_DGRAM if protocol == packets.UDP else socket.SOCK_RAW
    message = packets.icmp(8, 0, b"\0\1\0\1abc")
    with box.namespace.socket(socket.AF_INET, kind, protocol) as sock:
        sock.sendto(message, (dst, 443))
    record = box.wait_record(lambda r: r["reason"] == reason and r["destination"]["ip"] == dst)
    assert record["verdict"] == "denied"


def test_a_spoofed_source_is_recorded_against_the_link_it_came_from(
    arena: Range, make_sandbox: Callable[..., Sandbox]
) -> None:
    box, victim, dst = make_sandbox(POLICY), arena.field.neighbour, "198.51.100.10"
    body = packets.udp(victim, dst, 1, 443, b"x")
    with box.namespace.socket(socket.AF_INET, socket.SOCK_RAW, packets.RAW) as sock:
        sock.sendto(packets.ipv4(victim, dst, packets.UDP, body), (dst, 0))
    record = box.wait_record(lambda r: r["reason"] == "spoofed_source")
    assert record["verdict"] == "denied"


def test_a_flood_of_one_does_not_silence_another(arena: Range) -> None:
    field = arena.field
    body = packets.udp(field.me, "198.51.100.11", 1, 443, b"x")
    arena.fire([field.frame(packets.ipv4(field.me, "198.51.100.11", packets.UDP, body))] * 20_000)
    with arena.neighbour.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("198.51.100.12", 443))
        sock.send(b"x")
    arena.neighbour.wait_record(lambda r: r["destination"]["ip"] == "198.51.100.12")
    arena.echo()
