"""Owns: the kernel's log of refused packets: opening it, and parsing what comes out of it.

The parser gets packet heads that sandboxes wrote: it takes any bytes, raises nothing, and reads
nothing but fixed places of the IP and transport heads. Knows nothing of who a sandbox is.

Source: include/uapi/linux/netfilter/nfnetlink_log.h; RFC 791, 9293, 768, 792.
"""

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from netmgr.kernel import netlink
from netmgr.kernel.fence import kernel_errors
from netmgr.kernel.netlink import NetlinkSocket, iter_messages, pack_attr, pack_message, parse_attrs

COPY_BYTES: Final = 96  # the longest IP head is 60; ports and TCP flags are within the next 14
RECEIVE_BUFFER: Final = 8 * 1024 * 1024  # about 20,000 events: a second of 400 sandboxes at budget

_NETLINK_NETFILTER: Final = 12
_SUBSYSTEM: Final = 4  # NFNL_SUBSYS_ULOG
_PACKET: Final = _SUBSYSTEM << 8  # NFULNL_MSG_PACKET
_CONFIG: Final = _SUBSYSTEM << 8 | 1  # NFULNL_MSG_CONFIG
_NFGEN: Final = struct.Struct("!BBH")

_CFG_CMD, _CFG_MODE, _CFG_TIMEOUT, _CFG_QTHRESH = 1, 2, 4, 5
_CMD_BIND: Final = 1
_COPY_PACKET: Final = 2

_PACKET_HDR, _IFINDEX_INDEV, _PAYLOAD = 1, 4, 9
_HW_PROTOCOL: Final = struct.Struct("!HBx")
_INDEX: Final = struct.Struct("!I")
_PORTS: Final = struct.Struct("!HH")

_PORT_PROTOCOLS: Final = frozenset(
    (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_SCTP, 33, 136)  # DCCP, UDP-Lite
)
_MIN_IPV4: Final = 20
_FRAGMENT_OFFSET: Final = 0x1FFF


@dataclass(frozen=True, slots=True)
class DeniedPacket:
    """A refused packet, as far as its head can be read.

    Attributes:
        group: why (ruleset.GROUP_...).
        source, destination: None where it is no whole IPv4 head.
        protocol: IP protocol number, or None.
        sport, dport: None where the protocol has none, or a later fragment lacks them.
        ifindex: index of the link that it came over in the hub; 0 where unknown.
        ethertype: protocol of the frame (0x0800 is IPv4).
    """

    group: int
    source: IPv4Address | None
    destination: IPv4Address | None
    protocol: int | None
    sport: int | None
    dport: int | None
    ifindex: int
    ethertype: int


def open_nflog(groups: Iterable[int]) -> int:
    """Bind one socket to log groups. Called inside the hub, as root; gives a descriptor that an
    unprivileged process may read.

    Raises:
        HostFailed: a group is taken, or the kernel has no NFLOG.
    """
    with kernel_errors("open the kernel's packet log (is nfnetlink_log loaded?)"):
        sock = NetlinkSocket(_NETLINK_NETFILTER)
        try:
            for group in groups:
                sock.run(_bind_messages(group))
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except BaseException:
            sock.close()
            raise
        return sock.detach()


_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h; Python does not name it


def _bind_messages(group: int) -> list[bytearray]:
    """Bind, copy the first bytes of each packet, and send each event at once."""
    head = _NFGEN.pack(socket.AF_UNSPEC, 0, group)
    mode = struct.pack("!IBB", COPY_BYTES, _COPY_PACKET, 0)
    return [
        pack_message(_CONFIG, 0, head + pack_attr(kind, value))
        for kind, value in (
            (_CFG_CMD, bytes([_CMD_BIND])),
            (_CFG_MODE, mode),
            (_CFG_QTHRESH, struct.pack("!I", 1)),
            (_CFG_TIMEOUT, struct.pack("!I", 0)),
        )
    ]


def parse_events(data: bytes) -> list[DeniedPacket]:
    """The events of one datagram from the log socket. Takes any bytes and raises nothing."""
    return [
        _parse_event(payload)
        for kind, _, _, payload in iter_messages(data)
        if kind == _PACKET and len(payload) >= _NFGEN.size
    ]


def _parse_event(payload: memoryview) -> DeniedPacket:
    group: int = _NFGEN.unpack_from(payload)[2]
    attrs = parse_attrs(payload[_NFGEN.size :])
    head = attrs.get(_PACKET_HDR, b"")
    ethertype = _HW_PROTOCOL.unpack_from(head)[0] if len(head) >= _HW_PROTOCOL.size else 0
    indev = attrs.get(_IFINDEX_INDEV, b"")
    ifindex = _INDEX.unpack_from(indev)[0] if len(indev) >= _INDEX.size else 0
    return _parse_packet(bytes(attrs.get(_PAYLOAD, b"")), group, ifindex, ethertype)


def _parse_packet(packet: bytes, group: int, ifindex: int, ethertype: int) -> DeniedPacket:
    if len(packet) < _MIN_IPV4 or packet[0] >> 4 != 4:
        return DeniedPacket(group, None, None, None, None, None, ifindex, ethertype)
    length = (packet[0] & 0xF) * 4
    protocol = packet[9]
    first = int.from_bytes(packet[6:8], "big") & _FRAGMENT_OFFSET == 0
    sport = dport = None
    if protocol in _PORT_PROTOCOLS and first and _MIN_IPV4 <= length <= len(packet) - _PORTS.size:
        sport, dport = _PORTS.unpack_from(packet, length)
    source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    return DeniedPacket(group, source, destination, protocol, sport, dport, ifindex, ethertype)


def encode_event(group: int, ifindex: int, packet: bytes) -> bytes:
    """An event as the kernel writes it: for tests and for replaying what was captured."""
    payload = (
        _NFGEN.pack(socket.AF_INET, 0, group)
        + pack_attr(_PACKET_HDR, _HW_PROTOCOL.pack(0x0800, 1))
        + pack_attr(_IFINDEX_INDEV, _INDEX.pack(ifindex))
        + pack_attr(_PAYLOAD, packet)
    )
    return bytes(netlink.pack_message(_PACKET, 0, payload))
