"""Owns: where an endpoint has to be, checked where its bytes go. Pure.

A routing file declares an endpoint's residency; its `dial` section says by which names and networks
that can be seen. What is found elsewhere is not dialled, whoever answers for the name in DNS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from netmgr.policy.hosts import ExactHost, LiteralHost, WildcardHost, parse_host

Ip = IPv4Address | IPv6Address
Declared = ExactHost | LiteralHost | WildcardHost


@dataclass(frozen=True, slots=True)
class Residency:
    """Where one endpoint has to be; what is empty is not asked.

    Attributes:
        hosts: names and wildcards, as a policy writes them.
    """

    hosts: tuple[Declared, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def objection_to_name(self, host: str) -> str | None:
        """Why that host is none of the endpoint's; None where it is."""
        if not self.hosts or any(_names(each, host) for each in self.hosts):
            return None
        declared = ", ".join(each.text for each in self.hosts)
        return f"{host} is none of the hosts where it is declared to be ({declared})"

    def within(self, addresses: Sequence[Ip]) -> tuple[Ip, ...]:
        """Those of the addresses that are where they should be."""
        if not self.networks:
            return tuple(addresses)
        return tuple(ip for ip in addresses if any(ip in network for network in self.networks))

    def objection_to(self, addresses: Sequence[Ip]) -> str:
        """Why none of the addresses is dialled."""
        found = ", ".join(map(str, addresses))
        declared = ", ".join(map(str, self.networks))
        return f"{found} is outside of the networks where it is declared to be ({declared})"


def _names(declared: Declared, host: str) -> bool:
    if isinstance(declared, WildcardHost):
        return declared.matches(host)
    return declared.text == host


def parse_residency(doc: Any) -> Residency | None:
    """What the `dial` of a route says: {hosts, cidrs} or None.

    Raises:
        ValueError: it is neither.
    """
    if doc is None:
        return None
    hosts = tuple(parse_host(host) for host in doc["hosts"])
    return Residency(hosts, tuple(ip_network(text) for text in doc["cidrs"]))
