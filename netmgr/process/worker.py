"""Owns: the life of a worker process, the same for every kind.

    exec as root -> import the room -> `loaded`
    `start` (settings, descriptors) -> enter the hub -> open -> give up every privilege -> answer
        (one that imports what is not netmgr's gives up all but its files before it opens)
    `change` n (operations) -> apply -> answer: that is the acknowledgement of n
    `stop` -> end flows in good order -> answer -> exit
    channel closed -> exit: without the daemon nobody may decide

A room supplies a `Role`; the composition root (netmgr_cli.worker) puts both together.
"""

import asyncio
import codecs
import logging
import os
import signal
import socket
import time
from typing import Any, Final, Protocol

from netmgr.kernel.syscalls import CLONE_NEWNET, setns
from netmgr.process.confine import confine_lowered, confine_worker, lower_worker
from netmgr.process.ipc import Answer, Body, Peer, PeerRefused

log = logging.getLogger(__name__)

CLOSE_MARGIN_S: Final = 1.0  # what a room needs beside the flows' drain time


class Role(Protocol):
    """What a kind of worker does, seen from its life cycle."""

    def open(self, settings: Body, fds: dict[str, int], daemon: Peer) -> None:
        """Take settings and inherited descriptors (listeners, ...) by name. Still privileged,
        already in the right namespaces; must not read a byte from a sandbox yet."""

    def serve(self) -> None:
        """Begin to read from sandboxes. Called unprivileged, after the first full state."""

    def apply(self, op: dict[str, Any]) -> None:
        """Apply one operation of a numbered change. Raising ends the process (it is then
        restarted with the full state)."""

    async def on_ask(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        """Answer a question of the daemon other than `start`, `change` and `stop`."""

    async def close(self) -> None:
        """Stop serving; flows may end in good order for a few seconds."""


def load_codecs() -> None:
    """Import what the interpreter would import at its first use: in an empty root it cannot."""
    for name in ("ascii", "idna", "latin-1", "punycode", "unicode_escape", "utf-8", "utf-16"):
        codecs.lookup(name)
    time.strptime("2026", "%Y")  # imports _strptime


class WorkerLife:
    """One worker from `loaded` to its end."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._ended = asyncio.Event()
        self._serving = False
        self._peer: Peer | None = None
        self.status = 0

    async def run(self, sock: socket.socket) -> int:
        """Live until the daemon goes or says stop. The process's exit status."""
        self._peer = Peer(sock, on_ask=self._on_ask, on_close=self._ended.set)
        self._peer.tell("loaded", {"pid": os.getpid()})
        await self._ended.wait()
        self._peer.close()
        return self.status

    async def _on_ask(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        match what:
            case "start":
                return self._fatal_on_error(lambda: self._start(body, fds))
            case "change":
                return self._fatal_on_error(lambda: self._change(body))
            case "stop":
                return await self._stop(body["drain_s"])
            case _:
                return await self._role.on_ask(what, body, fds)

    def _fatal_on_error(self, step: Any) -> Answer:
        try:
            step()
        except Exception as fault:
            log.exception("the worker cannot go on")
            self.status = 70  # EX_SOFTWARE
            asyncio.get_running_loop().call_soon(self._ended.set)
            raise PeerRefused("internal", f"{type(fault).__name__}: {fault}") from fault
        return Answer()

    def _start(self, body: Body, fds: tuple[int, ...]) -> None:
        named = dict(zip(body["fd_names"], fds, strict=True))
        netns = named.pop("netns", None)
        if netns is not None:
            setns(netns, CLONE_NEWNET)
            os.close(netns)
        assert self._peer is not None
        confinement = body["confine"]
        lowered = confinement is not None and confinement.get("before_open", False)
        if confinement is not None:
            load_codecs()
        if lowered:
            lower_worker(uid=confinement["uid"], gid=confinement["gid"])
        self._role.open(body["settings"], named, self._peer)
        if confinement is None:
            return
        if lowered:
            confine_lowered(root=confinement["root"], parent_death_signal=signal.SIGKILL)
            return
        confine_worker(
            uid=confinement["uid"],
            gid=confinement["gid"],
            root=confinement["root"],
            parent_death_signal=signal.SIGKILL,
        )

    def _change(self, body: Body) -> None:
        for op in body["ops"]:
            self._role.apply(op)
        if not self._serving:
            self._serving = True
            self._role.serve()

    async def _stop(self, drain_s: float) -> Answer:
        try:
            async with asyncio.timeout(drain_s + CLOSE_MARGIN_S):
                await self._role.close()
        except TimeoutError:
            log.warning("flows were cut at the end of the drain time")
        asyncio.get_running_loop().call_later(0.05, self._ended.set)  # after the answer has left
        return Answer()
