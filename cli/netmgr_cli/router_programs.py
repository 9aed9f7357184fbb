"""Owns: the processes of router and scorer plug-ins, installed ones and programs alike: one of each
for every proxy worker, started again when it ends.

Each runs as a user of its own, without any capability, in a network namespace with nothing in it,
and ends with the daemon. It speaks on its standard input and output; see netmgr_proxy.line_router.
"""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from netmgr.process.ipc import Peer, PeerClosed, PeerRefused
from netmgr.process.tasks import TaskSet
from netmgr.settings.plugins import PluginName
from netmgr.settings.values import Account

log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0  # between the end of a program and its next start
HAND_OVER_S: Final = 5.0
END_S: Final = 1.0  # a program whose channel is closed has to end by itself


class _PlugIn(NamedTuple):
    """One plug-in, and the command line of its process."""

    kind: str
    name: str
    command: list[str]


class RouterPrograms:
    """Starts them.

    Args:
        account: whose user they are; nobody else's process is.
    """

    def __init__(
        self, routers: Sequence[PluginName], scorers: Sequence[str], account: Account
    ) -> None:
        named = [("router", each.name, each.command) for each in routers]
        named += [("scorer", name, ()) for name in scorers]
        self._programs = tuple(
            _PlugIn(
                kind,
                name,
                confined(command, account) if command else hosted(kind, name, account),
            )
            for kind, name, command in named
        )
        self._tasks = TaskSet()

    def serve(self, proxy: Peer) -> None:
        """A proxy worker has come up: its own programs live as long as it does."""
        for program in self._programs:
            self._tasks.start(self._keep(program, proxy), name=f"router plug-in {program.name}")

    async def stop(self) -> None:
        """End all of them."""
        await self._tasks.cancel()

    async def _keep(self, program: _PlugIn, proxy: Peer) -> None:
        while not proxy.closed:
            try:
                await self._live(program, proxy)
            except (OSError, PeerClosed, PeerRefused, TimeoutError) as failure:
                log.error("router plug-in %s: %s", program.name, failure)
            await asyncio.sleep(AGAIN_S)

    async def _live(self, program: _PlugIn, proxy: Peer) -> None:
        """One life of a program."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = await asyncio.create_subprocess_exec(
                *program.command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                cwd="/",
            )
            try:
                theirs.close()
                body = {"kind": program.kind, "name": program.name}
                await proxy.ask("plug_in", body, fds=[ours.fileno()], deadline_s=HAND_OVER_S)
                ours.close()
                status = await process.wait()
                if not proxy.closed:
                    log.error("router plug-in %s ended with status %d", program.name, status)
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


def hosted(kind: str, name: str, account: Account) -> list[str]:
    """The command line of netmgr's own program around an installed plug-in: an interpreter that
    gives everything up before it imports what is not netmgr's."""
    worker = [sys.executable, "-I", "-m", "netmgr_cli.worker", "plug-in"]
    return ["unshare", "--net", "--", *worker, f"{account.uid}:{account.gid}", kind, name]
