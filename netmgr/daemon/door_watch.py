"""Owns: noticing a second door of a live sandbox, and shutting it.

Creation refuses a namespace with links of others, and the guard a container on several networks.
What an engine is told to attach later (`podman network connect`) passes neither. A sandbox with
another link is on another network, whatever its policy says: the link is set down at the next look,
and stays for its engine to take away.
Knows nothing of engines.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Container
from typing import Final

from netmgr.daemon.core import Core
from netmgr.errors import NetmgrError
from netmgr.kernel.doors import SecondDoor, find_second_doors, shut_second_doors
from netmgr.kernel.powers import Identity
from netmgr.reasons import Kind, Reason, Verdict

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # between two looks
SHARE: Final = 20  # a look waits this many times what the last one took: 5 % of a processor at most
_REMEDY: Final = "leave the container on its one network: start another one for the other network"


class DoorWatch:
    """Looks at the links in all sandboxes' namespaces, again and again."""

    def __init__(
        self,
        core: Core,
        find: Callable[[Container[Identity]], list[SecondDoor]] = find_second_doors,
        shut: Callable[[SecondDoor], tuple[str, ...]] = shut_second_doors,
    ) -> None:
        self._core = core
        self._find = find
        self._shut = shut

    async def keep_looking(self) -> None:
        """For ever."""
        while True:
            began = time.monotonic()
            try:
                await self.look()
            except NetmgrError as failure:
                log.error("a second door of a sandbox is not shut: %s", failure.message)
            await asyncio.sleep(max(LOOK_S, SHARE * (time.monotonic() - began)))

    async def look(self) -> None:
        """Look once; shut what is found open. Each time is a finding.

        Raises:
            HostFailed: the kernel refuses to set a link down.
        """
        wanted = set(self._core.residents.netnses)
        found = await asyncio.to_thread(self._find, wanted) if wanted else []
        for door in found:
            links = await asyncio.to_thread(self._shut, door)
            resident = self._core.residents.in_netns(door.netns)
            if links and resident is not None:
                told = f"its namespace had a second door, {', '.join(links)}: it was set down"
                log.warning("sandbox %s: %s", resident.row.name, told)
                outcome = (Verdict.DENIED, Reason.PEER_BLOCKED)
                self._core.record(
                    Kind.FINDING, told, resident=resident, outcome=outcome, remedy=_REMEDY
                )
