"""Owns: sets and their entries as values, and as the bytes of the ipset protocol. Pure.

Knows nothing of sockets and of what a set is for.
Source: include/uapi/linux/netfilter/ipset/ip_set.h, protocol 7.
"""

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from netmgr.errors import HostFailed
from netmgr.kernel.netlink import NLA_F_NET_BYTEORDER as NET
from netmgr.kernel.netlink import pack_attr, pack_message, pack_nested, parse_attrs

MAX_SET_NAME: Final = 31  # IPSET_MAXNAMELEN - 1
_PROTOCOL: Final = 7
_SUBSYSTEM: Final = 6  # NFNL_SUBSYS_IPSET
_WITH_COUNTERS: Final = 1 << 3  # IPSET_FLAG_WITH_COUNTERS
_IPV4: Final = 1  # IPSET_ATTR_IPADDR_IPV4
_PORT: Final = struct.Struct("!H")
NFGEN: Final = struct.pack("!BBH", socket.AF_INET, 0, 0)


class Command(IntEnum):
    """IPSET_CMD_..."""

    CREATE = 2
    DESTROY = 3
    FLUSH = 4
    SWAP = 6
    LIST = 7
    ADD = 9
    DEL = 10
    TEST = 11
    TYPE = 13


class Attr(IntEnum):
    """IPSET_ATTR_..., of a command."""

    PROTOCOL = 1
    SETNAME = 2
    TYPENAME = 3
    REVISION = 4
    FAMILY = 5
    DATA = 7
    ADT = 8


class Data(IntEnum):
    """IPSET_ATTR_..., of a set or an entry."""

    IP = 1
    CIDR = 3
    PORT = 4
    TIMEOUT = 6
    PROTO = 7
    CADT_FLAGS = 8
    MAXELEM = 19
    IP2 = 20
    CIDR2 = 21
    IFACE = 23
    BYTES = 24
    PACKETS = 25


class SetType(IntEnum):
    """The set types in use; the value is this module's own."""

    IP = 1  # hash:ip
    NET = 2  # hash:net
    NET_IFACE = 3  # hash:net,iface
    IP_PORT_IP = 4  # hash:ip,port,ip
    IP_PORT_NET = 5  # hash:ip,port,net

    @property
    def kernel_name(self) -> str:
        """As ipset(8) writes it."""
        return "hash:" + self.name.lower().replace("_", ",")


_TYPES: Final = {kind.kernel_name: kind for kind in SetType}


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A set as it is made.

    Attributes:
        max_entries: explicit, so that "full" is a decision of ours.
        timeout: seconds that an entry lives by default, or None for ever.
    """

    name: str
    type: SetType
    max_entries: int
    counters: bool = False
    timeout: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a set. Which fields count follows from the set's type.

    Attributes:
        net: the first dimension (hash:ip sets take /32 only).
        port: TCP port, for the port types.
        net2: the third dimension.
        iface: for hash:net,iface.
    """

    net: IPv4Network
    port: int | None = None
    net2: IPv4Network | None = None
    iface: str | None = None

    def __str__(self) -> str:
        parts = [_spell(self.net)]
        if self.port is not None:
            parts.append(f"tcp:{self.port}")
        if self.net2 is not None:
            parts.append(_spell(self.net2))
        if self.iface is not None:
            parts.append(self.iface)
        return ",".join(parts)


@dataclass(frozen=True, slots=True)
class Listed:
    """One member as the kernel lists it. Counters are None where the set has none."""

    entry: Entry
    packets: int | None = None
    bytes: int | None = None


def single(address: IPv4Address) -> IPv4Network:
    """An address as the /32 that entries are written with."""
    return IPv4Network((int(address), 32))


def _spell(net: IPv4Network) -> str:
    return str(net.network_address) if net.prefixlen == 32 else str(net)


def pack_text(kind: int, text: str) -> bytes:
    """A text attribute, with its zero byte."""
    return pack_attr(kind, text.encode() + b"\0")


def parse_text(payload: memoryview) -> str:
    """The text of an attribute."""
    return bytes(payload).rstrip(b"\0").decode("ascii", "replace")


def pack_command(command: Command, payload: bytes) -> bytearray:
    """One message to ipset."""
    protocol = pack_attr(Attr.PROTOCOL, bytes([_PROTOCOL]))
    return pack_message((_SUBSYSTEM << 8) | command, 0, NFGEN + protocol + payload)


_TCP = pack_attr(Data.PROTO, bytes([socket.IPPROTO_TCP]))


def _pack_ip(kind: int, net: IPv4Network) -> bytes:
    return pack_nested(kind, pack_attr(_IPV4 | NET, net.network_address.packed))


def pack_entry(entry: Entry) -> bytes:
    """The data of one entry."""
    data = _pack_ip(Data.IP, entry.net)
    if entry.net.prefixlen != 32:
        data += pack_attr(Data.CIDR, bytes([entry.net.prefixlen]))
    if entry.port is not None:
        data += pack_attr(Data.PORT | NET, _PORT.pack(entry.port)) + _TCP
    if entry.net2 is not None:
        data += _pack_ip(Data.IP2, entry.net2)
        if entry.net2.prefixlen != 32:
            data += pack_attr(Data.CIDR2, bytes([entry.net2.prefixlen]))
    if entry.iface is not None:
        data += pack_text(Data.IFACE, entry.iface)
    return data


def _parse_net(attrs: dict[int, memoryview], ip: int, cidr: int) -> IPv4Network:
    inner = parse_attrs(attrs[ip])
    length = attrs[cidr][0] if cidr in attrs else 32
    return IPv4Network((bytes(inner[1]), length))


def _number(payload: memoryview | None) -> int | None:
    return None if payload is None else int.from_bytes(payload, "big")


def pack_spec(spec: SetSpec) -> bytes:
    """The data with which a set is made."""
    data = pack_attr(Data.MAXELEM | NET, struct.pack("!I", spec.max_entries))
    if spec.counters:
        data += pack_attr(Data.CADT_FLAGS | NET, struct.pack("!I", _WITH_COUNTERS))
    if spec.timeout is not None:
        data += pack_attr(Data.TIMEOUT | NET, struct.pack("!I", spec.timeout))
    return data


def parse_listed(data: memoryview) -> Listed:
    """One entry of a listing.

    Raises:
        HostFailed: it is none.
    """
    attrs = parse_attrs(data)
    try:
        entry = Entry(
            net=_parse_net(attrs, Data.IP, Data.CIDR),
            port=_PORT.unpack(attrs[Data.PORT])[0] if Data.PORT in attrs else None,
            net2=_parse_net(attrs, Data.IP2, Data.CIDR2) if Data.IP2 in attrs else None,
            iface=parse_text(attrs[Data.IFACE]) if Data.IFACE in attrs else None,
        )
    except (LookupError, ValueError, struct.error) as fault:
        raise HostFailed("ipset: the kernel lists an entry of another form") from fault
    return Listed(entry, _number(attrs.get(Data.PACKETS)), _number(attrs.get(Data.BYTES)))


def parse_spec(attrs: dict[int, memoryview]) -> SetSpec:
    """A set out of the attributes of a listing.

    Raises:
        HostFailed: it is none, or of a type that is not in use here.
    """
    try:
        data = parse_attrs(attrs[Attr.DATA])
        name = parse_text(attrs[Attr.SETNAME])
        kind = _TYPES[parse_text(attrs[Attr.TYPENAME])]
    except LookupError as fault:
        raise HostFailed("ipset: the kernel lists a set of another form") from fault
    return SetSpec(
        name=name,
        type=kind,
        max_entries=_number(data.get(Data.MAXELEM)) or 0,
        counters=bool((_number(data.get(Data.CADT_FLAGS)) or 0) & _WITH_COUNTERS),
        timeout=_number(data.get(Data.TIMEOUT)),
    )
