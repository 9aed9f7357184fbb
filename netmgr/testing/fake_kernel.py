"""Owns: a `Kernel` in memory that fails as honestly as the real one (same contract suite).

For tests of lifecycle and above without root. A `FakeWorld` is the kernel; a `FakeKernel` is one
daemon's connection to it: close one, make another on the same world, and adoption is tested.
"""

import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

from netmgr.errors import Conflict, HostFailed, LimitExceeded, NotFound
from netmgr.kernel.destinations import Destinations
from netmgr.kernel.facts import (
    NO_WANTS,
    AllowEntry,
    Content,
    Counters,
    Flow,
    HubLink,
    HubSpec,
    Listeners,
    Netns,
    NetnsId,
    Owners,
    Standing,
    Survey,
    Wants,
)
from netmgr.kernel.links import HUB_MAC, sandbox_mac
from netmgr.kernel.pictures import (
    HubPicture,
    LinkPicture,
    NetnsPicture,
    SandboxPicture,
    SetEntryPicture,
    SetPicture,
)
from netmgr.kernel.sets import MAX_MUTED, SetNames
from netmgr.model import Lease, NetnsSource, SandboxName, StartingPid
from netmgr.testing.fake_world import (
    FakeSocket,
    FakeWorld,
    allow_pictures,
    link_picture,
    socket_picture,
)

T = TypeVar("T")


class FakeKernel:
    """See netmgr.kernel.kernel.Kernel for what each verb promises."""

    def __init__(self, spec: HubSpec, world: FakeWorld | None = None) -> None:
        self.spec = spec
        self.world = world or FakeWorld()
        self._names = SetNames.of(spec.instance)
        self._connected = False
        self._hub_socket: socket.socket | None = None
        self._sockets: list[socket.socket] = []
        self._listeners: Listeners | None = None

    def _may_fail(self, verb: str) -> None:
        if verb in self.world.fail:
            raise HostFailed(f"{verb}: refused by the test")

    def _need_hub(self) -> NetnsId:
        if not self._connected or self.world.hub is None:
            raise NotFound("the hub was not made yet")
        return self.world.hub

    # -- the hub -----------------------------------------------------------------------------

    def ensure_hub(self) -> bool:
        """Make or adopt the hub."""
        self._may_fail("ensure_hub")
        adopted = self.world.hub is not None
        self.world.hub = self.world.hub or self.world.new_netns()
        self._connected = True
        if self._hub_socket is None:
            self._hub_socket = socket.socket()
        return adopted

    def hub_descriptor(self) -> int:
        """A descriptor that stands for the hub's namespace."""
        self._need_hub()
        assert self._hub_socket is not None
        return self._hub_socket.fileno()

    def open_listeners(self, proxies: int) -> Listeners:
        """Sockets that nobody can reach."""
        self._need_hub()
        if self._listeners is None:
            self._sockets = [socket.socket() for _ in range(proxies + 3)]
            fds = [each.fileno() for each in self._sockets]
            self._listeners = Listeners(tuple(fds[:proxies]), *fds[proxies:])
        elif len(self._listeners.proxy) != proxies:
            raise Conflict(f"{len(self._listeners.proxy)} proxy listeners are open, not {proxies}")
        return self._listeners

    def remove_hub(self) -> None:
        """Remove it with all that is in it."""
        self.close()
        world = self.world
        for _, inside, _ in world.hub_links.values():
            world.inside[inside].discard("eth0")
        world.hub_links.clear()
        world.binds.clear()
        world.allow.clear()
        world.counted.clear()
        world.sockets.clear()
        world.hub = None

    # -- namespaces --------------------------------------------------------------------------

    def make_netns(self, sandbox: SandboxName) -> Netns:
        """A namespace of our own."""
        self._may_fail("make_netns")
        path = self._free_path(sandbox)
        self.world.pins[path] = self.world.new_netns()
        return Netns(sandbox, path, self.world.pins[path])

    def pin_netns(
        self, sandbox: SandboxName, source: NetnsSource, *, replace_links: bool = False
    ) -> Netns:
        """A namespace that others made."""
        self._may_fail("pin_netns")
        path = self._free_path(sandbox)
        found = self._source(source)
        if found in (self.world.host, self._need_hub(), *self.world.pins.values()):
            raise Conflict(f"{source} is the host's, the hub's or another sandbox's")
        if self.world.inside[found] and not replace_links:
            raise Conflict(f"{source} has links besides lo")
        self.world.inside[found].clear()
        self.world.pins[path] = found
        return Netns(sandbox, path, found)

    def _source(self, source: NetnsSource) -> NetnsId:
        hub_path = self.spec.netns_dir / self.spec.hub_netns
        if source == hub_path and self.world.hub is not None:
            return self.world.hub
        if isinstance(source, Path) and source in self.world.pins:
            return self.world.pins[source]
        try:
            return self.world.foreign[source.pid if isinstance(source, StartingPid) else source]
        except KeyError:
            raise NotFound(f"{source}: no such network namespace") from None

    def _free_path(self, sandbox: SandboxName) -> Path:
        path = self.spec.netns_path(sandbox)
        if path in self.world.pins:
            raise Conflict(f"network namespace {path.name} exists")
        return path

    def find_netns(self, sandbox: SandboxName) -> Netns | None:
        """The sandbox's namespace, if there is one."""
        path = self.spec.netns_path(sandbox)
        found = self.world.pins.get(path)
        return None if found is None else Netns(sandbox, path, found)

    def delete_netns(self, sandbox: SandboxName) -> None:
        """Remove our pin; a namespace that nobody else has ends, and its link with it."""
        gone = self.world.pins.pop(self.spec.netns_path(sandbox), None)
        if gone is None or gone in self.world.foreign.values():
            return
        del self.world.inside[gone]
        for name, (_, inside, _) in tuple(self.world.hub_links.items()):
            if inside == gone:
                del self.world.hub_links[name]

    # -- what may pass -----------------------------------------------------------------------

    def add_bind(self, lease: Lease) -> None:
        """Take the sandbox's packets."""
        self._need_hub()
        self._may_fail("add_bind")
        self._add(self.world.binds, lease, self.spec.max_sandboxes, self._names.denied)
        self.world.counted.setdefault(lease, Counters())

    def del_bind(self, lease: Lease) -> None:
        """Take them no longer."""
        self._need_hub()
        self.world.binds.discard(lease)
        self.world.counted.pop(lease, None)

    def add_allow(self, entries: Iterable[AllowEntry]) -> None:
        """Lead destinations to the proxy."""
        self._need_hub()
        self._may_fail("add_allow")
        for entry in entries:
            single = entry.destination.prefixlen == 32
            bound = self.spec.max_allow if single else self.spec.max_networks
            name = self._names.allow if single else self._names.networks
            same = {e for e in self.world.allow if (e.destination.prefixlen == 32) == single}
            self._add(same, entry, bound, name)
            self.world.allow.add(entry)

    def del_allow(self, entries: Iterable[AllowEntry]) -> None:
        """Refuse them again."""
        self._need_hub()
        self.world.allow.difference_update(entries)

    def _add(self, members: set[T], new: T, bound: int, name: str) -> None:
        if new not in members and len(members) >= bound:
            raise LimitExceeded(f"set {name} is full", set=name)
        members.add(new)

    # -- links -------------------------------------------------------------------------------

    def attach_link(self, netns: Netns, lease: Lease) -> None:
        """The veth pair, the hub's end down."""
        self._need_hub()
        self._may_fail("attach_link")
        if self.world.pins.get(netns.path) != netns.identity:
            raise NotFound(f"{netns.path}: no such network namespace")
        if lease.link in self.world.hub_links:
            raise Conflict(f"link {lease.link} stands in the hub")
        inside = self.world.inside[netns.identity]
        if "eth0" in inside:
            raise Conflict("the namespace has a link eth0")
        inside.add("eth0")
        self.world.hub_links[lease.link] = (False, netns.identity, lease)

    def link_up(self, lease: Lease) -> None:
        """The hub's end up."""
        self._need_hub()
        self._may_fail("link_up")
        if lease.link not in self.world.hub_links:
            raise NotFound(f"link {lease.link} is not in the hub")
        self.world.hub_links[lease.link] = (True, self.world.hub_links[lease.link][1], lease)

    def detach_link(self, lease: Lease) -> None:
        """The pair gone."""
        self._need_hub()
        self._may_fail("detach_link")
        gone = self.world.hub_links.pop(lease.link, None)
        if gone is not None:
            self.world.inside[gone[1]].discard("eth0")

    # -- sockets -----------------------------------------------------------------------------

    def destroy_sockets(self, address: IPv4Address) -> int:
        """Destroy the hub's sockets of a sandbox."""
        return self._destroy(lambda each: each.remote == address)

    def destroy_flows(self, revoked: Iterable[AllowEntry], kept: Iterable[AllowEntry] = ()) -> int:
        """Destroy the hub's sockets of revoked flows."""
        gone, still = Destinations(revoked), Destinations(kept)
        return self._destroy(lambda each: gone.covers(*each.flow) and not still.covers(*each.flow))

    def _destroy(self, meant: Callable[[FakeSocket], bool]) -> int:
        self._need_hub()
        self._may_fail("destroy_sockets")
        return self.world.destroy(meant)

    def count_sockets(self, address: IPv4Address) -> int:
        """How many are left."""
        self._need_hub()
        return sum(each.remote == address for each in self.world.sockets)

    def find_owners(self, netns: Netns, flow: Flow, wants: Wants = NO_WANTS) -> Owners:
        """What the test put there."""
        return self.world.owners.get(flow, Owners())

    def find_owners_again(self, netns: Netns, flow: Flow, wants: Wants = NO_WANTS) -> None:
        """Everybody is looked for anew."""

    def hash_program(self, netns: NetnsId, pid: int, content: Content) -> "Future[str | None]":
        """What the test put there."""
        return self.world.hash_of(content)

    # -- facts -------------------------------------------------------------------------------

    def survey(self) -> Survey:
        """Everything of this instance."""
        self._need_hub()
        links = self.world.hub_links
        return Survey(
            netns=self.world.pinned(self.spec),
            links={k: HubLink(k, at, up) for at, (k, (up, _, _)) in enumerate(links.items(), 2)},
            binds=frozenset(self.world.binds),
            allow=frozenset(self.world.allow),
            routes=frozenset(lease for up, _, lease in links.values() if up),
        )

    def standing(self, lease: Lease, entries: Iterable[AllowEntry]) -> Standing:
        """What of one sandbox stands."""
        return self.world.standing(lease, frozenset(entries))

    def mend_routing(self) -> tuple[str, ...]:
        """What the test says was wrong."""
        wrong, self.world.misrouted = self.world.misrouted, ()
        return wrong

    def counters(self, lease: Lease) -> Counters:
        """The sandbox's numbers."""
        self._need_hub()
        return self.world.counted.get(lease, Counters())

    def refusals(self) -> dict[Lease, Counters]:
        """Denied numbers of all."""
        self._need_hub()
        return {
            lease: replace(found, allowed_packets=0, allowed_bytes=0)
            for lease, found in self.world.counted.items()
        }

    def mute_spoofing(self, links: Iterable[str]) -> None:
        """Count instead of logging."""
        self._need_hub()
        for link in links:
            if len(self.world.muted) < MAX_MUTED:
                self.world.muted.setdefault(link, 0)

    def unmute_spoofing(self) -> dict[str, int]:
        """Log again, and give what was counted."""
        self._need_hub()
        counted, self.world.muted = self.world.muted, {}
        return counted

    def host_routes(self) -> tuple[IPv4Network, ...]:
        """What the test says the host routes."""
        return self.world.routes

    def host_addresses(self) -> frozenset[str]:
        """What the test says the host's addresses are."""
        return self.world.addresses

    def look_hub(self) -> HubPicture:
        """The hub as it stands."""
        hub = self._need_hub()
        names = self._names
        return HubPicture(
            netns=self._picture(self.spec.netns_dir / self.spec.hub_netns, hub, self._hub_links()),
            sets=(
                SetPicture(
                    names.bind,
                    "hash:net,iface",
                    self.spec.max_sandboxes,
                    tuple(SetEntryPicture(f"{x.address},{x.link}") for x in self.world.binds),
                ),
                SetPicture(
                    names.allow,
                    "hash:ip,port,ip",
                    self.spec.max_allow,
                    allow_pictures(self.world.allow),
                ),
            ),
            sockets=tuple(map(socket_picture, self.world.sockets)),
            sysctl_differences=(),
        )

    def look_sandbox(self, netns: Netns, lease: Lease) -> SandboxPicture:
        """A sandbox as it stands."""
        self._need_hub()
        if self.world.pins.get(netns.path) != netns.identity:
            raise NotFound(f"{netns.path}: no such network namespace")
        up, bound = self.world.hub_links.get(lease.link, (False,))[0], lease in self.world.binds
        words: list[str] = []
        if lease.link not in self.world.hub_links:
            words.append(f"link {lease.link} is not in the hub")
        elif not up:
            words.append(f"link {lease.link} is down")
        if not bound:
            words.append(f"{lease.address} is not bound to {lease.link}")
        inside = self.world.inside[netns.identity]
        links = tuple(link_picture(n, 2, up, sandbox_mac(lease.address)) for n in inside)
        hub_links = {link.name: link for link in self._hub_links()}
        return SandboxPicture(
            netns=self._picture(netns.path, netns.identity, links),
            hub_link=hub_links.get(lease.link),
            hub_route=up,
            hub_neighbour=up,
            bound=bound,
            allow=allow_pictures(self.world.allow, lease.address),
            sockets=tuple(
                socket_picture(each) for each in self.world.sockets if each.remote == lease.address
            ),
            differences=tuple(words),
        )

    def _hub_links(self) -> tuple[LinkPicture, ...]:
        found = enumerate(self.world.hub_links.items(), 2)
        return tuple(link_picture(name, at, up, HUB_MAC) for at, (name, (up, _, _)) in found)

    def _picture(self, path: Path, who: NetnsId, links: tuple[LinkPicture, ...]) -> NetnsPicture:
        return NetnsPicture(str(path), who.inode, links, (), (), (), ())

    def close(self) -> None:
        """End the connection; the world stays."""
        for each in (*self._sockets, self._hub_socket):
            if each is not None:
                each.close()
        self._sockets, self._hub_socket, self._listeners = [], None, None
        self._connected = False
