"""Owns: reading `allowed_ips` of an endpoint. Knows nothing of hosts and of resolution."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from netmgr.guard import ALWAYS_BLOCKED, Network
from netmgr.policy.fields import Fields, describe
from netmgr.policy.hosts import suggest_address
from netmgr.policy.problems import Report
from netmgr.policy.tree import Node, Scalar

MAX_NETWORKS: Final = 256  # of one endpoint: each address is held against all of them
BROAD: Final = {4: 16, 6: 32}  # prefixes shorter than this are more than one site's
_MAPPED: Final = IPv6Network("::ffff:0:0/96")


def parse_allowed_ips(fields: Fields, report: Report) -> tuple[Network, ...]:
    """Addresses and networks, sorted; every problem is noted."""
    found: set[Network] = set()
    for number, (place, node) in enumerate(fields.items("allowed_ips")):
        if number >= MAX_NETWORKS:
            fields.problem("allowed_ips", f"more than {MAX_NETWORKS} addresses and networks")
            break
        try:
            network = _parse_network(node)
        except ValueError as error:
            report.problem(node.line or fields.line_of("allowed_ips"), place, str(error))
            continue
        found.add(network)
        if network.prefixlen < BROAD[network.version]:
            report.warn(place, f"{network} is broad: whoever answers in it can be reached")
    return tuple(sorted(found, key=lambda n: (n.version, n)))


def _parse_network(node: Node) -> Network:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        raise ValueError(f"expected an address or a network in quotes, got {describe(node)}")
    text = node.value
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r}: {_what_is_wrong(text)}") from None
    _refuse_blocked(network)
    if isinstance(network, IPv6Network) and network.overlaps(_MAPPED):
        raise ValueError(f"{text!r}: write IPv4 networks as such, not mapped into IPv6")
    return network


def _what_is_wrong(text: str) -> str:
    try:
        return f"is inside the network {ip_network(text, strict=False)}; write that, or the address"
    except ValueError:
        return f"expected an address or a network (10.0.0.0/24){suggest_address(text)}"


def _refuse_blocked(network: Network) -> None:
    """What is never dialled must not look allowed. Networks may hold single blocked addresses (a
    metadata service): those stay blocked; but not this host or its links."""
    for special in ALWAYS_BLOCKED:
        blocked = special.network
        if isinstance(network, IPv4Network) is not isinstance(blocked, IPv4Network):
            continue
        inside = blocked.supernet_of(network)  # type: ignore[arg-type]
        if inside or (network.overlaps(blocked) and special.is_own):
            raise ValueError(f"{network}: {blocked} is never reachable ({special.what})")
