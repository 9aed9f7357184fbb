"""Owns: what a `FakeKernel` works on: the namespaces, links, sets and sockets of a host in memory.

Outlives the kernel objects of one test, as a real kernel outlives daemons. Knows no rules of its
own; fake_kernel.py has those.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import count
from pathlib import Path
from typing import Final

from netmgr.kernel.facts import (
    AllowEntry,
    Content,
    Counters,
    Flow,
    HubSpec,
    Netns,
    NetnsId,
    Owners,
    Standing,
)
from netmgr.kernel.pictures import LinkPicture, SetEntryPicture, SocketPicture
from netmgr.model import Lease, SandboxName

_DEVICE: Final = 4
_HOST: Final = NetnsId(_DEVICE, 1)


@dataclass(slots=True)
class FakeSocket:
    """A TCP socket of the hub."""

    remote: IPv4Address
    local: IPv4Address
    local_port: int

    @property
    def flow(self) -> tuple[IPv4Address, int, IPv4Address]:
        """Who sends, to which port, of which address."""
        return self.remote, self.local_port, self.local


@dataclass(slots=True)
class FakeWorld:
    """What outlives a daemon.

    Attributes:
        foreign: namespaces that others made, by path or pid, with their links besides lo.
        pins: pinned namespaces by path.
        inside: links besides lo, by namespace.
        hub_links: link name -> up, and the namespace of its other end.
        sockets: live sockets of the hub; tests add them.
        owners: what `find_owners` gives, by flow; tests add them.
        hashes: what `hash_program` gives, by file.
        muted: packets with a false source that were counted, by muted link.
        misrouted: what is wrong with the hub's routing.
        stuck: destinations whose sockets cannot be destroyed (a kernel without the option).
        fail: verbs that raise HostFailed, for tests of undoing.
    """

    foreign: dict[Path | int, NetnsId] = field(default_factory=dict)
    pins: dict[Path, NetnsId] = field(default_factory=dict)
    inside: dict[NetnsId, set[str]] = field(default_factory=dict)
    hub: NetnsId | None = None
    hub_links: dict[str, tuple[bool, NetnsId, Lease]] = field(default_factory=dict)
    binds: set[Lease] = field(default_factory=set)
    allow: set[AllowEntry] = field(default_factory=set)
    sockets: list[FakeSocket] = field(default_factory=list)
    owners: dict[Flow, Owners] = field(default_factory=dict)
    hashes: dict[Content, str] = field(default_factory=dict)
    counted: dict[Lease, Counters] = field(default_factory=dict)
    muted: dict[str, int] = field(default_factory=dict)
    misrouted: tuple[str, ...] = ()
    stuck: set[IPv4Address] = field(default_factory=set)
    fail: set[str] = field(default_factory=set)
    routes: tuple[IPv4Network, ...] = ()
    addresses: frozenset[str] = frozenset({"127.0.0.1", "::1"})
    host: NetnsId = _HOST
    _inodes: "count[int]" = field(default_factory=lambda: count(2))

    def new_netns(self, links: Iterable[str] = ()) -> NetnsId:
        """A namespace with these links besides lo."""
        made = NetnsId(_DEVICE, next(self._inodes))
        self.inside[made] = set(links)
        return made

    def destroy(self, meant: Callable[[FakeSocket], bool]) -> int:
        """Destroy sockets, but for those that cannot be; how many are left."""
        self.sockets = [s for s in self.sockets if not meant(s) or s.local in self.stuck]
        return sum(map(meant, self.sockets))

    def pinned(self, spec: HubSpec) -> dict[SandboxName, Netns]:
        """The pinned namespaces of an instance."""
        prefix = f"{spec.instance}-"
        return {
            (name := SandboxName(path.name.removeprefix(prefix))): Netns(name, path, identity)
            for path, identity in self.pins.items()
            if path.parent == spec.netns_dir and path.name.startswith(prefix)
        }

    def standing(self, lease: Lease, entries: frozenset[AllowEntry]) -> Standing:
        """What of one sandbox stands."""
        found = self.hub_links.get(lease.link)
        routed = found is not None and found[0]
        return Standing(found is not None, lease in self.binds, routed, entries - self.allow)

    def hash_of(self, content: Content) -> "Future[str | None]":
        """What a test said that a file's hash is."""
        answer: Future[str | None] = Future()
        answer.set_result(self.hashes.get(content))
        return answer

    def add_foreign(self, source: Path | int, links: Iterable[str] = ()) -> NetnsId:
        """A namespace that somebody else made, to be pinned."""
        self.foreign[source] = self.new_netns(links)
        return self.foreign[source]


def link_picture(name: str, index: int, up: bool, mac: str) -> LinkPicture:
    """A link as `look` shows it."""
    return LinkPicture(name, index, "veth", up, up, False, mac, 1500, 0, 0)


def socket_picture(found: FakeSocket) -> SocketPicture:
    """A socket as `look` shows it."""
    return SocketPicture("established", f"{found.local}:{found.local_port}", f"{found.remote}:0", 0)


def allow_pictures(
    entries: Iterable[AllowEntry], only: IPv4Address | None = None
) -> tuple[SetEntryPicture, ...]:
    """Allowed destinations as `look` shows them; of one sandbox, or all."""
    return tuple(
        SetEntryPicture(f"{each.address},tcp:{each.port},{each.destination}", 0, 0)
        for each in entries
        if only is None or each.address == only
    )
