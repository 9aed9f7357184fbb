"""Owns: bytes of hand-made frames, correct or deliberately not. Knows nothing of netmgr.

Every frame carries a tag in its payload where its form leaves room, so that a leak is told from
noise on any link.
"""

import ipaddress
import struct
from typing import Final

ETH_IPV4, ETH_IPV6, ETH_ARP, ETH_VLAN = 0x0800, 0x86DD, 0x0806, 0x8100
ICMP, IGMP, IPIP, TCP, UDP, DCCP, SIX, GRE, ESP, AH = 1, 2, 4, 6, 17, 33, 41, 47, 50, 51
ICMPV6, OSPF, VRRP, SCTP, UDPLITE, EXPERIMENTAL, RAW = 58, 89, 112, 132, 136, 253, 255
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MORE_FRAGMENTS: Final = 0x2000
BROADCAST_MAC: Final = b"\xff" * 6


def checksum(data: bytes) -> int:
    """The internet checksum, RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(dst: bytes, src: bytes, kind: int, payload: bytes) -> bytes:
    """An Ethernet II frame."""
    return dst + src + struct.pack("!H", kind) + payload


def ipv4(
    src: str,
    dst: str,
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    fragment: int = 0,
    ident: int = 4711,
    ttl: int = 64,
) -> bytes:
    """An IPv4 packet; `fragment` is the flags-and-offset word as it stands."""
    options += b"\0" * (-len(options) % 4)
    size = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | size // 4,
        0,
        size + len(payload),
        ident,
        fragment,
        ttl,
        protocol,
        0,
        ipaddress.IPv4Address(src).packed,
        ipaddress.IPv4Address(dst).packed,
    )
    whole = head + options
    return whole[:10] + struct.pack("!H", checksum(whole)) + whole[12:] + payload


def ipv6(src: str, dst: str, following: int, payload: bytes) -> bytes:
    """An IPv6 packet without extension headers."""
    head = struct.pack("!IHBB", 6 << 28, len(payload), following, 64)
    ends = ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed
    return head + ends + payload


def _pseudo(src: str, dst: str, protocol: int, length: int) -> bytes:
    ends = ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed
    return ends + struct.pack("!BBH", 0, protocol, length)


def udp(src: str, dst: str, sport: int, dport: int, payload: bytes) -> bytes:
    """A UDP datagram with its checksum, to be put into `ipv4`."""
    length = 8 + len(payload)
    head = struct.pack("!HHHH", sport, dport, length, 0)
    total = checksum(_pseudo(src, dst, UDP, length) + head + payload)
    return head[:6] + struct.pack("!H", total or 0xFFFF) + payload


def udplite(src: str, dst: str, sport: int, dport: int, payload: bytes) -> bytes:
    """A UDP-Lite datagram that covers only its head, RFC 3828."""
    head = struct.pack("!HHHH", sport, dport, 8, 0)
    total = checksum(_pseudo(src, dst, UDPLITE, 8 + len(payload)) + head)
    return head[:6] + struct.pack("!H", total or 0xFFFF) + payload


def tcp(
    src: str,
    dst: str,
    sport: int,
    dport: int,
    flags: int,
    payload: bytes = b"",
    *,
    seq: int = 1000,
    ack: int = 0,
) -> bytes:
    """A TCP segment with its checksum."""
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 64240, 0, 0)
    total = checksum(_pseudo(src, dst, TCP, len(head) + len(payload)) + head + payload)
    return head[:16] + struct.pack("!H", total) + head[18:] + payload


def icmp(kind: int, code: int, rest: bytes) -> bytes:
    """An ICMP message; `rest` begins behind the checksum."""
    total = checksum(struct.pack("!BBH", kind, code, 0) + rest)
    return struct.pack("!BBH", kind, code, total) + rest


def arp(operation: int, mac: bytes, ip: str, target_mac: bytes, target: str) -> bytes:
    """An ARP packet, RFC 826."""
    head = struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, operation)
    ends = mac + ipaddress.IPv4Address(ip).packed + target_mac
    return head + ends + ipaddress.IPv4Address(target).packed


def dns_query(name: str) -> bytes:
    """A DNS question for an address."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def sctp_init(sport: int, dport: int, tag: bytes) -> bytes:
    """An SCTP packet with an INIT-like chunk; its checksum is not CRC32c and need not be."""
    return (
        struct.pack("!HHII", sport, dport, 0, 0) + b"\1\0" + struct.pack("!H", 4 + len(tag)) + tag
    )
