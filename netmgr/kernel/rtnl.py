"""Owns: route netlink as this room needs it: messages out, plain values in.

pyroute2 encodes what is sent; what comes back and is needed often is parsed here, since one link
decoded in full costs more than making one. Knows nothing of hub or sandbox.

Source: rtnetlink(7), include/uapi/linux/{rtnetlink,if_link,neighbour}.h.
"""

import errno
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from ipaddress import IPv4Address
from typing import Any, Final, ParamSpec

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netmgr.kernel import netlink
from netmgr.kernel.netlink import NetlinkSocket, iter_attrs, parse_attrs

P = ParamSpec("P")
REMEMBERED: Final = 256  # messages of 40 bytes
AF_INET: Final = 2
NETLINK_ROUTE: Final = 0

IFF_UP: Final = 0x1
IFF_NOARP: Final = 0x80
IFF_LOWER_UP: Final = 0x1_0000

RT_TABLE_MAIN: Final = 254
RT_TABLE_LOCAL: Final = 255

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR = 20
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTM_NEWNEIGH, _RTM_GETNEIGH = 28, 30

_NEW: Final = netlink.NLM_F_CREATE | netlink.NLM_F_EXCL
_NUD_PERMANENT: Final = 0x80
_RTNH_F_ONLINK: Final = 4
_RTPROT_STATIC: Final = 4
_RT_SCOPE_LINK: Final = 253
_SKIP_STATISTICS: Final = 1 << 3  # RTEXT_FILTER_SKIP_STATS

_IFINFO: Final = struct.Struct("=BxHiII")
_RTMSG: Final = struct.Struct("=8BI")
_NDMSG: Final = struct.Struct("=B3xiHBB")

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_EXT_MASK = 1, 3, 18, 26, 29
_IFLA_LINK, _IFLA_OPERSTATE, _IFLA_LINK_NETNSID, _IFLA_TARGET_NETNSID = 5, 16, 37, 46
_IFLA_NET_NS_FD, _IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 28, 31, 32
_IFLA_INFO_DATA, _VETH_INFO_PEER = 2, 1
_OPERSTATE_UP: Final = 6  # include/uapi/linux/if.h: IF_OPER_UP
_IFLA_INFO_KIND, _IFLA_INET_CONF, _IFLA_INET6_CONF, _AF_INET6 = 1, 1, 2, 10
_RTA_DST, _RTA_OIF = 1, 4
_NDA_DST, _NDA_LLADDR = 1, 2
_INET6_DISABLE: Final = 26  # DEVCONF_DISABLE_IPV6

# include/uapi/linux/ip.h, IPV4_DEVCONF_...: place of each value, counted from 1
DEVCONF: Final = {
    "accept_redirects": 4,
    "send_redirects": 6,
    "rp_filter": 8,
    "accept_source_route": 9,
    "arp_ignore": 19,
    "src_valid_mark": 24,
    "route_localnet": 26,
}


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """A link as the kernel has it.

    Attributes:
        devconf: its IPv4 sysctls out of the link message, those of DEVCONF.
        ipv6: whether IPv6 is on for it.
        operational: whether it takes packets: up, with a carrier that the kernel has acted on.
        peer: (namespace id, index) of the other end of a veth pair.
    """

    index: int
    name: str
    kind: str | None
    flags: int
    mac: str | None
    devconf: dict[str, str]
    ipv6: bool
    operational: bool
    peer: tuple[int, int] | None

    @property
    def up(self) -> bool:
        """Administratively up."""
        return bool(self.flags & IFF_UP)

    def differences(self, wanted: Mapping[str, str]) -> tuple[str, ...]:
        """Sysctls of the link that are not as wanted, in words."""
        return tuple(
            f"{key} is {self.devconf.get(key)} instead of {value}"
            for key, value in wanted.items()
            if self.devconf.get(key) != value
        )


# -- messages out ----------------------------------------------------------------------------


def _encode(message: Any, kind: int, flags: int, attrs: Sequence[tuple[str, object]]) -> bytearray:
    message["header"]["type"] = kind
    message["header"]["flags"] = flags | netlink.NLM_F_REQUEST
    message["header"]["sequence_number"] = 0
    message["header"]["pid"] = 0
    message["attrs"] = list(attrs)
    message.encode()
    return bytearray(message.data)


def _remembered(build: Callable[P, bytearray]) -> Callable[P, bytearray]:
    """The same message again without encoding it again: half of them never vary in practice."""
    cached: Any = lru_cache(REMEMBERED)(build)  # typed as taking any hashable, not P

    @wraps(build)
    def copy(*args: P.args, **kwargs: P.kwargs) -> bytearray:
        return bytearray(cached(*args, **kwargs))  # its sequence number is filled in later

    return copy


def new_veth(name: str, mac: str, peer: str, peer_mac: str, peer_netns: int) -> bytearray:
    """A veth pair; the peer is born in another namespace, without ARP, down.

    `arp off` must come before a permanent neighbour, since it flushes them; at birth is soonest.
    One queue per direction: a sandbox's link needs no more, and a queue costs memory on each CPU.
    Packed here, since no two are alike and pyroute2 takes longer to encode one than the kernel to
    make it: nested attributes as in include/uapi/linux/{if_link,veth}.h.
    """
    other = _IFINFO.pack(0, 0, 0, IFF_NOARP, IFF_NOARP) + _born(peer, peer_mac)
    other += netlink.pack_attr(_IFLA_NET_NS_FD, struct.pack("=I", peer_netns))
    info = netlink.pack_attr(_IFLA_INFO_KIND, b"veth\0")
    info += netlink.pack_nested(_IFLA_INFO_DATA, netlink.pack_attr(_VETH_INFO_PEER, other))
    payload = _IFINFO.pack(0, 0, 0, 0, 0) + _born(name, mac)
    payload += netlink.pack_nested(_IFLA_LINKINFO, info)
    return netlink.pack_message(_RTM_NEWLINK, _NEW, payload)


def _born(name: str, mac: str) -> bytes:
    """What both ends of a pair are born with."""
    queues = struct.pack("=I", 1)
    return (
        netlink.pack_attr(_IFLA_IFNAME, name.encode() + b"\0")
        + netlink.pack_attr(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
        + netlink.pack_attr(_IFLA_NUM_TX_QUEUES, queues)
        + netlink.pack_attr(_IFLA_NUM_RX_QUEUES, queues)
    )


@_remembered
def set_link_up(index: int) -> bytearray:
    """Set a link administratively up."""
    message = ifinfmsg()
    message["index"] = index
    message["flags"] = IFF_UP
    message["change"] = IFF_UP
    return _encode(message, _RTM_NEWLINK, 0, ())


def del_link(name: str) -> bytearray:
    """Delete a link by name."""
    return _encode(ifinfmsg(), _RTM_DELLINK, 0, [("IFLA_IFNAME", name)])


def new_address(index: int, address: IPv4Address) -> bytearray:
    """Give a link an address as a /32."""
    message = ifaddrmsg()
    message["family"] = AF_INET
    message["prefixlen"] = 32
    message["index"] = index
    text = str(address)
    return _encode(message, _RTM_NEWADDR, _NEW, [("IFA_LOCAL", text), ("IFA_ADDRESS", text)])


@_remembered
def new_neighbour(index: int, address: IPv4Address, mac: str) -> bytearray:
    """A permanent neighbour. Replaces what stands for the address."""
    message = ndmsg()
    message["family"] = AF_INET
    message["ifindex"] = index
    message["state"] = _NUD_PERMANENT
    attrs = [("NDA_DST", str(address)), ("NDA_LLADDR", mac)]
    return _encode(message, _RTM_NEWNEIGH, netlink.NLM_F_CREATE | 0x100, attrs)  # NLM_F_REPLACE


@_remembered
def new_default_route(index: int, gateway: IPv4Address) -> bytearray:
    """The default route over a gateway that no address on the link covers (onlink)."""
    message = _route(0)
    message["flags"] = _RTNH_F_ONLINK
    attrs = [("RTA_GATEWAY", str(gateway)), ("RTA_OIF", index)]
    return _encode(message, _RTM_NEWROUTE, _NEW, attrs)


def new_host_route(index: int, address: IPv4Address) -> bytearray:
    """A /32 route over a link. Replaces what stands for the address."""
    message = _route(32)
    message["scope"] = _RT_SCOPE_LINK
    attrs = [("RTA_DST", str(address)), ("RTA_OIF", index)]
    return _encode(message, _RTM_NEWROUTE, netlink.NLM_F_CREATE | 0x100, attrs)  # NLM_F_REPLACE


def _route(length: int) -> Any:
    message = rtmsg()
    message["family"] = AF_INET
    message["dst_len"] = length
    message["table"] = RT_TABLE_MAIN
    message["proto"] = _RTPROT_STATIC
    message["type"] = 1  # RTN_UNICAST
    return message


# -- values in -------------------------------------------------------------------------------


def get_link(sock: NetlinkSocket, name: str) -> LinkFacts | None:
    """A link by name, or None."""
    payload = (
        _IFINFO.pack(0, 0, 0, 0, 0)
        + netlink.pack_attr(_IFLA_IFNAME, name.encode() + b"\0")
        + netlink.pack_attr(_IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATISTICS))
    )
    try:
        return parse_link(sock.ask(netlink.pack_message(_RTM_GETLINK, 0, payload)))
    except OSError as refusal:
        if refusal.errno == errno.ENODEV:
            return None
        raise


def get_peer(sock: NetlinkSocket, link: LinkFacts) -> LinkFacts | None:
    """The other end of a veth pair in another namespace, seen from here; None without one.

    Since Linux 6.8 the kernel first does what a fresh carrier demands (linkwatch_sync_dev in
    rtnl_getlink), so that `operational` is true as soon as it can be.
    """
    if link.peer is None:
        return None
    namespace, index = link.peer
    payload = (
        _IFINFO.pack(0, 0, index, 0, 0)
        + netlink.pack_attr(_IFLA_TARGET_NETNSID, struct.pack("=i", namespace))
        + netlink.pack_attr(_IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATISTICS))
    )
    try:
        return parse_link(sock.ask(netlink.pack_message(_RTM_GETLINK, 0, payload)))
    except OSError as refusal:
        if refusal.errno == errno.ENODEV:
            return None
        raise


def get_links(sock: NetlinkSocket) -> tuple[LinkFacts, ...]:
    """Every link of the namespace."""
    payload = _IFINFO.pack(0, 0, 0, 0, 0) + netlink.pack_attr(
        _IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATISTICS)
    )
    return tuple(map(parse_link, sock.dump(netlink.pack_message(_RTM_GETLINK, 0, payload))))


def parse_link(payload: memoryview) -> LinkFacts:
    """One RTM_NEWLINK message."""
    _, _, index, flags, _ = _IFINFO.unpack_from(payload)
    attrs = parse_attrs(payload[_IFINFO.size :])
    info = parse_attrs(attrs.get(_IFLA_LINKINFO, b""))
    families = parse_attrs(attrs.get(_IFLA_AF_SPEC, b""))
    mac = attrs.get(_IFLA_ADDRESS)
    return LinkFacts(
        index=index,
        name=_text(attrs[_IFLA_IFNAME]),
        kind=_text(info[_IFLA_INFO_KIND]) if _IFLA_INFO_KIND in info else None,
        flags=flags,
        mac=None if mac is None else bytes(mac).hex(":"),
        devconf=_devconf(parse_attrs(families.get(AF_INET, b"")).get(_IFLA_INET_CONF)),
        ipv6=_ipv6_on(families.get(_AF_INET6)),
        operational=bytes(attrs.get(_IFLA_OPERSTATE, b"")) == bytes([_OPERSTATE_UP]),
        peer=_peer(attrs),
    )


def _peer(attrs: dict[int, memoryview]) -> tuple[int, int] | None:
    if _IFLA_LINK not in attrs or _IFLA_LINK_NETNSID not in attrs:
        return None
    (namespace,) = struct.unpack("=i", attrs[_IFLA_LINK_NETNSID])
    (index,) = struct.unpack("=i", attrs[_IFLA_LINK])
    return namespace, index


def _devconf(conf: memoryview | None) -> dict[str, str]:
    """IFLA_INET_CONF is a plain array of 32-bit numbers (net/ipv4/devinet.c)."""
    if conf is None:
        return {}
    return {
        key: str(struct.unpack_from("=i", conf, 4 * (place - 1))[0])
        for key, place in DEVCONF.items()
        if 4 * place <= len(conf)
    }


def _ipv6_on(family: memoryview | None) -> bool:
    if family is None:  # IPv6 is not there, or was taken off the link
        return False
    conf = parse_attrs(family).get(_IFLA_INET6_CONF)
    if conf is None or len(conf) < 4 * (_INET6_DISABLE + 1):
        return False
    (disabled,) = struct.unpack_from("=i", conf, 4 * _INET6_DISABLE)
    return bool(disabled == 0)


def get_host_routes(sock: NetlinkSocket) -> dict[IPv4Address, int]:
    """Address -> link index of each /32 route of table main."""
    payload = _RTMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    found: dict[IPv4Address, int] = {}
    for reply in sock.dump(netlink.pack_message(_RTM_GETROUTE, 0, payload)):
        head = _RTMSG.unpack_from(reply)
        if head[1] != 32 or head[4] != RT_TABLE_MAIN:
            continue
        attrs = parse_attrs(reply[_RTMSG.size :])
        if _RTA_DST in attrs and _RTA_OIF in attrs:
            index = struct.unpack("=i", attrs[_RTA_OIF])[0]
            found[IPv4Address(bytes(attrs[_RTA_DST]))] = index
    return found


def get_route_link(sock: NetlinkSocket, address: IPv4Address) -> int | None:
    """Index of the link that the FIB entry for an address leads to; None without one."""
    payload = _RTMSG.pack(AF_INET, 32, 0, 0, 0, 0, 0, 0, 0x2000)  # RTM_F_FIB_MATCH
    payload += netlink.pack_attr(_RTA_DST, address.packed)
    try:
        reply = sock.ask(netlink.pack_message(_RTM_GETROUTE, 0, payload))
    except OSError:
        return None
    oif = parse_attrs(reply[_RTMSG.size :]).get(_RTA_OIF)
    return None if oif is None else struct.unpack("=i", oif)[0]


def get_permanent_neighbour(sock: NetlinkSocket, index: int, address: IPv4Address) -> str | None:
    """The MAC of a permanent neighbour entry, or None."""
    payload = _NDMSG.pack(AF_INET, index, 0, 0, 0) + netlink.pack_attr(_NDA_DST, address.packed)
    try:
        reply = sock.ask(netlink.pack_message(_RTM_GETNEIGH, 0, payload))
    except OSError:
        return None
    if not _NDMSG.unpack_from(reply)[2] & _NUD_PERMANENT:
        return None
    mac = dict(iter_attrs(reply[_NDMSG.size :])).get(_NDA_LLADDR)
    return None if mac is None else bytes(mac).hex(":")


def _text(payload: memoryview) -> str:
    return bytes(payload).rstrip(b"\0").decode("ascii", "replace")
