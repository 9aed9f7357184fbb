"""Owns: the operator's middleware programs: started when the scan worker stands, given a socket to
it, started anew when they end or break off. While one is away, its stages fail.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from typing import Final

from netmgr.process.ipc import Peer, PeerClosed, PeerRefused
from netmgr.process.program import start_program
from netmgr.process.tasks import TaskSet
from netmgr.settings.stages import Programs
from netmgr.settings.values import Account

log = logging.getLogger(__name__)

FIRST_DELAY_S: Final = 0.1  # before it is started anew
LAST_DELAY_S: Final = 10.0  # one that keeps ending is started no faster than this
HEALTHY_S: Final = 30.0  # one that lived so long starts again without delay
REAP_S: Final = 1.0  # a killed process
HAND_OVER_S: Final = 5.0


class ProgramKeeper:
    """Keeps every configured program running for as long as there is a scan worker."""

    def __init__(self, programs: Programs, account: Account) -> None:
        self._programs = programs
        self._account = account
        self._tasks = TaskSet()
        self._ended: dict[str, asyncio.Event] = {}
        self.pids: dict[str, int] = {}

    async def meet(self, scan: Peer) -> None:
        """A new scan worker: every program begins anew with it. Returns when each has been handed
        its socket once."""
        await self.stop()
        met = []
        for name, command in self._programs:
            first = asyncio.Event()
            self._ended[name] = asyncio.Event()
            met.append(first.wait())
            self._tasks.start(self._keep(scan, name, command, first), name=f"keep {name}")
        await asyncio.gather(*met)

    def gone(self, name: str) -> None:
        """The scan worker can ask it no more."""
        if name in self._ended:
            self._ended[name].set()

    async def stop(self) -> None:
        """End them all."""
        await self._tasks.cancel()
        self._ended.clear()

    async def _keep(
        self, scan: Peer, name: str, command: Sequence[str], first: asyncio.Event
    ) -> None:
        delay = FIRST_DELAY_S
        while not scan.closed:
            began = time.monotonic()
            try:
                await self._live_once(scan, name, command, first)
            except (OSError, PeerClosed, PeerRefused, TimeoutError) as failure:
                log.error("the middleware %s cannot run: %s", name, failure)
            finally:
                first.set()
            healthy = time.monotonic() - began > HEALTHY_S
            delay = FIRST_DELAY_S if healthy else min(delay * 2, LAST_DELAY_S)
            log.warning("the middleware %s ended; it is started again in %g s", name, delay)
            await asyncio.sleep(delay)

    async def _live_once(
        self, scan: Peer, name: str, command: Sequence[str], first: asyncio.Event
    ) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = start_program(command, self._account.uid, self._account.gid, theirs)
            self.pids[name] = process.pid
            ended = self._ended[name]
            ended.clear()
            try:
                theirs.close()
                body = {"name": name}
                await scan.ask("program", body, fds=[ours.fileno()], deadline_s=HAND_OVER_S)
                ours.close()
                first.set()
                await ended.wait()
            finally:
                self.pids.pop(name, None)
                process.kill()  # it holds nothing of ours; what it was asked has failed already
                process.wait(REAP_S)
