"""Owns: the scan worker's place in the crew: there while some policy has middlewares, met by every
proxy worker and by the operator's programs.

Part of the composition root: crew.py starts workers, this file says when there is a scan worker.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from netmgr.daemon.core import Core
from netmgr.daemon.programs import ProgramKeeper
from netmgr.errors import TryLater
from netmgr.process.ipc import Body, Peer, PeerClosed, PeerRefused
from netmgr.process.supervise import Worker

log = logging.getLogger(__name__)

INTRODUCE_S: Final = 5.0  # handing a channel over; a worker that is silent for longer is stuck
READY_S: Final = 55.0  # an interpreter with every detector, on a busy machine; clients wait 60


class Scanning:
    """Starts and ends the scan worker, and introduces it.

    Args:
        add: starts it.
    """

    def __init__(self, core: Core, add: Callable[[], Worker]) -> None:
        self._core = core
        self._add = add
        self._changing = asyncio.Lock()
        self.expected_by_file: Callable[[], bool] = bool  # whether a routing file hears middlewares
        settings = core.settings
        self.programs = ProgramKeeper(settings.middleware_programs, settings.middleware_account)

    def settings(self) -> Body:
        """What the scan worker is started with."""
        settings = self._core.settings
        return {
            "stage_s": settings.middleware_timeout_s,
            "plug_ins": list(settings.middleware_plug_ins),
        }

    def begin(self) -> None:
        """When the crew signs on: whether it is needed from the start."""
        if self._wanted:
            self._add()

    @property
    def _wanted(self) -> bool:
        """Whether some policy has middlewares, or one is to be expected."""
        return self._core.roster.needs_scan or self._expected

    @property
    def _expected(self) -> bool:
        """Whether a sandbox with middlewares can be told to come: it shall not have to wait."""
        settings, everywhere = self._core.settings, self._core.global_policy
        return (
            settings.scan_ready
            or bool(settings.registered_middlewares)
            or (everywhere is not None and bool(everywhere[0].middlewares))
            or self.expected_by_file()
        )

    @asynccontextmanager
    async def staffed(self) -> AsyncIterator[None]:
        """Around a change: it stands before proxies are told of a policy that needs it.

        Raises:
            TryLater: it does not come up.
        """
        if self._core.roster.needs_scan:
            await self._require()
        yield
        if self._wanted == bool(self._workers()):
            return
        async with self._changing:  # judged anew: another change may have been quicker
            if self._expected and not self._workers():
                self._add()  # nobody waits for it
            elif not self._wanted and self._workers():
                await self.programs.stop()
                await self._core.supervisor.dismiss("scan")

    async def _require(self) -> None:
        async with self._changing:
            if not self._workers():
                self._add()
            (worker,) = self._workers()
            try:
                async with asyncio.timeout(READY_S):
                    await worker.ready.wait()
            except TimeoutError:
                raise TryLater("the scan worker does not come up") from None

    def _workers(self) -> list[Worker]:
        return self._core.supervisor.of_kind("scan")

    # -- introductions -----------------------------------------------------------------------

    async def meet_all(self, scan: Peer) -> None:
        """A new scan worker meets the programs, and every proxy that stands, those too that come up
        meanwhile."""
        await self.programs.meet(scan)
        met: set[Peer] = set()
        while waiting := [
            (worker.spec.index, worker.peer)
            for worker in self._core.supervisor.of_kind("proxy")
            if worker.ready.is_set() and worker.peer not in met
        ]:
            for index, proxy in waiting:
                met.add(proxy)
                try:
                    await _introduce(index, proxy, scan)
                except (PeerClosed, PeerRefused, TimeoutError) as failure:
                    log.warning("proxy-%d did not meet the scan worker: %s", index, failure)

    async def meet_proxy(self, index: int, proxy: Peer) -> None:
        """A new proxy meets the scan worker, if one stands; else that one's start will do it."""
        for worker in self._workers():
            if worker.ready.is_set():
                await _introduce(index, proxy, worker.peer)

    def state(self) -> list[dict[str, Any]]:
        """The operator's middlewares, and whether each runs."""
        settings = self._core.settings
        plug_ins = [
            {"name": name, "kind": "plug-in", "pid": None} for name in settings.middleware_plug_ins
        ]
        return plug_ins + [
            {"name": name, "kind": "program", "pid": self.programs.pids.get(name)}
            for name, _ in settings.middleware_programs
        ]


async def _introduce(index: int, proxy: Peer, scan: Peer) -> None:
    """Give both ends of a new channel away."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await scan.ask("worker", {"index": index}, fds=[ours.fileno()], deadline_s=INTRODUCE_S)
        await proxy.ask("scan", {}, fds=[theirs.fileno()], deadline_s=INTRODUCE_S)
