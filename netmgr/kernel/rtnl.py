"""Owns: route netlink as the birth of a link needs it: messages out, plain values in.

Packed and parsed here, and not by pyroute2 as everything that is done once: with it, coding one
message takes longer than the kernel takes to do what it says. Knows nothing of hub or sandbox.

Source: rtnetlink(7), include/uapi/linux/{rtnetlink,if_link,neighbour}.h.
"""

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from netmgr.kernel import netlink
from netmgr.kernel.netlink import NetlinkSocket, parse_attrs

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
_REPLACE: Final = netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE
_NUD_PERMANENT: Final = 0x80
_RTNH_F_ONLINK: Final = 4
_RTPROT_STATIC: Final = 4
_RTN_UNICAST: Final = 1
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK = 0, 253
_RTM_F_FIB_MATCH: Final = 0x2000
_SKIP_STATISTICS: Final = 1 << 3  # RTEXT_FILTER_SKIP_STATS

_IFINFO: Final = struct.Struct("=BxHiII")
_RTMSG: Final = struct.Struct("=8BI")
_IFADDR: Final = struct.Struct("=4BI")
_NDMSG: Final = struct.Struct("=B3xiHBB")

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_EXT_MASK = 1, 3, 18, 26, 29
_IFLA_LINK, _IFLA_OPERSTATE, _IFLA_LINK_NETNSID, _IFLA_TARGET_NETNSID = 5, 16, 37, 46
_IFLA_NET_NS_FD, _IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 28, 31, 32
_IFLA_INFO_DATA, _VETH_INFO_PEER = 2, 1
_OPERSTATE_UP: Final = 6  # include/uapi/linux/if.h: IF_OPER_UP
_IFLA_INFO_KIND, _IFLA_INET_CONF, _IFLA_INET6_CONF, _AF_INET6 = 1, 1, 2, 10
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_LLADDR = 1, 2
_INET6_DISABLE: Final = 26  # DEVCONF_DISABLE_IPV6
_NO_STATISTICS: Final = netlink.pack_attr(_IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATISTICS))

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


Answer = memoryview | OSError
"""What `NetlinkSocket.ask_each` gives for one question."""


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


def new_veth(name: str, mac: str, peer: str, peer_mac: str, peer_netns: int) -> bytearray:
    """A veth pair; the peer is born in another namespace, without ARP, down.

    `arp off` must come before a permanent neighbour, since it flushes them; at birth is soonest.
    One queue per direction: a sandbox's link needs no more, and a queue costs memory on each CPU.
    Its nested attributes are those of include/uapi/linux/{if_link,veth}.h.
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
        + netlink.pack_attr(_IFLA_ADDRESS, _packed_mac(mac))
        + netlink.pack_attr(_IFLA_NUM_TX_QUEUES, queues)
        + netlink.pack_attr(_IFLA_NUM_RX_QUEUES, queues)
    )


def set_link_up(index: int) -> bytearray:
    """Set a link administratively up."""
    return netlink.pack_message(_RTM_NEWLINK, 0, _IFINFO.pack(0, 0, index, IFF_UP, IFF_UP))


def set_link_down(index: int) -> bytearray:
    """Set a link administratively down."""
    return netlink.pack_message(_RTM_NEWLINK, 0, _IFINFO.pack(0, 0, index, 0, IFF_UP))


def del_link(name: str) -> bytearray:
    """Delete a link by name."""
    named = netlink.pack_attr(_IFLA_IFNAME, name.encode() + b"\0")
    return netlink.pack_message(_RTM_DELLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0) + named)


def new_address(index: int, address: IPv4Address) -> bytearray:
    """Give a link an address as a /32."""
    payload = _IFADDR.pack(AF_INET, 32, 0, 0, index)
    payload += netlink.pack_attr(_IFA_LOCAL, address.packed)
    payload += netlink.pack_attr(_IFA_ADDRESS, address.packed)
    return netlink.pack_message(_RTM_NEWADDR, _NEW, payload)


def new_neighbour(index: int, address: IPv4Address, mac: str) -> bytearray:
    """A permanent neighbour. Replaces what stands for the address."""
    payload = _NDMSG.pack(AF_INET, index, _NUD_PERMANENT, 0, 0)
    payload += netlink.pack_attr(_NDA_DST, address.packed)
    payload += netlink.pack_attr(_NDA_LLADDR, _packed_mac(mac))
    return netlink.pack_message(_RTM_NEWNEIGH, _REPLACE, payload)


def new_default_route(index: int, gateway: IPv4Address) -> bytearray:
    """The default route over a gateway that no address on the link covers (onlink)."""
    payload = _route(0, _RT_SCOPE_UNIVERSE, _RTNH_F_ONLINK)
    payload += netlink.pack_attr(_RTA_GATEWAY, gateway.packed) + _leads_to(index)
    return netlink.pack_message(_RTM_NEWROUTE, _NEW, payload)


def new_host_route(index: int, address: IPv4Address) -> bytearray:
    """A /32 route over a link. Replaces what stands for the address."""
    payload = _route(32, _RT_SCOPE_LINK, 0)
    payload += netlink.pack_attr(_RTA_DST, address.packed) + _leads_to(index)
    return netlink.pack_message(_RTM_NEWROUTE, _REPLACE, payload)


def _route(length: int, scope: int, flags: int) -> bytes:
    """A unicast route of table main to a prefix of `length` bits."""
    kind = (RT_TABLE_MAIN, _RTPROT_STATIC, scope, _RTN_UNICAST)
    return _RTMSG.pack(AF_INET, length, 0, 0, *kind, flags)


def _leads_to(index: int) -> bytes:
    return netlink.pack_attr(_RTA_OIF, struct.pack("=i", index))


def _packed_mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


# -- values in -------------------------------------------------------------------------------


def ask_link(name: str) -> bytearray:
    """The question for a link by name; `read_link` reads the answer."""
    named = netlink.pack_attr(_IFLA_IFNAME, name.encode() + b"\0")
    payload = _IFINFO.pack(0, 0, 0, 0, 0) + named + _NO_STATISTICS
    return netlink.pack_message(_RTM_GETLINK, 0, payload)


def ask_peer(peer: tuple[int, int]) -> bytearray:
    """The question for a link of another namespace, `LinkFacts.peer` of its veth's other end.

    Since Linux 6.8 the kernel first does what a fresh carrier demands (linkwatch_sync_dev in
    rtnl_getlink), so that `operational` is true as soon as it can be.
    """
    namespace, index = peer
    where = netlink.pack_attr(_IFLA_TARGET_NETNSID, struct.pack("=i", namespace))
    payload = _IFINFO.pack(0, 0, index, 0, 0) + where + _NO_STATISTICS
    return netlink.pack_message(_RTM_GETLINK, 0, payload)


def read_link(answer: Answer) -> LinkFacts | None:
    """The link, or None where there is none.

    Raises:
        OSError: the kernel refused the question otherwise.
    """
    if isinstance(answer, OSError):
        if answer.errno == errno.ENODEV:
            return None
        raise answer
    return parse_link(answer)


def get_link(sock: NetlinkSocket, name: str) -> LinkFacts | None:
    """A link by name, or None."""
    return read_link(sock.ask_each([ask_link(name)])[0])


def get_links(sock: NetlinkSocket) -> tuple[LinkFacts, ...]:
    """Every link of the namespace."""
    payload = _IFINFO.pack(0, 0, 0, 0, 0) + _NO_STATISTICS
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


def ask_route(address: IPv4Address) -> bytearray:
    """The question for the FIB entry of an address; `read_route` reads the answer."""
    payload = _RTMSG.pack(AF_INET, 32, 0, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH)
    payload += netlink.pack_attr(_RTA_DST, address.packed)
    return netlink.pack_message(_RTM_GETROUTE, 0, payload)


def read_route(answer: Answer) -> int | None:
    """Index of the link that the entry leads to; None without one."""
    if isinstance(answer, OSError):
        return None
    oif = parse_attrs(answer[_RTMSG.size :]).get(_RTA_OIF)
    return None if oif is None else struct.unpack("=i", oif)[0]


def ask_neighbour(index: int, address: IPv4Address) -> bytearray:
    """The question for a link's neighbour; `read_permanent_neighbour` reads the answer."""
    payload = _NDMSG.pack(AF_INET, index, 0, 0, 0) + netlink.pack_attr(_NDA_DST, address.packed)
    return netlink.pack_message(_RTM_GETNEIGH, 0, payload)


def read_permanent_neighbour(answer: Answer) -> str | None:
    """The MAC of a permanent neighbour entry, or None."""
    if isinstance(answer, OSError) or not _NDMSG.unpack_from(answer)[2] & _NUD_PERMANENT:
        return None
    mac = parse_attrs(answer[_NDMSG.size :]).get(_NDA_LLADDR)
    return None if mac is None else bytes(mac).hex(":")


def _text(payload: memoryview) -> str:
    return bytes(payload).rstrip(b"\0").decode("ascii", "replace")
