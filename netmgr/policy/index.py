"""Owns: finding the endpoints for a host, at a cost that does not grow with the policy.

Exact names and addresses are keys; wildcards are found under the fixed labels at their end, so
that a look-up costs one step per label of the name.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, ip_address
from typing import Final

from netmgr.policy.hosts import RESERVED_NAMES, AnyHost, ExactHost, LiteralHost, WildcardHost
from netmgr.policy.rules import Endpoint

NOTHING: Final[tuple[Endpoint, ...]] = ()


def ports_in(endpoints: tuple[Endpoint, ...]) -> frozenset[int]:
    """The ports of all of them."""
    if len(endpoints) == 1:  # nearly every name: a reload asks for all of a policy's
        return frozenset(endpoints[0].ports)
    return frozenset(port for endpoint in endpoints for port in endpoint.ports)


class Index:
    """Endpoints by host. Order within a host: exact ones first, then by entry and place.

    Attributes:
        anywhere: endpoints without a host.
        tells_apart: some endpoint is not for every program.
    """

    __slots__ = ("anywhere", "exact", "literal", "tells_apart", "wild")

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        exact: dict[str, list[Endpoint]] = {}
        literal: dict[str, list[Endpoint]] = {}
        wild: dict[str, list[Endpoint]] = {}
        anywhere: list[Endpoint] = []
        self.tells_apart = False
        for endpoint in endpoints:
            self.tells_apart = self.tells_apart or not endpoint.programs.any
            match endpoint.host:
                case ExactHost(text=name):
                    exact.setdefault(name, []).append(endpoint)
                case LiteralHost(text=address):
                    literal.setdefault(address, []).append(endpoint)
                case WildcardHost(anchor=anchor):
                    wild.setdefault(anchor, []).append(endpoint)
                case AnyHost():
                    anywhere.append(endpoint)
        self.anywhere = tuple(anywhere)
        self.exact = {name: tuple(found) for name, found in exact.items()}
        self.literal = {address: tuple(found) for address, found in literal.items()}
        self.wild = {anchor: tuple(found) for anchor, found in wild.items()}

    def for_name(self, name: str) -> tuple[Endpoint, ...]:
        """Every endpoint whose host covers the canonical `name`, on any port."""
        exact = self.exact.get(name, NOTHING)
        if name in RESERVED_NAMES or not (self.wild or self.anywhere):
            return exact
        found = self._wildcards_for(name) if self.wild else []
        return (*exact, *found, *self.anywhere) if found or self.anywhere else exact

    def for_address(self, address: str) -> tuple[Endpoint, ...]:
        """Every endpoint that names this address itself."""
        found = self.literal.get(address)
        if found is None and self.literal:
            found = self.literal.get(_canonical_address(address))
        if self.anywhere:
            return (*(found or NOTHING), *self._around(address))
        return found or NOTHING

    def _around(self, address: str) -> Iterator[Endpoint]:
        """Endpoints without a host whose networks hold the address."""
        try:
            ip = ip_address(address)
        except ValueError:
            return
        for endpoint in self.anywhere:
            if any(ip in network for network in endpoint.networks):
                yield endpoint

    def _wildcards_for(self, name: str) -> list[Endpoint]:
        found: list[Endpoint] = []
        dot = name.find(".")
        while dot >= 0:
            for endpoint in self.wild.get(name[dot + 1 :], NOTHING):
                if isinstance(endpoint.host, WildcardHost) and endpoint.host.matches(name):
                    found.append(endpoint)
            dot = name.find(".", dot + 1)
        return found


def _canonical_address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        return ""
