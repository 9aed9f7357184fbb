"""Owns: the list of desks that the control API can turn to. Composed by the daemon."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from netmgr.control.access import Caller, Identity, Need, check
from netmgr.control.server import caller_in
from netmgr.daemon.accounts_desk import AccountsDesk
from netmgr.daemon.inference_desk import InferenceDesk
from netmgr.daemon.inspection import Inspection
from netmgr.daemon.lifecycle import Lifecycle
from netmgr.daemon.policy_desk import PolicyDesk
from netmgr.daemon.provider_desk import ProviderDesk
from netmgr.daemon.refresher import Refresher
from netmgr.daemon.route_desk import RouteDesk
from netmgr.daemon.routing_desk import RoutingDesk
from netmgr.daemon.status import Status
from netmgr.daemon.vault_desk import VaultDesk
from netmgr.journal import Journal


@dataclass(frozen=True, slots=True)
class Office:
    """What routes call.

    Attributes:
        home: the daemon's own network namespace.
        shut_down: ends the daemon; with True, sandboxes and the hub go too.
    """

    lifecycle: Lifecycle
    policies: PolicyDesk
    inference: InferenceDesk
    routes: RouteDesk
    routing: RoutingDesk
    providers: ProviderDesk
    accounts: AccountsDesk
    refresher: Refresher
    vault: VaultDesk
    journal: Journal
    inspection: Inspection
    status: Status
    home: Identity
    shut_down: Callable[[bool], Awaitable[Any]]

    def is_inside(self, caller: Caller) -> bool:
        """Whether a caller stands in the hub or in a sandbox. Most share the daemon's network
        namespace, which is neither.

        Whoever is in a sandbox can make a network namespace of its own there, but no capability
        over ours: it needs a user namespace of its own first. So one of both is inside, too.
        """
        netns = caller.netns
        return netns != self.home and (
            caller.own_users
            or netns == self.status.hub_namespace
            or (netns is not None and self.lifecycle.owns_netns(netns))
        )

    def allow(self, request: Request, need: Need) -> None:
        """Let this request's caller through.

        Raises:
            Refused: it may not do this.
        """
        check(caller_in(request.scope), need, self.is_inside)
