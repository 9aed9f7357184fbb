"""Owns: the hub's namespace: making or adopting it, its routing, sysctls, sets and listeners.

It has no uplink and nothing here could give it one. Knows nothing of sandboxes and rules: the
rules helper installs those after `ensure_hub` and before the first link.

Routing (design, "every address is local"): a mark that mangle PREROUTING gives to all that comes
in selects the local table, where `local default` stands; so every packet is delivered here and none
is ever a candidate for forwarding. The hub's own packets carry no mark: they find the sandboxes'
/32 routes in main first and everything else is local. `local default` is in table local and not in
one of its own: otherwise the hub's ICMP refusals are not sent (measured).
"""

import os
import socket
from collections.abc import Callable
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

from netmgr.errors import BadInput, HostFailed, NotFound
from netmgr.kernel import netns, nflog, rtnl, ruleset, sysctls
from netmgr.kernel.facts import HubSpec, Listeners
from netmgr.kernel.fence import kernel_errors
from netmgr.kernel.ipset import Ipset
from netmgr.kernel.ipset_codec import Entry
from netmgr.kernel.links import LO_INDEX, foreign_links
from netmgr.kernel.netlink import NetlinkSocket
from netmgr.kernel.sets import UNSEEN, SetNames, set_specs

MARK: Final = ruleset.MARK
DNS_PORT: Final = 53
ANY: Final = "0.0.0.0"  # noqa: S104  # in a namespace without uplink; INPUT says who may come
BACKLOG: Final = 4096  # net.core.somaxconn's default; SYN cookies guard what is beyond
DUMP_ATTEMPTS: Final = 20  # a table that changes under each of 20 dumps is a fault, not bad luck
DNS_RECEIVE_BUFFER: Final = 4 * 1024 * 1024  # a burst of 4,000 sandboxes' queries

# include/uapi/linux/in.h
_IP_PKTINFO: Final = 8
_IP_TRANSPARENT: Final = 19

RULES: Final = (
    (1, rtnl.RT_TABLE_LOCAL, MARK),
    (2, rtnl.RT_TABLE_MAIN, None),
    (3, rtnl.RT_TABLE_LOCAL, None),
)
"""(priority, table, fwmark) of each routing rule of a hub; there are no others."""


def ensure_hub(spec: HubSpec) -> tuple[int, bool]:
    """Make the hub, or adopt it, and put right what differs. Gives (descriptor, adopted).

    Raises:
        HostFailed: the kernel refused or lacks something; a link that is no veth stands in it.
    """
    netns.prepare_directory(spec.netns_dir)
    path = spec.netns_dir / spec.hub_netns
    adopted = path in netns.list_pins(spec.netns_dir, spec.hub_netns) and _is_whole(spec)
    if not adopted:
        netns.delete(path)
        netns.create(path)
    fd = netns.open_path(path)
    try:
        with netns.entered(fd):
            _put_right(spec)
    except BaseException:
        os.close(fd)
        raise
    return fd, adopted


def _put_right(spec: HubSpec) -> None:
    """Inside the hub: no uplink, sysctls, routing, sets."""
    links = _read_links()
    _refuse_uplinks(links)
    wrong = [link.name for link in links if link.kind == "veth" and link.differences(sysctls.LINK)]
    sysctls.pin({**sysctls.HUB, **sysctls.link_keys(wrong)})
    _ensure_routing(spec)
    ensure_sets(spec)


def _is_whole(spec: HubSpec) -> bool:
    """Whether the pin is a namespace: a creation that was killed leaves an empty file."""
    try:
        os.close(netns.open_path(spec.netns_dir / spec.hub_netns))
    except (BadInput, NotFound):
        return False
    return True


def remove_hub(spec: HubSpec) -> None:
    """Remove the hub's pin. Links, rules and sets end with the namespace."""
    netns.delete(spec.netns_dir / spec.hub_netns)


def ensure_sets(spec: HubSpec) -> None:
    """Make every set that is missing. Called inside the hub.

    Raises:
        HostFailed: the kernel lacks a set type, or a set stands with other parameters.
    """
    ipsets = Ipset()
    try:
        for each in set_specs(spec):
            ipsets.create(each)
        names = SetNames.of(spec.instance)
        ipsets.add(names.unseen, [Entry(net) for net in UNSEEN])
        for name in (names.muted, names.spare):
            ipsets.flush(name)  # who muted a link before us will not unmute it
    finally:
        ipsets.close()


def _read_links() -> tuple[rtnl.LinkFacts, ...]:
    with kernel_errors("list the hub's links"):
        sock = NetlinkSocket(rtnl.NETLINK_ROUTE)
        try:
            return rtnl.get_links(sock)
        finally:
            sock.close()


def _refuse_uplinks(found: tuple[rtnl.LinkFacts, ...]) -> None:
    foreign = foreign_links(found)
    wrong = [link.name for link in found if link.name in foreign and link.kind != "veth"]
    if wrong:
        raise HostFailed(
            f"the hub has a link that is no sandbox's: {', '.join(wrong)}; it must have none. "
            "Remove it, or remove the hub",
            links=wrong,
        )


# -- routing -------------------------------------------------------------------------------------


def mend_routing(spec: HubSpec) -> tuple[str, ...]:
    """Put routing right where it is not as `ensure_hub` left it; gives what was wrong.

    Called inside the hub.

    Raises:
        HostFailed: the kernel refused.
    """
    with IPRoute() as ip:
        standing = read_rules(ip)
        default = _has_local_default(ip)
    wrong = [f"ip rule {rule[0]} was missing" for rule in RULES if rule not in standing]
    wrong += [f"ip rule {rule[0]} was foreign" for rule in standing if rule not in RULES]
    wrong += [] if default else ["the local default route was missing"]
    if wrong:
        _ensure_routing(spec)
    return tuple(wrong)


def _has_local_default(ip: IPRoute) -> bool:
    routes = retry_dump(
        lambda: list(ip.get_routes(family=socket.AF_INET, table=rtnl.RT_TABLE_LOCAL))
    )
    return any(route["dst_len"] == 0 for route in routes)


def _ensure_routing(spec: HubSpec) -> None:
    """lo up with the gateway's address, the local default, and exactly the rules of RULES."""
    with IPRoute() as ip:
        try:
            ip.link("set", index=LO_INDEX, state="up")
            ip.addr("replace", index=LO_INDEX, address=str(spec.gateway), prefixlen=32)
            ip.route(
                "replace",
                type="local",
                dst="0.0.0.0/0",
                oif=LO_INDEX,
                table=rtnl.RT_TABLE_LOCAL,
                scope="host",
            )
            _ensure_rules(ip)
        except NetlinkError as refusal:
            raise HostFailed(f"set up the hub's routing: {refusal}") from refusal


def _ensure_rules(ip: IPRoute) -> None:
    """New rules come before old ones go, so that adoption cuts no flow."""
    standing = read_rules(ip)
    for priority, table, mark in RULES:
        if (priority, table, mark) not in standing:
            words: dict[str, Any] = {"priority": priority, "table": table}
            if mark is not None:
                words |= {"fwmark": mark, "fwmask": 0xFFFF_FFFF}
            ip.rule("add", family=socket.AF_INET, **words)
    for priority, table, mark in standing:
        if (priority, table, mark) not in RULES:
            words = {"priority": priority, "table": table}
            if mark is not None:
                words |= {"fwmark": mark}
            ip.rule("del", family=socket.AF_INET, **words)


def read_rules(ip: IPRoute) -> tuple[tuple[int, int, int | None], ...]:
    """(priority, table, fwmark) of every IPv4 routing rule, in order."""
    found = retry_dump(lambda: list(ip.get_rules(family=socket.AF_INET)))
    return tuple(
        (
            rule.get_attr("FRA_PRIORITY") or 0,
            rule.get_attr("FRA_TABLE") or rule["table"],
            rule.get_attr("FRA_FWMARK") or None,
        )
        for rule in found
    )


def retry_dump(dump: Callable[[], list[Any]]) -> list[Any]:
    """A whole dump, taken again while the table changes under it.

    Raises:
        HostFailed: it changed DUMP_ATTEMPTS times.
    """
    for _ in range(DUMP_ATTEMPTS):
        try:
            return dump()
        except NetlinkDumpInterrupted:
            continue
    raise HostFailed(f"a kernel table changed under {DUMP_ATTEMPTS} dumps in a row")


# -- listeners -----------------------------------------------------------------------------------


def open_listeners(spec: HubSpec, proxies: int) -> Listeners:
    """Open the workers' sockets. Called inside the hub.

    Raises:
        HostFailed: a port is taken (a worker of a dead daemon still holds it?).
    """
    opened: list[int] = []
    try:
        with kernel_errors("open the hub's listeners"):
            for _ in range(proxies):
                opened.append(_open_tcp(spec.proxy_port))
            udp, tcp = _open_dns_udp(), _open_tcp(DNS_PORT)
            opened += (udp, tcp)
            log_socket = nflog.open_nflog(ruleset.GROUPS)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    return Listeners(tuple(opened[:proxies]), udp, tcp, log_socket)


def _open_tcp(port: int) -> int:
    """A transparent listener; several may share the port, each with its own queue."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        sock.bind((ANY, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
        return sock.detach()


def _open_dns_udp() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        sock.setsockopt(socket.SOL_IP, _IP_PKTINFO, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DNS_RECEIVE_BUFFER)
        sock.bind((ANY, DNS_PORT))
        sock.setblocking(False)
        return sock.detach()
