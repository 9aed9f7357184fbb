"""Owns: the list of what looks after hub, sandboxes and keys as long as the daemon lives."""

from collections.abc import Coroutine
from typing import Any

from netmgr.daemon.core import Core
from netmgr.daemon.credential_watch import CredentialWatch
from netmgr.daemon.door_watch import DoorWatch
from netmgr.daemon.hub_watch import HubWatch
from netmgr.daemon.lifecycle import Lifecycle
from netmgr.daemon.power_watch import PowerWatch
from netmgr.daemon.rules_watch import RulesWatch
from netmgr.daemon.status import Status


def watches(
    core: Core, status: Status, lifecycle: Lifecycle
) -> tuple[tuple[Coroutine[Any, Any, None], str], ...]:
    """What never ends by itself, and what each is called."""
    return (
        (RulesWatch(core, status).keep_looking(), "hub rules"),
        (HubWatch(core).keep_looking(), "hub routing and sets"),
        (PowerWatch(core, lifecycle).keep_looking(), "who could reach past a door"),
        (DoorWatch(core).keep_looking(), "second doors"),
        (CredentialWatch(core).keep_looking(), "credentials that end"),
    )
