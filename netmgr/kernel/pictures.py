"""Owns: the picture of the hub or of a sandbox as it stands in the kernel, as plain values.

Everything here turns into JSON with `dataclasses.asdict`: addresses are text. Rules are the rules
helper's to show.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinkPicture:
    """One link. `arp` is False where the link asks and answers no ARP."""

    name: str
    index: int
    kind: str | None
    up: bool
    carrier: bool
    arp: bool
    mac: str | None
    mtu: int
    rx_packets: int
    tx_packets: int


@dataclass(frozen=True, slots=True)
class AddressPicture:
    """One address with its prefix length (`10.77.0.2/32`)."""

    link: str
    address: str


@dataclass(frozen=True, slots=True)
class RoutePicture:
    """One route. `destination` is `default` or a prefix."""

    table: int
    type: str
    destination: str
    gateway: str | None
    link: str | None


@dataclass(frozen=True, slots=True)
class NeighbourPicture:
    """One entry of the neighbour table."""

    address: str
    link: str
    mac: str | None
    permanent: bool


@dataclass(frozen=True, slots=True)
class RoutingRulePicture:
    """One policy routing rule."""

    priority: int
    table: int
    fwmark: int | None


@dataclass(frozen=True, slots=True)
class NetnsPicture:
    """What is the same to see in any namespace."""

    path: str
    inode: int
    links: tuple[LinkPicture, ...]
    addresses: tuple[AddressPicture, ...]
    routes: tuple[RoutePicture, ...]
    neighbours: tuple[NeighbourPicture, ...]
    routing_rules: tuple[RoutingRulePicture, ...]


@dataclass(frozen=True, slots=True)
class SetEntryPicture:
    """One member of a set, in ipset(8)'s words, with its counters where the set has them."""

    entry: str
    packets: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SetPicture:
    """One set."""

    name: str
    type: str
    max_entries: int
    entries: tuple[SetEntryPicture, ...]


@dataclass(frozen=True, slots=True)
class SocketPicture:
    """One TCP socket of the hub, seen from the hub."""

    state: str
    local: str
    remote: str
    inode: int


@dataclass(frozen=True, slots=True)
class SysctlPicture:
    """A pinned sysctl that does not have its pinned value."""

    key: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class HubPicture:
    """The hub."""

    netns: NetnsPicture
    sets: tuple[SetPicture, ...]
    sockets: tuple[SocketPicture, ...]
    sysctl_differences: tuple[SysctlPicture, ...]


@dataclass(frozen=True, slots=True)
class SandboxPicture:
    """A sandbox, inside and in the hub.

    Attributes:
        hub_link: the hub's end, None where it is gone.
        hub_route: whether the hub has the sandbox's route over that link.
        hub_neighbour: whether it has the permanent neighbour entry.
        bound: whether (address, link) is in the bind set.
        allow: its destination entries with counters.
        sockets: the hub's live TCP sockets that have it as peer.
        differences: what is not as `attach_link` and `link_up` leave it, in words.
    """

    netns: NetnsPicture
    hub_link: LinkPicture | None
    hub_route: bool
    hub_neighbour: bool
    bound: bool
    allow: tuple[SetEntryPicture, ...]
    sockets: tuple[SocketPicture, ...]
    differences: tuple[str, ...]
