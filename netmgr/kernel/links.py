"""Owns: a sandbox's link: the veth pair between its namespace and the hub, and what makes it work.

Knows nothing of rules and sets. The order is part of the fence: the hub's end is born without ARP,
gets its permanent neighbour and its route only when it comes up, and it comes up last.

Permanent neighbours on both ends, since the kernel's neighbour table is one for the machine: with
ARP the 512th sandbox broke all of them (measured).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from netmgr.errors import Conflict, HostFailed, NotFound
from netmgr.kernel import netns, rtnl, sysctls
from netmgr.kernel.facts import SANDBOX_LINK, HubLink
from netmgr.kernel.fence import kernel_errors
from netmgr.kernel.netlink import NetlinkSocket
from netmgr.model import Lease

OPERATIONAL_S: Final = 5.0  # the kernel's worker needs a lock that a busy host holds for long
POLL_S: Final = 0.001
LO_INDEX: Final = 1  # include/net/net_namespace.h: LOOPBACK_IFINDEX
HUB_MAC: Final = "02:6e:6d:00:00:01"  # locally administered; the same on every hub end
_SANDBOX_MAC: Final = bytes.fromhex("066e")  # and the address: nothing to read back or to store

# Links that some kernels put into every new namespace, always down (net.core.fb_tunnels_only_for_
# init_net = 0): without CAP_NET_ADMIN nobody inside can raise them.
FALLBACK_LINKS: Final = frozenset(
    ["tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"]
)
_ENODEV: Final = 19


def sandbox_mac(address: IPv4Address) -> str:
    """The MAC of a sandbox's eth0: it follows from its address."""
    return (_SANDBOX_MAC + address.packed).hex(":")


def foreign_links(links: tuple[rtnl.LinkFacts, ...]) -> tuple[str, ...]:
    """Names of links that a namespace without a door does not have."""
    return tuple(
        link.name
        for link in links
        if link.index != LO_INDEX and (link.up or link.name not in FALLBACK_LINKS)
    )


def foreign_links_in(netns_fd: int) -> tuple[str, ...]:
    """The same for the namespace behind a descriptor."""
    with netns.entered(netns_fd):
        return foreign_links(_read_own())


def remove_links_in(netns_fd: int) -> tuple[str, ...]:
    """Remove what others put into the namespace behind a descriptor; names of what cannot be
    removed (a physical device).

    Raises:
        HostFailed: the kernel refused otherwise.
    """
    with netns.entered(netns_fd), kernel_errors("remove links"):
        sock = NetlinkSocket(rtnl.NETLINK_ROUTE)
        try:
            names = foreign_links(rtnl.get_links(sock))
            # Some refuse (a physical device) and some are gone with another one: what counts is
            # what is left.
            sock.send_batch([rtnl.del_link(name) for name in names])
            return foreign_links(rtnl.get_links(sock))
        finally:
            sock.close()


def _read_own() -> tuple[rtnl.LinkFacts, ...]:
    with kernel_errors("list links"):
        sock = NetlinkSocket(rtnl.NETLINK_ROUTE)
        try:
            return rtnl.get_links(sock)
        finally:
            sock.close()


@dataclass(frozen=True, slots=True)
class HubEnd:
    """The hub's end of a sandbox's link.

    Attributes:
        link: None where there is none.
        route: the sandbox's address leads to it.
        neighbour: it has the sandbox's permanent neighbour entry.
    """

    lease: Lease
    link: rtnl.LinkFacts | None
    route: bool
    neighbour: bool

    def differences(self) -> tuple[str, ...]:
        """What it lacks of what `HubLinks.up` gives it, in words."""
        name, address = self.lease.link, self.lease.address
        if self.link is None:
            return (f"link {name} is not in the hub",)
        found = list(_born_wrong(self.link))
        if not self.link.up:
            found.append(f"link {name} is down")
        if not self.route:
            found.append(f"the hub has no route {address}/32 over {name}")
        if not self.neighbour:
            found.append(f"the hub has no permanent neighbour {address} on {name}")
        return tuple(found)


class HubLinks:
    """The sandboxes' links of one hub.

    Args:
        hub: descriptor of the hub's namespace; stays the caller's.
        gateway: next hop of every sandbox.
    """

    def __init__(self, hub: int, gateway: IPv4Address) -> None:
        self._hub = hub
        self._gateway = gateway
        with netns.entered(hub), kernel_errors("open netlink in the hub"):
            self._netlink = NetlinkSocket(rtnl.NETLINK_ROUTE)

    def close(self) -> None:
        """Close the connection; links stay."""
        self._netlink.close()

    def attach(self, netns_fd: int, lease: Lease) -> None:
        """Make the pair and configure the sandbox's end; the hub's end stays down.

        Raises:
            Conflict: a link of that name stands in the hub or in the sandbox.
            HostFailed: the kernel refused; no link is left.
        """
        with netns.entered(netns_fd):
            sysctls.pin_alone(*sysctls.IPV6_OFF_AT_BIRTH)
            with kernel_errors(f"make link {lease.link}"):
                inside = NetlinkSocket(rtnl.NETLINK_ROUTE)
                try:
                    self._make(inside, lease)
                finally:
                    inside.close()

    def _make(self, inside: NetlinkSocket, lease: Lease) -> None:
        mac = sandbox_mac(lease.address)
        pair = rtnl.new_veth(SANDBOX_LINK, mac, lease.link, HUB_MAC, self._hub)
        try:
            inside.run([rtnl.set_link_up(LO_INDEX), pair])
        except FileExistsError as taken:
            if self.find(lease.link) is not None:
                raise Conflict(f"link {lease.link} stands in the hub") from taken
            raise Conflict(f"the namespace has a link {SANDBOX_LINK}") from taken
        try:
            self._configure_inside(inside, lease)
        except BaseException:
            inside.send_batch([rtnl.del_link(SANDBOX_LINK)])
            raise

    def _configure_inside(self, inside: NetlinkSocket, lease: Lease) -> None:
        made = rtnl.get_link(inside, SANDBOX_LINK)
        if made is None or made.ipv6:
            raise HostFailed(f"link {lease.link}: IPv6 is not off inside the sandbox")
        inside.run(
            [
                rtnl.new_address(made.index, lease.address),
                rtnl.set_link_up(made.index),
                rtnl.new_neighbour(made.index, self._gateway, HUB_MAC),
                rtnl.new_default_route(made.index, self._gateway),
            ]
        )

    def up(self, lease: Lease) -> None:
        """Set the hub's end up with its neighbour and route, and read all of it back.

        Raises:
            NotFound: no such link.
            HostFailed: what was read back is not what was written; the link is removed.
        """
        link = self.find(lease.link)
        if link is None:
            raise NotFound(f"link {lease.link} is not in the hub")
        wrong = _born_wrong(link)
        if wrong:
            raise HostFailed(f"link {lease.link} is not fit to be set up: {', '.join(wrong)}")
        with kernel_errors(f"set link {lease.link} up"):
            self._netlink.run(
                [
                    rtnl.set_link_up(link.index),
                    rtnl.new_neighbour(link.index, lease.address, sandbox_mac(lease.address)),
                    rtnl.new_host_route(link.index, lease.address),
                ]
            )
        try:
            wrong = self._read_back(lease, link).differences()
            if wrong:
                raise HostFailed(f"link {lease.link} was removed again: {', '.join(wrong)}")
        except BaseException:
            self.detach(lease)
            raise

    def _read_back(self, lease: Lease, link: rtnl.LinkFacts) -> HubEnd:
        """The hub's end, as soon as the sandbox's end takes packets.

        The end that comes up first gets its queue from a kernel worker, once the carrier is there;
        until then it drops what is sent, silently. A name server's first answer would be missing.

        Raises:
            HostFailed: it takes none within OPERATIONAL_S.
        """
        if link.peer is None:
            raise HostFailed(f"link {link.name} has no other end in another namespace")
        deadline = time.monotonic() + OPERATIONAL_S
        while True:
            with kernel_errors(f"read both ends of {link.name}"):
                peer, *answers = self._netlink.ask_each(
                    [rtnl.ask_peer(link.peer), *_questions(lease, link.index)]
                )
                inside, end = rtnl.read_link(peer), _read_end(lease, link.index, answers)
            if inside is not None and inside.operational:
                return end
            if time.monotonic() > deadline:
                raise HostFailed(
                    f"the sandbox's end of {link.name} takes no packets after {OPERATIONAL_S} s"
                )
            time.sleep(POLL_S)

    def look(self, lease: Lease) -> HubEnd:
        """The hub's end as it stands."""
        link = self.find(lease.link)
        if link is None:
            return HubEnd(lease, None, route=False, neighbour=False)
        with kernel_errors(f"read link {link.name}, its route and its neighbour"):
            answers = self._netlink.ask_each(_questions(lease, link.index))
            return _read_end(lease, link.index, answers)

    def detach(self, lease: Lease) -> None:
        """Delete the pair, if it is there. Route and neighbour go with it."""
        with kernel_errors(f"delete link {lease.link}"):
            error = self._netlink.send_batch([rtnl.del_link(lease.link)])[0]
            if error not in (0, _ENODEV):
                raise OSError(error, "the kernel refused")

    def find(self, name: str) -> rtnl.LinkFacts | None:
        """A link of the hub by name."""
        with kernel_errors(f"read link {name}"):
            return rtnl.get_link(self._netlink, name)

    def links(self) -> dict[str, HubLink]:
        """Every link of the hub but lo and what kernels put into each namespace."""
        with kernel_errors("list the hub's links"):
            found = rtnl.get_links(self._netlink)
        names = foreign_links(found)
        return {
            link.name: HubLink(link.name, link.index, link.up)
            for link in found
            if link.name in names
        }

    def routes(self) -> frozenset[Lease]:
        """Each /32 route of the hub with the link that it leads to."""
        with kernel_errors("list the hub's routes"):
            names = {link.index: link.name for link in rtnl.get_links(self._netlink)}
            routes = rtnl.get_host_routes(self._netlink)
        return frozenset(Lease(ip, names[at]) for ip, at in routes.items() if at in names)


def _questions(lease: Lease, index: int) -> list[bytearray]:
    """What a hub's end is known by: itself, the route of its address, its neighbour."""
    return [
        rtnl.ask_link(lease.link),
        rtnl.ask_route(lease.address),
        rtnl.ask_neighbour(index, lease.address),
    ]


def _read_end(lease: Lease, index: int, answers: Sequence[rtnl.Answer]) -> HubEnd:
    link, route, neighbour = answers
    return HubEnd(
        lease,
        rtnl.read_link(link),
        route=rtnl.read_route(route) == index,
        neighbour=rtnl.read_permanent_neighbour(neighbour) == sandbox_mac(lease.address),
    )


def _born_wrong(link: rtnl.LinkFacts) -> tuple[str, ...]:
    """What a hub end must have from birth and does not: it inherits the hub's pinned defaults."""
    found = list(link.differences(sysctls.LINK))
    if link.kind != "veth":
        found.append(f"it is a {link.kind or 'device'}, not a veth")
    if not link.flags & rtnl.IFF_NOARP:
        found.append("ARP is on")
    if link.ipv6:
        found.append("IPv6 is on")
    return tuple(found)
