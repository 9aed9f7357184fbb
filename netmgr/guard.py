"""Owns: which resolved addresses may be dialled (the SSRF guard). Pure.

Knows nothing of names, sockets or DNS: it is asked about one address at a time, after resolution
and before the connection, and the address that passed is the one that is dialled.

Sources: the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890 and successors), and the
metadata addresses that cloud providers document. An IPv6 address that carries an IPv4 address is
judged by both, because a translator on the way would unwrap it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from netmgr.policy.decision import DestinationPlan, PlanKind
from netmgr.reasons import Reason

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of the host that is dialled from.

    Attributes:
        host_addresses: every address that is local to it; each counts as loopback.
        control_plane_ports: never dialled for a sandbox.
        treat_as_public: internal ranges that the operator declared public. They lift nothing
            that is always blocked.
    """

    host_addresses: frozenset[Address] = frozenset()
    control_plane_ports: frozenset[int] = frozenset()
    treat_as_public: tuple[Network, ...] = ()


NOWHERE: Final = Surroundings()
"""Nothing is known of the host: only what no host may dial is blocked."""


class Reach(IntEnum):
    """How far an address is trusted; the greater, the less."""

    PUBLIC = 0
    INTERNAL = 1  # somebody's own network: only where the policy's author meant it
    NEVER = 2  # this host, its link, its cloud's metadata, or nobody


@dataclass(frozen=True, slots=True)
class SpecialRange:
    """One special-purpose range."""

    network: Network
    reach: Reach
    what: str

    @property
    def is_own(self) -> bool:
        """Whether it is this host, its links, or nothing at all: never anybody else's."""
        return self.what.startswith(("loopback", "link-local", "unspecified", "'this network'"))


def _range(network: str, reach: Reach, what: str) -> SpecialRange:
    return SpecialRange(ip_network(network), reach, what)


# Metadata services. Some lie inside ranges that are merely internal, hence they stand first.
METADATA: Final = (
    _range("169.254.169.254/32", Reach.NEVER, "cloud metadata service"),
    _range("169.254.170.2/32", Reach.NEVER, "container credentials service (AWS ECS)"),
    _range("168.63.129.16/32", Reach.NEVER, "wire server of Azure"),
    _range("100.100.100.200/32", Reach.NEVER, "metadata service of Alibaba Cloud"),
    _range("192.0.0.192/32", Reach.NEVER, "metadata service of Oracle Cloud"),
    _range("fd00:ec2::254/128", Reach.NEVER, "metadata service of AWS"),
    _range("fd00:ec2::23/128", Reach.NEVER, "container credentials service (AWS EKS)"),
    _range("fd20:ce::254/128", Reach.NEVER, "metadata service of Google Cloud"),
)

_IPV4: Final = (
    _range("0.0.0.0/8", Reach.NEVER, "'this network', RFC 791 §3.2"),
    _range("10.0.0.0/8", Reach.INTERNAL, "private use, RFC 1918"),
    _range("100.64.0.0/10", Reach.INTERNAL, "shared address space, RFC 6598"),
    _range("127.0.0.0/8", Reach.NEVER, "loopback, RFC 1122 §3.2.1.3"),
    _range("169.254.0.0/16", Reach.NEVER, "link-local, RFC 3927"),
    _range("172.16.0.0/12", Reach.INTERNAL, "private use, RFC 1918"),
    _range("192.0.0.0/24", Reach.INTERNAL, "IETF protocol assignments, RFC 6890 §2.1"),
    _range("192.0.2.0/24", Reach.INTERNAL, "documentation, RFC 5737"),
    _range("192.88.99.0/24", Reach.INTERNAL, "6to4 relay anycast, RFC 7526"),
    _range("192.168.0.0/16", Reach.INTERNAL, "private use, RFC 1918"),
    _range("198.18.0.0/15", Reach.INTERNAL, "benchmarking, RFC 2544"),
    _range("198.51.100.0/24", Reach.INTERNAL, "documentation, RFC 5737"),
    _range("203.0.113.0/24", Reach.INTERNAL, "documentation, RFC 5737"),
    _range("224.0.0.0/4", Reach.NEVER, "multicast, RFC 5771"),
    _range("240.0.0.0/4", Reach.NEVER, "reserved and broadcast, RFC 1112 §4"),
)

# First match wins: the narrow ranges before those that contain them.
_IPV6: Final = (
    _range("::1/128", Reach.NEVER, "loopback, RFC 4291 §2.5.3"),
    _range("::/128", Reach.NEVER, "unspecified, RFC 4291 §2.5.2"),
    _range("::ffff:0:0/96", Reach.PUBLIC, "IPv4-mapped, RFC 4291 §2.5.5.2"),
    _range("::ffff:0:0:0/96", Reach.PUBLIC, "IPv4-translated, RFC 2765 §2.1"),
    _range("::/96", Reach.INTERNAL, "IPv4-compatible (deprecated), RFC 4291 §2.5.5.1"),
    _range("64:ff9b::/96", Reach.PUBLIC, "NAT64, RFC 6052 §2.1"),
    # Where the IPv4 address lies in a local prefix is the operator's choice: nobody can judge it.
    _range("64:ff9b:1::/48", Reach.NEVER, "local-use NAT64, RFC 8215"),
    _range("100::/64", Reach.INTERNAL, "discard-only, RFC 6666"),
    _range("2001::/23", Reach.INTERNAL, "IETF protocol assignments (Teredo among them), RFC 2928"),
    _range("2001:db8::/32", Reach.INTERNAL, "documentation, RFC 3849"),
    _range("3fff::/20", Reach.INTERNAL, "documentation, RFC 9637"),
    _range("5f00::/16", Reach.INTERNAL, "segment routing, RFC 9602"),
    _range("2000::/3", Reach.PUBLIC, "global unicast, RFC 4291 §2.4"),
    _range("fc00::/7", Reach.INTERNAL, "unique local, RFC 4193"),
    _range("fe80::/10", Reach.NEVER, "link-local, RFC 4291 §2.5.6"),
    _range("fec0::/10", Reach.NEVER, "site-local (deprecated), RFC 3879"),
    _range("ff00::/8", Reach.NEVER, "multicast, RFC 4291 §2.7"),
    _range("::/0", Reach.NEVER, "not assigned to anybody, RFC 4291 §2.4"),
)

ALWAYS_BLOCKED: Final[tuple[SpecialRange, ...]] = tuple(
    special
    for special in (*METADATA, *_IPV4, *_IPV6[:-1])  # ::/0 is the remainder, not a range
    if special.reach is Reach.NEVER
)
_CONTROL_PLANES: Final = "port {} is for control planes"
HOST_LOOPBACK: Final[tuple[Address, ...]] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

_BY_VERSION: Final = {
    version: tuple(
        special for special in (*METADATA, *_IPV4, *_IPV6) if special.network.version == version
    )
    for version in (4, 6)
}
_GLOBAL_IPV4: Final = _range("0.0.0.0/0", Reach.PUBLIC, "global unicast")

_LOW32: Final = 0xFFFF_FFFF
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)  # upper half of an interface identifier, RFC 5214 §6.1
_TEREDO: Final = IPv6Network("2001::/32")
_CARRIERS: Final[tuple[tuple[IPv6Network, Callable[[int], int]], ...]] = (
    (IPv6Network("::ffff:0:0/96"), lambda bits: bits),
    (IPv6Network("::ffff:0:0:0/96"), lambda bits: bits),
    (IPv6Network("::/96"), lambda bits: bits),
    (IPv6Network("64:ff9b::/96"), lambda bits: bits),
    (IPv6Network("2002::/16"), lambda bits: bits >> 80),  # 6to4, RFC 3056 §2
    (_TEREDO, lambda bits: bits >> 64),  # the Teredo server, RFC 4380 §4
    (_TEREDO, lambda bits: ~bits),  # the Teredo client, its bits inverted
)


def find_range(ip: Address) -> SpecialRange:
    """The range that `ip` itself lies in; what it carries is not looked at."""
    for special in _BY_VERSION[ip.version]:
        if ip in special.network:
            return special
    return _GLOBAL_IPV4


def carried_addresses(ip: Address) -> tuple[IPv4Address, ...]:
    """IPv4 addresses inside an IPv6 address, where its form says that it carries some."""
    if isinstance(ip, IPv4Address):
        return ()
    bits = int(ip)
    carried = [IPv4Address(take(bits) & _LOW32) for net, take in _CARRIERS if ip in net]
    if (bits >> 32) & _LOW32 in _ISATAP:
        carried.append(IPv4Address(bits & _LOW32))
    return tuple(carried)


def judge_address(
    ip: Address,
    plan: DestinationPlan,
    host_addresses: Collection[Address] = frozenset(),
    treat_as_public: Collection[Network] = (),
) -> Reason | None:
    """Whether a sandbox may be connected to `ip`.

    Args:
        ip: what the name resolved to, or the literal address.
        plan: how far the policy trusts this destination.
        host_addresses: every address that is local to the host; each counts as loopback.
        treat_as_public: internal ranges that the operator declares public. They lift nothing
            that is always blocked.

    Returns:
        None where it may be dialled, else the reason.
    """
    if plan.kind is PlanKind.HOST:
        return None if ip in HOST_LOOPBACK else Reason.ADDRESS_BLOCKED
    reach = judge_reach(ip, host_addresses, treat_as_public)
    if reach is Reach.NEVER:
        return Reason.ADDRESS_BLOCKED
    match plan.kind:
        case PlanKind.LISTED:
            permitted = _is_listed(ip, plan.networks)
        case PlanKind.PUBLIC:
            permitted = reach is Reach.PUBLIC
        case PlanKind.EXACT | PlanKind.LITERAL:
            permitted = True
    return None if permitted else Reason.ADDRESS_BLOCKED


def objection(ip: Address, port: int, plan: DestinationPlan, around: Surroundings) -> str | None:
    """Why `ip` may not be dialled on `port`, as words for an error; None where it may."""
    here = around.host_addresses
    if judge_address(ip, plan, here, around.treat_as_public) is not None:
        return describe_address(ip, here)
    return f"{ip} ({_CONTROL_PLANES.format(port)})" if port in around.control_plane_ports else None


def objection_beforehand(
    ip: Address | None, port: int, plan: DestinationPlan, around: Surroundings
) -> str | None:
    """`objection`, as far as it is known before a name is resolved.

    Args:
        ip: a literal address; None for a name.
    """
    if ip is not None:
        return objection(ip, port, plan, around)
    return _CONTROL_PLANES.format(port) if port in around.control_plane_ports else None


def may_stay(ip: Address, before: DestinationPlan | None, now: DestinationPlan | None) -> bool:
    """Whether a live connection to `ip` may go on under another plan. Pure; a worker asks it.

    What `before` let through is not asked again of the host's own addresses, and an internal range
    that the operator calls public counts as internal where a plan has become `PUBLIC`.

    Args:
        before: the plan that it was dialled by.
        now: the plan in force; None: nothing allows it.
    """
    if now is None or now == before:
        return now is not None
    return judge_address(ip, now) is None


def judge_reach(
    ip: Address,
    host_addresses: Collection[Address] = frozenset(),
    treat_as_public: Collection[Network] = (),
) -> Reach:
    """How far `ip`, with whatever it carries, is trusted; arguments as for `judge_address`."""
    faces: tuple[Address, ...] = (ip, *carried_addresses(ip))
    return max(_judge_face(face, host_addresses, treat_as_public) for face in faces)


def judge_configured_address(ip: Address) -> Reason | None:
    """Whether the operator's own literal address (a provider's base URL) may be dialled.

    Loopback and private addresses are what local model servers use. Metadata services, link-local,
    multicast and reserved addresses are never a model server.
    """
    if ip in HOST_LOOPBACK:  # ::1 also has the form of a v4-compatible address
        return None
    for face in (ip, *carried_addresses(ip)):
        if not face.is_loopback and find_range(face).reach is Reach.NEVER:
            return Reason.ADDRESS_BLOCKED
    return None


def describe_address(ip: Address, host_addresses: Collection[Address] = frozenset()) -> str:
    """What kind of address this is, for an error: `10.0.0.5 (private use, RFC 1918)`."""
    if ip in host_addresses and not ip.is_loopback:
        return f"{ip} (an address of this host)"
    for carried in carried_addresses(ip):
        if not ip.is_loopback and not ip.is_unspecified:
            return f"{ip} (carries {describe_address(carried, host_addresses)})"
    return f"{ip} ({find_range(ip).what})"


def parse_addresses(texts: Collection[str]) -> frozenset[Address]:
    """Addresses from their text, without interface scopes.

    Raises:
        ValueError: one of them is no address.
    """
    return frozenset(ip_address(text.partition("%")[0]) for text in texts)


def _judge_face(
    ip: Address, host_addresses: Collection[Address], treat_as_public: Collection[Network]
) -> Reach:
    if ip in host_addresses:
        return Reach.NEVER
    reach = find_range(ip).reach
    if reach is Reach.INTERNAL and any(ip in network for network in treat_as_public):
        return Reach.PUBLIC
    return reach


def _is_listed(ip: Address, networks: Collection[Network]) -> bool:
    carried = carried_addresses(ip)
    return _inside(ip, networks) or (bool(carried) and all(_inside(c, networks) for c in carried))


def _inside(ip: Address, networks: Collection[Network]) -> bool:
    return any(ip in network for network in networks)
