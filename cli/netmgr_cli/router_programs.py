"""Owns: the programs that are routers: one of each for every proxy worker, started again when it
ends.

A program runs as a user of its own, without any capability, in a network namespace with nothing in
it, and ends with the daemon. It speaks on its standard input and output; see
netmgr_proxy.line_router.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from typing import Final

from netmgr.process.ipc import Peer, PeerClosed, PeerRefused
from netmgr.process.tasks import TaskSet
from netmgr.settings.plugins import PluginName
from netmgr.settings.values import Account

log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0  # between the end of a program and its next start
HAND_OVER_S: Final = 5.0
END_S: Final = 1.0  # a program whose channel is closed has to end by itself


class RouterPrograms:
    """Starts them.

    Args:
        account: whose user they are; nobody else's process is.
    """

    def __init__(self, programs: Sequence[PluginName], account: Account) -> None:
        self._programs = tuple(each for each in programs if each.command)
        self._account = account
        self._tasks = TaskSet()

    def serve(self, proxy: Peer) -> None:
        """A proxy worker has come up: its own programs live as long as it does."""
        for program in self._programs:
            self._tasks.start(self._keep(program, proxy), name=f"router program {program.name}")

    async def stop(self) -> None:
        """End all of them."""
        await self._tasks.cancel()

    async def _keep(self, program: PluginName, proxy: Peer) -> None:
        while not proxy.closed:
            try:
                await self._live(program, proxy)
            except (OSError, PeerClosed, PeerRefused, TimeoutError) as failure:
                log.error("router program %s: %s", program.name, failure)
            await asyncio.sleep(AGAIN_S)

    async def _live(self, program: PluginName, proxy: Peer) -> None:
        """One life of a program."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = await asyncio.create_subprocess_exec(
                *confined(program.command, self._account),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                cwd="/",
            )
            try:
                theirs.close()
                body = {"name": program.name}
                await proxy.ask("router", body, fds=[ours.fileno()], deadline_s=HAND_OVER_S)
                ours.close()
                status = await process.wait()
                if not proxy.closed:
                    log.error("router program %s ended with status %d", program.name, status)
            finally:
                if process.returncode is None:
                    process.kill()
                    await asyncio.wait_for(process.wait(), END_S)


def confined(command: Sequence[str], account: Account) -> list[str]:
    """The command line that runs a program without powers: setpriv(1), unshare(1)."""
    return [
        "unshare",
        "--net",
        "--",
        "setpriv",
        f"--reuid={account.uid}",
        f"--regid={account.gid}",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--pdeathsig=KILL",
        "--",
        *command,
    ]
