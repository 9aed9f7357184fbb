"""Owns: reading the picture of a namespace out of the kernel. Read-only.

For people (`hub show`, `sandbox show`, `check`), so completeness comes before speed.
"""

import errno
import os
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from netmgr.errors import HostFailed
from netmgr.kernel import netns, rtnl
from netmgr.kernel.facts import SANDBOX_LINK, HubSpec
from netmgr.kernel.hub import read_rules, retry_dump
from netmgr.kernel.ipset import Ipset
from netmgr.kernel.ipset_codec import Listed, SetSpec
from netmgr.kernel.links import HUB_MAC
from netmgr.kernel.pictures import (
    AddressPicture,
    LinkPicture,
    NeighbourPicture,
    NetnsPicture,
    RoutePicture,
    RoutingRulePicture,
    SetEntryPicture,
    SetPicture,
    SocketPicture,
)
from netmgr.kernel.sockdiag import DiagSocket
from netmgr.model import Lease

_NUD_PERMANENT: Final = 0x80
_ROUTE_TYPES: Final = {1: "unicast", 2: "local", 3: "broadcast", 5: "multicast", 6: "blackhole"}


def look_netns(path: Path, fd: int) -> NetnsPicture:
    """The namespace behind `fd`.

    Raises:
        HostFailed: the kernel refused.
    """
    with netns.entered(fd):
        try:
            with IPRoute() as ip:
                return _look(ip, str(path), os.fstat(fd).st_ino)
        except NetlinkError as refusal:
            raise HostFailed(f"look into {path}: {refusal}") from refusal


def look_link(fd: int, name: str) -> LinkPicture | None:
    """One link of the namespace behind `fd`, or None.

    Raises:
        HostFailed: the kernel refused.
    """
    with netns.entered(fd):
        try:
            with IPRoute() as ip:
                return next((_link(found) for found in ip.link("get", ifname=name)), None)
        except NetlinkError as refusal:
            if refusal.code == errno.ENODEV:
                return None
            raise HostFailed(f"look at link {name}: {refusal}") from refusal


def _look(ip: IPRoute, path: str, inode: int) -> NetnsPicture:
    links = [_link(message) for message in retry_dump(lambda: list(ip.get_links()))]
    names = {link.index: link.name for link in links}
    return NetnsPicture(
        path=path,
        inode=inode,
        links=tuple(links),
        addresses=_map(ip.get_addr, lambda found: _address(found, names)),
        routes=_map(ip.get_routes, lambda found: _route(found, names)),
        neighbours=_map(ip.get_neighbours, lambda found: _neighbour(found, names)),
        routing_rules=tuple(RoutingRulePicture(*rule) for rule in read_rules(ip)),
    )


def _map(dump: Callable[[], Any], picture: Callable[[Any], Any]) -> tuple[Any, ...]:
    return tuple(map(picture, retry_dump(lambda: list(dump()))))


def _link(found: Any) -> LinkPicture:
    statistics = found.get_attr("IFLA_STATS64") or {}
    info = found.get_attr("IFLA_LINKINFO")
    return LinkPicture(
        name=found.get_attr("IFLA_IFNAME"),
        index=found["index"],
        kind=info.get_attr("IFLA_INFO_KIND") if info is not None else None,
        up=bool(found["flags"] & rtnl.IFF_UP),
        carrier=bool(found["flags"] & rtnl.IFF_LOWER_UP),
        arp=not found["flags"] & rtnl.IFF_NOARP,
        mac=found.get_attr("IFLA_ADDRESS"),
        mtu=found.get_attr("IFLA_MTU"),
        rx_packets=statistics.get("rx_packets", 0),
        tx_packets=statistics.get("tx_packets", 0),
    )


def _address(found: Any, names: dict[int, str]) -> AddressPicture:
    address = found.get_attr("IFA_LOCAL") or found.get_attr("IFA_ADDRESS")
    return AddressPicture(names.get(found["index"], ""), f"{address}/{found['prefixlen']}")


def _route(found: Any, names: dict[int, str]) -> RoutePicture:
    destination = found.get_attr("RTA_DST")
    return RoutePicture(
        table=found.get_attr("RTA_TABLE") or found["table"],
        type=_ROUTE_TYPES.get(found["type"], str(found["type"])),
        destination=f"{destination}/{found['dst_len']}" if destination else "default",
        gateway=found.get_attr("RTA_GATEWAY"),
        link=names.get(found.get_attr("RTA_OIF") or 0),
    )


def _neighbour(found: Any, names: dict[int, str]) -> NeighbourPicture:
    return NeighbourPicture(
        address=found.get_attr("NDA_DST"),
        link=names.get(found["ifindex"], ""),
        mac=found.get_attr("NDA_LLADDR"),
        permanent=bool(found["state"] & _NUD_PERMANENT),
    )


def look_sets(ipsets: Ipset, names: tuple[str, ...]) -> tuple[SetPicture, ...]:
    """The named sets with every entry; those that are missing are left out."""
    found = (ipsets.list(name) for name in names)
    return tuple(_set(*each) for each in found if each is not None)


def _set(spec: SetSpec, listed: tuple[Listed, ...]) -> SetPicture:
    entries = tuple(set_entry(each) for each in listed)
    return SetPicture(spec.name, spec.type.kernel_name, spec.max_entries, entries)


def set_entry(listed: Listed) -> SetEntryPicture:
    """One member of a set."""
    return SetEntryPicture(str(listed.entry), listed.packets, listed.bytes)


def socket_picture(found: DiagSocket) -> SocketPicture:
    """One socket."""
    return SocketPicture(
        found.state,
        _endpoint(found.local, found.local_port),
        _endpoint(found.remote, found.remote_port),
        found.inode,
    )


def _endpoint(address: IPv4Address, port: int) -> str:
    return f"{address}:{port}"


def inside_differences(found: NetnsPicture, lease: Lease, spec: HubSpec) -> tuple[str, ...]:
    """What a sandbox's own side lacks of what `attach_link` gave it, in words."""
    words: list[str] = []
    names = {link.name for link in found.links if link.up}
    if SANDBOX_LINK not in names:
        words.append(f"{SANDBOX_LINK} is missing or down in the sandbox")
    others = names - {"lo", SANDBOX_LINK}
    if others:
        words.append(f"the sandbox has other links: {', '.join(sorted(others))}")
    addresses = {each.address for each in found.addresses if each.link == SANDBOX_LINK}
    if addresses != {f"{lease.address}/32"}:
        words.append(
            f"{SANDBOX_LINK} has {', '.join(sorted(addresses)) or 'no address'} "
            f"instead of {lease.address}/32"
        )
    gateway = str(spec.gateway)
    if not any(r.destination == "default" and r.gateway == gateway for r in found.routes):
        words.append(f"the sandbox has no default route via {gateway}")
    if not any(n.address == gateway and n.permanent and n.mac == HUB_MAC for n in found.neighbours):
        words.append(f"the sandbox has no permanent neighbour {gateway}")
    return tuple(words)
