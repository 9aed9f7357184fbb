"""Owns: what settings must agree on; a single one is judged by its parser. No I/O."""

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Final

from netmgr.errors import BadInput
from netmgr.settings.values import Account

_LINK_LOCAL: Final = IPv4Network("169.254.0.0/16")
_NOT_ASSIGNABLE: Final = (_LINK_LOCAL, IPv4Network("127.0.0.0/8"), IPv4Network("224.0.0.0/3"))


def check_pools(sandboxes: IPv4Network, names: IPv4Network) -> None:
    """Two pools apart, and of addresses that an interface can have.

    Raises:
        BadInput: they are not.
    """
    pools = {"sandbox_pool": sandboxes, "name_pool": names}
    if sandboxes.overlaps(names):
        raise BadInput(f"sandbox_pool {sandboxes} and name_pool {names} overlap")
    for key, pool in pools.items():
        for network in _NOT_ASSIGNABLE:
            if pool.overlaps(network):
                raise BadInput(f"{key}: {pool} overlaps {network}, which is not assignable")


def check_accounts(accounts: Mapping[str, Account]) -> None:
    """A user of its own for each worker.

    Raises:
        BadInput: two share one.
    """
    owners: dict[int, str] = {}
    for name, account in accounts.items():
        if account.uid in owners:
            # One uid could read the other's memory (ptrace(2)), and the fence between them is gone.
            raise BadInput(f"{name}: uid {account.uid} is already that of {owners[account.uid]}")
        owners[account.uid] = name
