"""Owns: which set entries a sandbox's policy and names amount to. Pure.

The kernel's allow sets hold exactly these entries; a policy change is the difference of two. What
two have in common is compared in its light form: a thousand entries as objects take ten times as
long as the rest of a change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from netmgr.kernel.facts import AllowEntry
from netmgr.model import INFERENCE_NAME
from netmgr.policy.policy import Policy

INFERENCE_PORTS: Final = frozenset({80, 443})  # 80 only to say that https is meant


_SINGLE: Final = 32
_Key = tuple[str | IPv4Network, int]  # a private address or a network, and a port


@dataclass(frozen=True, slots=True)
class EntryChange:
    """What a change does to one sandbox's entries.

    Attributes:
        spared: of those that stand, the ones whose flows could be taken for revoked ones.
    """

    added: frozenset[AllowEntry]
    revoked: frozenset[AllowEntry]
    spared: frozenset[AllowEntry]

    def reversed(self) -> "EntryChange":
        """The way back."""
        return EntryChange(self.revoked, self.added, self.spared)


@dataclass(frozen=True, slots=True)
class Side:
    """What holds on one side of a change.

    Attributes:
        names: name -> private address that stands for it.
    """

    names: Mapping[str, str]
    policy: Policy

    def keys(self) -> set[_Key]:
        """Its entries in their light form."""
        found: set[_Key] = {
            (ip, port) for name, ip in self.names.items() for port in ports_of(name, self.policy)
        }
        for network, ports in self.policy.literals().items():
            found |= {(network, port) for port in ports}
        return found


def entry_change(address: IPv4Address, before: Side, after: Side) -> EntryChange:
    """The difference between two sides, for the sandbox with this address."""
    old, new = before.keys(), after.keys()
    revoked = old - new
    wide = any(_is_wide(destination) for destination, _ in revoked)
    spared = [key for key in new & old if wide or _is_wide(key[0])] if revoked else []
    return EntryChange(
        _entries(address, new - old), _entries(address, revoked), _entries(address, spared)
    )


def _is_wide(destination: str | IPv4Network) -> bool:
    return isinstance(destination, IPv4Network) and destination.prefixlen < _SINGLE


def _entries(address: IPv4Address, keys: Iterable[_Key]) -> frozenset[AllowEntry]:
    return frozenset(AllowEntry(address, port, IPv4Network(net)) for net, port in keys)


def allow_entries(
    address: IPv4Address, names: Mapping[str, str], policy: Policy
) -> frozenset[AllowEntry]:
    """Every entry of one sandbox.

    Args:
        names: name -> private address that stands for it.
    """
    return _entries(address, Side(names, policy).keys())


def ports_of(name: str, policy: Policy) -> frozenset[int]:
    """The TCP ports on which a name is let through to the proxy."""
    if name == INFERENCE_NAME:
        return INFERENCE_PORTS
    return policy.ports_of(name)
