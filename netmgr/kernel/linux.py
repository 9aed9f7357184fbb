"""Owns: the `Kernel` of a Linux host: puts this room's parts together behind the narrow waist.

Knows nothing of policies, names, stores or workers. The namespace that the object is made in is
"the host"; every call leaves the thread there.
"""

import os
import socket
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from pyroute2 import IPRoute

from netmgr.errors import Conflict, LimitExceeded, NotFound
from netmgr.kernel import hub, netns, sysctls
from netmgr.kernel.claim import Claim
from netmgr.kernel.destinations import Destinations
from netmgr.kernel.evict import evict
from netmgr.kernel.facts import (
    NO_WANTS,
    AllowEntry,
    Content,
    Counters,
    Flow,
    HubSpec,
    Listeners,
    Netns,
    NetnsId,
    Owners,
    Standing,
    Survey,
    Wants,
)
from netmgr.kernel.identify import Identifier
from netmgr.kernel.ipset import Ipset
from netmgr.kernel.ipset_codec import Entry, Listed
from netmgr.kernel.links import HubLinks
from netmgr.kernel.look import (
    inside_differences,
    look_link,
    look_netns,
    look_sets,
    set_entry,
    socket_picture,
)
from netmgr.kernel.pictures import HubPicture, SandboxPicture, SysctlPicture
from netmgr.kernel.pins import Pins, open_pin
from netmgr.kernel.sets import (
    EVERYWHERE,
    SetNames,
    allow_entries,
    belongs_to,
    lease_entries,
    parse_allow,
    parse_lease,
)
from netmgr.kernel.sockdiag import DiagSocket, SockDiag
from netmgr.model import Lease, NetnsSource, SandboxName


class _Hub:
    """What is open while a hub stands: its descriptor and the connections made inside it."""

    def __init__(self, fd: int, spec: HubSpec) -> None:
        self.fd = fd
        self.identity = netns.identity(fd)
        self.links = HubLinks(fd, spec.gateway)
        with netns.entered(fd):
            self.ipsets = Ipset()
            self.diag = SockDiag()

    def close(self) -> None:
        self.links.close()
        self.ipsets.close()
        self.diag.close()
        os.close(self.fd)


class LinuxKernel:
    """See netmgr.kernel.kernel.Kernel for what each verb promises."""

    def __init__(self, spec: HubSpec) -> None:
        self.spec = spec
        self._names = SetNames.of(spec.instance)
        self._host = netns.open_own()
        self._host_identity = netns.identity(self._host)
        self._standing: _Hub | None = None
        self._listeners: Listeners | None = None
        self._identifier = Identifier()
        self._pins = Pins(spec)
        self._claim = Claim(spec.netns_dir / spec.hub_netns, spec.instance)

    # -- the hub -----------------------------------------------------------------------------

    @property
    def _hub(self) -> _Hub:
        if self._standing is None:
            raise NotFound("the hub was not made yet")
        return self._standing

    def ensure_hub(self) -> bool:
        """Make or adopt the hub."""
        self._claim.take()  # before anything of another daemon's is touched
        fd, adopted = hub.ensure_hub(self.spec)
        self._claim.take()
        if self._standing is not None and self._standing.identity != netns.identity(fd):
            self._forget_hub()  # somebody removed the one that we knew
        if self._standing is None:
            self._standing = _Hub(fd, self.spec)
        else:
            os.close(fd)
        return adopted

    def hub_descriptor(self) -> int:
        """The hub's namespace."""
        return self._hub.fd

    def open_listeners(self, proxies: int) -> Listeners:
        """The workers' sockets."""
        if self._listeners is None:
            evict(self._hub.identity)
            with netns.entered(self._hub.fd):
                self._listeners = hub.open_listeners(self.spec, proxies)
        elif len(self._listeners.proxy) != proxies:
            raise Conflict(f"{len(self._listeners.proxy)} proxy listeners are open, not {proxies}")
        return self._listeners

    def remove_hub(self) -> None:
        """Remove it with all that is in it."""
        self._forget_hub()
        hub.remove_hub(self.spec)
        self._claim.release()

    def _forget_hub(self) -> None:
        if self._listeners is not None:
            found = self._listeners
            for fd in (*found.proxy, found.dns_udp, found.dns_tcp, found.nflog):
                os.close(fd)
            self._listeners = None
        if self._standing is not None:
            self._standing.close()
            self._standing = None

    # -- namespaces --------------------------------------------------------------------------

    def make_netns(self, sandbox: SandboxName) -> Netns:
        """A namespace of our own."""
        return self._pins.make(sandbox)

    def pin_netns(
        self, sandbox: SandboxName, source: NetnsSource, *, replace_links: bool = False
    ) -> Netns:
        """A namespace that others made."""
        known = {self._host_identity: "the host's own", self._hub.identity: "the hub's"}
        return self._pins.pin(sandbox, source, known, replace_links=replace_links)

    def find_netns(self, sandbox: SandboxName) -> Netns | None:
        """The sandbox's namespace, if there is one."""
        return self._pins.find(sandbox)

    def delete_netns(self, sandbox: SandboxName) -> None:
        """Remove our pin."""
        gone = self._pins.delete(sandbox)
        if gone is not None:
            self._identifier.forget(gone)

    # -- what may pass -----------------------------------------------------------------------

    def add_bind(self, lease: Lease) -> None:
        """Take the sandbox's packets."""
        entries = lease_entries(self._names, lease)
        self._hub.ipsets.run([("add", name, entry) for name, entry in entries])

    def del_bind(self, lease: Lease) -> None:
        """Take them no longer."""
        muted = (self._names.muted, Entry(EVERYWHERE, iface=lease.link))
        entries = (*reversed(lease_entries(self._names, lease)), muted)
        self._hub.ipsets.run([("del", name, entry) for name, entry in entries])

    def add_allow(self, entries: Iterable[AllowEntry]) -> None:
        """Lead destinations to the proxy."""
        self._run_allow("add", entries)

    def del_allow(self, entries: Iterable[AllowEntry]) -> None:
        """Refuse them again."""
        self._run_allow("del", entries)

    def _run_allow(self, verb: str, entries: Iterable[AllowEntry]) -> None:
        changes = allow_entries(self._names, entries)
        self._hub.ipsets.run([(verb, name, entry) for name, entry in changes])

    # -- links -------------------------------------------------------------------------------

    def attach_link(self, netns: Netns, lease: Lease) -> None:
        """The veth pair, the hub's end down."""
        fd = open_pin(netns)
        try:
            self._hub.links.attach(fd, lease)
        finally:
            os.close(fd)

    def link_up(self, lease: Lease) -> None:
        """The hub's end up."""
        self._hub.links.up(lease)

    def detach_link(self, lease: Lease) -> None:
        """The pair gone."""
        self._hub.links.detach(lease)

    # -- sockets -----------------------------------------------------------------------------

    def destroy_sockets(self, address: IPv4Address) -> int:
        """Destroy the hub's sockets of a sandbox."""
        return self._hub.diag.destroy(address)

    def destroy_flows(self, revoked: Iterable[AllowEntry], kept: Iterable[AllowEntry] = ()) -> int:
        """Destroy the hub's sockets of revoked flows, by one listing however many entries."""
        gone, still = Destinations(revoked), Destinations(kept)
        if not gone:
            return 0

        def is_meant(each: DiagSocket) -> bool:
            flow = (each.remote, each.local_port, each.local)
            return gone.covers(*flow) and not still.covers(*flow)

        only = next(iter(gone.addresses)) if len(gone.addresses) == 1 else None
        return self._hub.diag.destroy(only, is_meant)

    def count_sockets(self, address: IPv4Address) -> int:
        """How many are left."""
        return len(self._hub.diag.tcp(address))

    def find_owners(self, netns: Netns, flow: Flow, wants: Wants = NO_WANTS) -> Owners:
        """Who holds the sandbox's end."""
        return self._identifier.owners(netns, flow, wants)

    def find_owners_again(self, netns: Netns, flow: Flow, wants: Wants = NO_WANTS) -> Owners | None:
        """The same where nothing has changed since."""
        return self._identifier.owners_again(netns, flow, wants)

    def hash_program(self, netns: NetnsId, pid: int, content: Content) -> "Future[str | None]":
        """The content hash of what a process runs."""
        return self._identifier.hashes.of(netns, pid, content)

    # -- facts -------------------------------------------------------------------------------

    def survey(self) -> Survey:
        """Everything of this instance."""
        names = self._names
        return Survey(
            netns=self._pins.all(),
            links=self._hub.links.links(),
            binds=frozenset(parse_lease(each.entry) for each in self._list(names.bind)),
            allow=parse_allow(
                each.entry for name in (names.allow, names.networks) for each in self._list(name)
            ),
            routes=self._hub.links.routes(),
        )

    def standing(self, lease: Lease, entries: Iterable[AllowEntry]) -> Standing:
        """What of one sandbox stands."""
        end, wanted = self._hub.links.look(lease), list(entries)
        *_, bound = lease_entries(self._names, lease)
        asked = [(allow_entries(self._names, [entry]), entry) for entry in wanted]
        members = [bound, *(member for members, _ in asked for member in members)]
        found = dict(zip(members, self._hub.ipsets.test_each(members), strict=True))
        lost = (entry for members, entry in asked if not all(found[each] for each in members))
        return Standing(end.link is not None, found[bound], end.route, frozenset(lost))

    def mend_routing(self) -> tuple[str, ...]:
        """The hub's own routing as it shall be."""
        with netns.entered(self._hub.fd):
            return hub.mend_routing(self.spec)

    def counters(self, lease: Lease) -> Counters:
        """The sandbox's numbers."""
        refused = self.refusals().get(lease)
        if refused is None:
            return Counters()
        packets = octets = 0
        for listed in self._list_allowed(lease.address):
            packets += listed.packets or 0
            octets += listed.bytes or 0
        return replace(refused, allowed_packets=packets, allowed_bytes=octets)

    def refusals(self) -> dict[Lease, Counters]:
        """Denied numbers of all."""
        denied = {each.entry.net.network_address: each for each in self._list(self._names.denied)}
        found: dict[Lease, Counters] = {}
        for bound in self._list(self._names.bind):
            lease = parse_lease(bound.entry)
            counted = denied.get(lease.address)
            if counted is not None:
                found[lease] = Counters(
                    denied_packets=counted.packets or 0, denied_bytes=counted.bytes or 0
                )
        return found

    def _list(self, name: str) -> tuple[Listed, ...]:
        found = self._hub.ipsets.list(name)
        return () if found is None else found[1]

    def _list_allowed(self, address: IPv4Address) -> list[Listed]:
        return [
            each
            for name in (self._names.allow, self._names.networks)
            for each in self._list(name)
            if belongs_to(each.entry, address)
        ]

    def mute_spoofing(self, links: Iterable[str]) -> None:
        """Count instead of logging."""
        with suppress(LimitExceeded):  # the log rule's own limit holds for the rest
            entries = [Entry(EVERYWHERE, iface=link) for link in links]
            self._hub.ipsets.add(self._names.muted, entries)

    def unmute_spoofing(self) -> dict[str, int]:
        """Log again, and give what was counted."""
        self._hub.ipsets.swap(self._names.muted, self._names.spare)
        counted = self._list(self._names.spare)
        self._hub.ipsets.flush(self._names.spare)
        return {each.entry.iface or "": each.packets or 0 for each in counted}

    def host_routes(self) -> tuple[IPv4Network, ...]:
        """Destinations that the host routes."""
        with IPRoute() as ip:
            found = hub.retry_dump(lambda: list(ip.get_routes(family=socket.AF_INET)))
        return tuple(
            dict.fromkeys(
                IPv4Network((route.get_attr("RTA_DST"), route["dst_len"]))
                for route in found
                if route.get_attr("RTA_DST") is not None
            )
        )

    def host_addresses(self) -> frozenset[str]:
        """Every address of the host."""
        with IPRoute() as ip:
            found = hub.retry_dump(lambda: list(ip.get_addr()))
        addresses = (each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS") for each in found)
        return frozenset(address for address in addresses if address)

    def look_hub(self) -> HubPicture:
        """The hub as it stands."""
        with netns.entered(self._hub.fd):
            keys = {**sysctls.HUB, **sysctls.link_keys(self._hub.links.links())}
            wrong = sysctls.differences(keys)
        names = tuple(getattr(self._names, each) for each in self._names.__slots__)
        return HubPicture(
            netns=look_netns(self.spec.netns_dir / self.spec.hub_netns, self._hub.fd),
            sets=look_sets(self._hub.ipsets, names),
            sockets=tuple(map(socket_picture, self._hub.diag.tcp())),
            sysctl_differences=tuple(
                SysctlPicture(each.key, each.expected, each.found or "absent") for each in wrong
            ),
        )

    def look_sandbox(self, netns: Netns, lease: Lease) -> SandboxPicture:
        """A sandbox as it stands."""
        fd = open_pin(netns)
        try:
            inside = look_netns(netns.path, fd)
        finally:
            os.close(fd)
        end = self._hub.links.look(lease)
        bound = all(
            self._hub.ipsets.test(name, entry) for name, entry in lease_entries(self._names, lease)
        )
        words = (*inside_differences(inside, lease, self.spec), *end.differences())
        if not bound:
            words = (*words, f"{lease.address} is not bound to {lease.link}")
        return SandboxPicture(
            netns=inside,
            hub_link=look_link(self._hub.fd, lease.link),
            hub_route=end.route,
            hub_neighbour=end.neighbour,
            bound=bound,
            allow=tuple(map(set_entry, self._list_allowed(lease.address))),
            sockets=tuple(map(socket_picture, self._hub.diag.tcp(lease.address))),
            differences=words,
        )

    def close(self) -> None:
        """Close every descriptor."""
        self._forget_hub()
        self._claim.release()
        self._identifier.close()
        os.close(self._host)
