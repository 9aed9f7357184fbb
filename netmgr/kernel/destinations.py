"""Owns: whether a socket's flow is one of those that set entries describe. Pure.

Single destinations are keys; networks are few and are gone through.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from netmgr.kernel.facts import AllowEntry

_SINGLE = 32


class Destinations:
    """Set entries to hold flows against."""

    __slots__ = ("_networks", "_single", "addresses")

    def __init__(self, entries: Iterable[AllowEntry]) -> None:
        self._single: set[tuple[IPv4Address, int, IPv4Address]] = set()
        self._networks: dict[tuple[IPv4Address, int], list[IPv4Network]] = {}
        self.addresses: set[IPv4Address] = set()
        for entry in entries:
            self.addresses.add(entry.address)
            if entry.destination.prefixlen == _SINGLE:
                self._single.add((entry.address, entry.port, entry.destination.network_address))
            else:
                key = (entry.address, entry.port)
                self._networks.setdefault(key, []).append(entry.destination)

    def __bool__(self) -> bool:
        return bool(self.addresses)

    def covers(self, address: IPv4Address, port: int, destination: IPv4Address) -> bool:
        """Whether an entry lets `address` send to that port of `destination`."""
        if (address, port, destination) in self._single:
            return True
        return any(destination in net for net in self._networks.get((address, port), ()))
