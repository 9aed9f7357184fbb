"""Owns: which set entries a sandbox's policy and names amount to. Pure.

The kernel's allow sets hold exactly these entries; a policy change is the difference of two.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Final

from netmgr.kernel.facts import AllowEntry
from netmgr.model import INFERENCE_NAME
from netmgr.policy.policy import Policy

INFERENCE_PORTS: Final = frozenset({80, 443})  # 80 only to say that https is meant


def allow_entries(
    address: IPv4Address, names: Mapping[str, str], policy: Policy
) -> frozenset[AllowEntry]:
    """Every entry of one sandbox.

    Args:
        names: name -> private address that stands for it.
    """
    entries = set()
    for name, ip in names.items():
        for port in ports_of(name, policy):
            entries.add(AllowEntry.single(address, port, IPv4Address(ip)))
    for network, ports in policy.literals().items():
        entries |= {AllowEntry(address, port, network) for port in ports}
    return frozenset(entries)


def ports_of(name: str, policy: Policy) -> frozenset[int]:
    """The TCP ports on which a name is let through to the proxy."""
    if name == INFERENCE_NAME:
        return INFERENCE_PORTS
    return policy.ports_of(name)
