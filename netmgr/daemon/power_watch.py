"""Owns: ending what could reach past its door: processes that came into a sandbox's namespace after
it was made, with CAP_NET_ADMIN or CAP_SYS_ADMIN in the host's user namespace.

Entrances that see a container's configuration refuse it (OCI, the guard of podman and containerd).
CNI, netavark and an engine that joins a namespace by its path do not. Where the kernel tells of
each program that begins, such a container is ended as its own first program does; where it does
not, or where somebody joins in another way, it is found in /proc. It is killed, and its sandbox
removed, since nothing that it did to its links can be trusted. Knows nothing of engines.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Container
from contextlib import suppress
from typing import Final, Protocol

from netmgr.daemon.core import Core
from netmgr.errors import NetmgrError, NotFound
from netmgr.kernel.exec_events import ExecEvents
from netmgr.kernel.powers import Holder, Identity, find_holder, find_holders, kill_holder
from netmgr.reasons import Kind, Reason, Verdict

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # between two looks
SHARE: Final = 20  # a look waits this many times what the last one took: 5 % of a processor at most
SETTLED_S: Final = 0.5  # found in two looks: whoever gives its powers up after its start is let be
# A runtime's own process holds every capability until it becomes the container. Seconds on a busy
# machine; whoever passes for one has as long, and no longer.
STARTING_S: Final = 30.0
# Judging who begins a program: a turn of this length or more is followed by a rest this many times
# as long, a tenth of the loop's time. A turn's events are bounded where they are read.
TURN_S: Final = 0.001
REST: Final = 9
ROUNDS: Final = 20  # of killing, for who forks meanwhile
_REMEDY: Final = (
    "start the container without --privileged and without the capability, or in a user namespace "
    "of its own that owns its network namespace"
)


class _Lifecycle(Protocol):
    async def delete(self, name: str) -> None: ...


class _Ear:
    """Hears of programs that begin, for a share of the loop's time at most: a sandbox that begins
    thousands of them must not keep the daemon from the others. What is lost then the looks find."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        events: ExecEvents,
        hear: Callable[[list[int]], None],
    ) -> None:
        self._loop = loop
        self._events = events
        self._hear = hear
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._loop.add_reader(self._events.fileno(), self._attend)

    def _attend(self) -> None:
        began = time.monotonic()
        self._hear(self._events.read())
        took = time.monotonic() - began
        if took > TURN_S:
            self._loop.remove_reader(self._events.fileno())
            self._pause = self._loop.call_later(REST * took, self._listen)

    def close(self) -> None:
        """Hear nothing more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._events.fileno())
        self._events.close()


class PowerWatch:
    """Looks at the processes in all sandboxes' namespaces, again and again, and at who begins a
    program there at once."""

    def __init__(
        self,
        core: Core,
        lifecycle: _Lifecycle,
        find: Callable[[Container[Identity]], list[Holder]] = find_holders,
        kill: Callable[[Holder], None] = kill_holder,
        judge: Callable[[int, Container[Identity]], Holder | None] = find_holder,
    ) -> None:
        self._core = core
        self._lifecycle = lifecycle
        self._find = find
        self._kill = kill
        self._judge = judge
        self._since: dict[Holder, float] = {}
        self._caught: list[Holder] = []  # killed already, as they began
        self._awake = asyncio.Event()

    async def keep_looking(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        events = await asyncio.to_thread(ExecEvents.open)
        if events is None:
            log.info("the kernel tells of no programs that begin: sandboxes are looked at instead")
            await self._look_for_ever()
            return
        ear = _Ear(loop, events, self.hear)
        try:
            await self._look_for_ever()
        finally:
            ear.close()

    async def _look_for_ever(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self.look(began)
            except NetmgrError as failure:
                log.error("a sandbox with too much power is not removed: %s", failure.message)
            took = time.monotonic() - began
            with suppress(TimeoutError):
                async with asyncio.timeout(max(LOOK_S, SHARE * took)):
                    await self._awake.wait()

    def hear(self, pids: list[int]) -> None:
        """Processes that have just begun a program. Who could reach past a sandbox's door is killed
        before it has done much: what a runtime starts may give nothing up any more."""
        for pid in pids if self._core.residents else ():
            holder = self._judge(pid, self._core.residents.netnses)
            if holder is not None and not holder.starting:
                self._kill(holder)
                self._caught.append(holder)
                self._awake.set()

    async def look(self, now: float) -> None:
        """End whole what was caught meanwhile; look once; end what is there for too long.

        Args:
            now: of a monotonic clock, in seconds.

        Raises:
            HostFailed: a sandbox cannot be removed whole; its processes are dead.
        """
        self._awake.clear()
        caught, self._caught = self._caught, []
        wanted = set(self._core.residents.netnses)
        found = await asyncio.to_thread(self._find, wanted) if wanted else []
        self._since = {holder: self._since.get(holder, now) for holder in found}
        due = [holder for holder in found if self._is_due(holder, now)]
        for holder in {holder.netns: holder for holder in (*due, *caught)}.values():
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
