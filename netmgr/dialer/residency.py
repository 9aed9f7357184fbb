"""Owns: where an endpoint has to be, checked where its bytes go. Pure.

A routing file declares an endpoint's residency; its `dial` section says by which names and networks
that can be seen. What is found elsewhere is not dialled, whoever answers for the name in DNS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

Ip = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Residency:
    """Where one endpoint has to be; what is empty is not asked.

    Attributes:
        hosts: names, `*` for any characters.
    """

    hosts: tuple[str, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def objection_to_name(self, host: str) -> str | None:
        """Why that host is none of the endpoint's; None where it is."""
        if not self.hosts or any(fnmatchcase(host, pattern) for pattern in self.hosts):
            return None
        return f"{host} is none of the hosts where it is declared to be ({', '.join(self.hosts)})"

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


def parse_residency(doc: Any) -> Residency | None:
    """What the `dial` of a route says: {hosts, cidrs} or None.

    Raises:
        ValueError: it is neither.
    """
    if doc is None:
        return None
    hosts = tuple(str(host).lower() for host in doc["hosts"])
    return Residency(hosts, tuple(ip_network(text) for text in doc["cidrs"]))
