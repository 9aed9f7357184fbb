"""Owns: the list of desks that the control API can turn to. Composed by the daemon."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from netmgr.control.access import Need, check
from netmgr.control.server import caller_in
from netmgr.inference_desk import InferenceDesk
from netmgr.inspection import Inspection
from netmgr.journal import Journal
from netmgr.lifecycle import Lifecycle
from netmgr.policy_desk import PolicyDesk
from netmgr.status import Status


@dataclass(frozen=True, slots=True)
class Office:
    """What routes call.

    Attributes:
        shut_down: ends the daemon; with True, sandboxes and the hub go too.
    """

    lifecycle: Lifecycle
    policies: PolicyDesk
    inference: InferenceDesk
    journal: Journal
    inspection: Inspection
    status: Status
    shut_down: Callable[[bool], Awaitable[Any]]

    def namespaces(self) -> frozenset[tuple[int, int]]:
        """Network namespaces from which nobody may call."""
        return self.lifecycle.namespaces() | {self.status.hub_namespace}

    def allow(self, request: Request, need: Need) -> None:
        """Let this request's caller through.

        Raises:
            Refused: it may not do this.
        """
        check(caller_in(request.scope), need, self.namespaces())
