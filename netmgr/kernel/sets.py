"""Owns: which sets a hub has, and which entries a lease or a destination means. Pure.

Everything that differs between sandboxes stands in these sets, so that the rule set is constant.
Knows nothing of netlink or iptables.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final, Self

from netmgr.kernel.facts import AllowEntry, HubSpec
from netmgr.kernel.ipset_codec import Entry, SetSpec, SetType, single
from netmgr.model import InstanceName, Lease

EVERYWHERE: Final = IPv4Network("0.0.0.0/0")
# hash:ip,port,net takes no /0 (ip_set_hash_ipportnet.c: "zero valued cidr"); two halves do
_HALVES: Final = (IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1"))

UNSEEN: Final = (
    IPv4Network("0.0.0.0/8"),  # martian destinations: dropped between PREROUTING and INPUT
    IPv4Network("127.0.0.0/8"),
    IPv4Network("224.0.0.0/4"),  # multicast that nobody joined
)
"""Destinations that never reach INPUT, so that only the raw table can log them."""

LOG_WINDOW_S: Final = 1
MAX_MUTED: Final = 64
"""Links that are muted at the same time; what more there are share the limit of one log rule."""


@dataclass(frozen=True, slots=True)
class SetNames:
    """The names of an instance's sets (31 characters at most: 16 of instance and these).

    Attributes:
        bind: hash:net,iface (sandbox, link): whose packets are taken at all.
        allow: hash:ip,port,ip (sandbox, tcp port, address) that leads to the proxy.
        networks: hash:ip,port,net, the same for networks.
        denied: hash:ip, one entry per sandbox: counts its refused packets.
        window: hash:ip that rules fill; an entry lives a second and counts what was logged.
        muted: hash:net,iface (everywhere, link): links whose false sources are counted here and
            logged no longer. The kernel keeps 64 links at most for one network
            (ip_set_hash_gen.h, AHASH_MAX_TUNED), which is why not every link has an entry.
        spare: the same, empty; it changes places with `muted` so that no count is lost.
        unseen: hash:net of destinations that never reach INPUT.
    """

    bind: str
    allow: str
    networks: str
    denied: str
    window: str
    muted: str
    spare: str
    unseen: str

    @classmethod
    def of(cls, instance: InstanceName) -> Self:
        """The names for an instance."""
        return cls(*(f"{instance}-{name}" for name in cls.__slots__))


def set_specs(spec: HubSpec) -> tuple[SetSpec, ...]:
    """Every set of a hub, in the order to make them."""
    names, each = SetNames.of(spec.instance), spec.max_sandboxes
    return (
        SetSpec(names.bind, SetType.NET_IFACE, each),
        SetSpec(names.allow, SetType.IP_PORT_IP, spec.max_allow, counters=True),
        SetSpec(names.networks, SetType.IP_PORT_NET, spec.max_networks, counters=True),
        SetSpec(names.denied, SetType.IP, each, counters=True),
        SetSpec(names.window, SetType.IP, each, counters=True, timeout=LOG_WINDOW_S),
        SetSpec(names.muted, SetType.NET_IFACE, MAX_MUTED, counters=True),
        SetSpec(names.spare, SetType.NET_IFACE, MAX_MUTED, counters=True),
        SetSpec(names.unseen, SetType.NET, 64),
    )


def lease_entries(names: SetNames, lease: Lease) -> tuple[tuple[str, Entry], ...]:
    """(set, entry) of a bound sandbox. `bind` comes last: what counts stands before what opens."""
    return (
        (names.denied, Entry(single(lease.address))),
        (names.bind, Entry(single(lease.address), iface=lease.link)),
    )


def allow_entries(names: SetNames, entries: Iterable[AllowEntry]) -> list[tuple[str, Entry]]:
    """(set, entry) of allowed destinations."""
    found: list[tuple[str, Entry]] = []
    for allow in entries:
        source = single(allow.address)
        if allow.destination.prefixlen == 32:
            found.append((names.allow, Entry(source, allow.port, allow.destination)))
            continue
        whole = allow.destination.prefixlen == 0
        for net in _HALVES if whole else (allow.destination,):
            found.append((names.networks, Entry(source, allow.port, net)))
    return found


def parse_lease(entry: Entry) -> Lease:
    """The lease that an entry of `bind` stands for."""
    return Lease(entry.net.network_address, entry.iface or "")


def parse_allow(entries: Iterable[Entry]) -> frozenset[AllowEntry]:
    """The destinations that entries of `allow` and `networks` stand for; halves become one."""
    found = {_parse_one(entry) for entry in entries}
    low, high = _HALVES
    for half in tuple(found):
        other = AllowEntry(half.address, half.port, high)
        if half.destination == low and other in found:
            found -= {half, other}
            found.add(AllowEntry(half.address, half.port, EVERYWHERE))
    return frozenset(found)


def _parse_one(entry: Entry) -> AllowEntry:
    return AllowEntry(entry.net.network_address, entry.port or 0, entry.net2 or EVERYWHERE)


def belongs_to(entry: Entry, address: IPv4Address) -> bool:
    """Whether an entry of an address-keyed set is that sandbox's."""
    return entry.net.network_address == address
