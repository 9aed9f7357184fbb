"""Owns: ending what could reach past its door: processes that came into a sandbox's namespace after
it was made, with CAP_NET_ADMIN or CAP_SYS_ADMIN in the host's user namespace.

Entrances that see a container's configuration refuse it (OCI, podman's guard). CNI, netavark and an
engine that joins a namespace by its path do not; here it is found in /proc, killed, and its sandbox
removed, since nothing that it did to its links can be trusted. Knows nothing of engines.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

from netmgr.daemon.core import Core
from netmgr.errors import NetmgrError, NotFound
from netmgr.kernel.powers import Holder, Identity, find_holders, kill_holder
from netmgr.reasons import Kind, Reason, Verdict

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # between two looks
SHARE: Final = 20  # a look waits this many times what the last one took: 5 % of a processor at most
SETTLED_S: Final = 0.5  # found in two looks: whoever gives its powers up after its start is let be
# A runtime's own process holds every capability until it becomes the container. Seconds on a busy
# machine; whoever passes for one has as long, and no longer.
STARTING_S: Final = 30.0
ROUNDS: Final = 20  # of killing, for who forks meanwhile
_REMEDY: Final = (
    "start the container without --privileged and without the capability, or in a user namespace "
    "of its own that owns its network namespace"
)


class _Lifecycle(Protocol):
    async def delete(self, name: str) -> None: ...


class PowerWatch:
    """Looks at the processes in all sandboxes' namespaces, again and again."""

    def __init__(
        self,
        core: Core,
        lifecycle: _Lifecycle,
        find: Callable[[Collection[Identity]], list[Holder]] = find_holders,
        kill: Callable[[Holder], None] = kill_holder,
    ) -> None:
        self._core = core
        self._lifecycle = lifecycle
        self._find = find
        self._kill = kill
        self._since: dict[Holder, float] = {}

    async def keep_looking(self) -> None:
        """For ever."""
        while True:
            began = time.monotonic()
            try:
                await self.look(began)
            except NetmgrError as failure:
                log.error("a sandbox with too much power is not removed: %s", failure.message)
            took = time.monotonic() - began
            await asyncio.sleep(max(LOOK_S, SHARE * took))

    async def look(self, now: float) -> None:
        """Look once; end what is there for too long.

        Args:
            now: of a monotonic clock, in seconds.

        Raises:
            HostFailed: a sandbox cannot be removed whole; its processes are dead.
        """
        wanted = {(r.row.netns_dev, r.row.netns_ino) for r in self._core.residents.values()}
        found = await asyncio.to_thread(self._find, wanted) if wanted else []
        self._since = {holder: self._since.get(holder, now) for holder in found}
        due = {holder.netns: holder for holder in found if self._is_due(holder, now)}
        for holder in due.values():
            await self._end(holder)

    def _is_due(self, holder: Holder, now: float) -> bool:
        return now - self._since[holder] >= (STARTING_S if holder.starting else SETTLED_S)

    async def _end(self, holder: Holder) -> None:
        core = self._core
        resident = core.residents.in_netns(holder.netns)
        if resident is None:
            return  # it went meanwhile, by somebody else's doing
        await asyncio.to_thread(self._kill_all, holder.netns)
        told = (
            f"pid {holder.pid} in its namespace held {holder.capability} in the host's user "
            "namespace and could reach past its door: killed, and the sandbox removed"
        )
        log.warning("sandbox %s: %s", resident.row.name, told)
        outcome = (Verdict.DENIED, Reason.PEER_BLOCKED)
        core.record(Kind.FINDING, told, resident=resident, outcome=outcome, remedy=_REMEDY)
        try:
            await self._lifecycle.delete(resident.row.name)
        except NotFound:
            return  # its engine was faster

    def _kill_all(self, netns: Identity) -> None:
        for _ in range(ROUNDS):
            left = self._find({netns})
            if not left:
                return
            for holder in left:
                self._kill(holder)
        log.error("processes with too much power outlive being killed: %s", left)
