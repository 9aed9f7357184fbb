"""Owns: the scan worker: proxy workers ask it what a chain says of a request.

It lives like them: without a capability, in an empty root, in the hub, where no route leads out. A
pattern or a plug-in that does not come to an end costs this process alone: its loop winds up a
timer of the kernel's, and where it no longer does, SIGALRM ends it (setitimer(2)); the daemon
starts another, and whoever asked is told that the stage failed.
"""

import asyncio
import logging
import os
import signal
import socket
from functools import partial
from importlib.metadata import entry_points
from typing import Any, Final

from netmgr.errors import BadInput
from netmgr.middleware.wire import outcome_doc, parse_chain
from netmgr.process.ipc import Answer, Body, Peer, PeerRefused
from netmgr.process.tasks import TaskSet
from netmgr_proxy.payload import make_payload, read_payload
from netmgr_proxy.scan.program import Program
from netmgr_proxy.scan.runners import PlugInRunner, Runners, Threads

log = logging.getLogger(__name__)

GROUP: Final = "netmgr.middleware"  # of entry points
STALLED_S: Final = 5.0  # the worst body takes netmgr's own stages a second
WIND_UP_S: Final = 0.5
MAX_QUESTION: Final = 2 * 1024 * 1024  # ten stages with their configurations, and a head


class ScanRole:
    """A netmgr.process.worker.Role.

    Settings: `stage_s`, and `plug_ins`: names of entry points that may be loaded. The channel to a
    proxy worker comes with the question `worker`, the socket of an operator's program with
    `program`.
    """

    def __init__(self) -> None:
        self._runners = Runners(0.0)
        self._threads = Threads()
        self._proxies: dict[int, Peer] = {}
        self._programs: dict[str, Program] = {}
        self._tasks = TaskSet()
        self._daemon: Peer | None = None
        self.chains = 0

    def open(self, settings: Body, fds: dict[str, int], daemon: Peer) -> None:
        """See Role. Plug-ins are imported here: later there are no files."""
        self._daemon = daemon
        self._runners.stage_s = settings["stage_s"]
        for name, plug_in in load_plug_ins(settings["plug_ins"]).items():
            self._runners.others[name] = PlugInRunner(plug_in, self._threads)

    def serve(self) -> None:
        """See Role."""
        self._tasks.start(self._wind_up(), name="stay alive")

    def apply(self, op: dict[str, Any]) -> None:
        """Nothing here depends on the state of the world."""

    async def on_ask(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        """See Role."""
        match what:
            case "worker":
                self._meet(body["index"], fds[0])
            case "program":
                await self._listen_to(body["name"], fds[0])
            case "statistics":
                return Answer({"chains": self.chains, "programs": sorted(self._programs)})
            case _:
                for fd in fds:
                    os.close(fd)
                raise PeerRefused("unsupported", f"the scan worker does not answer {what!r}")
        return Answer()

    async def close(self) -> None:
        """See Role."""
        for proxy in self._proxies.values():
            proxy.close()
        for program in self._programs.values():
            await program.close()
        await self._tasks.cancel()

    # -- who is there ------------------------------------------------------------------------

    def _meet(self, index: int, fd: int) -> None:
        if index in self._proxies:
            self._proxies[index].close()
        sock = socket.socket(fileno=fd)
        self._proxies[index] = Peer(sock, on_ask=self._answer, max_frame=MAX_QUESTION)

    async def _listen_to(self, name: str, fd: int) -> None:
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        if before := self._programs.pop(name, None):
            await before.close()
        program = await Program.meet(sock, partial(self._tell_gone, name))
        self._programs[name] = self._runners.others[name] = program

    def _tell_gone(self, name: str) -> None:
        if self._daemon is not None and not self._daemon.closed:
            self._daemon.tell("program.gone", {"name": name})

    # -- chains ------------------------------------------------------------------------------

    async def _answer(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        """A proxy worker's question."""
        try:
            payload = read_payload(fds[0]) if fds else b""
        finally:
            for fd in fds:
                os.close(fd)
        try:
            if what != "chain":
                raise BadInput(f"nobody asks {what!r:.40} here")
            request, stages = parse_chain(body, payload)
        except BadInput as fault:
            raise PeerRefused(fault.code, fault.message) from fault
        outcome = await self._runners.run_chain(stages, request)
        self.chains += 1
        made = () if outcome.body is None else (make_payload(outcome.body),)
        return Answer(outcome_doc(outcome), made)

    async def _wind_up(self) -> None:
        while True:
            if self._threads.exhausted:
                log.error("every thread is held by a plug-in that does not end; starting anew")
                os._exit(70)  # EX_SOFTWARE; a thread cannot be ended otherwise
            signal.setitimer(signal.ITIMER_REAL, STALLED_S)
            await asyncio.sleep(WIND_UP_S)


def load_plug_ins(names: list[str]) -> dict[str, Any]:
    """The plug-ins that the operator enabled, each made once.

    A name that no installed package has is passed over: stages of it fail, and say so.
    """
    found = {point.name.replace(":", "/"): point for point in entry_points(group=GROUP)}
    made: dict[str, Any] = {}
    for name in names:
        if name not in found:
            log.error("no installed package has a middleware %r", name)
            continue
        try:
            made[name] = found[name].load()()
        except Exception:
            log.exception("the middleware %r cannot be loaded", name)
    return made
