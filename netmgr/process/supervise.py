"""Owns: the worker processes: starting, the full state, numbered changes, restarts, the stop.

Knows nothing of what a worker does. A worker that dies is started again with the full state; one
that does not acknowledge a change in time is killed by its pid and started again, so a change is
acknowledged by everybody or by somebody's successor. The kernel's fence stands meanwhile.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from netmgr.errors import TryLater
from netmgr.process.ipc import (
    AskHandler,
    Body,
    Peer,
    PeerClosed,
    PeerRefused,
    TellHandler,
    ignore_every_tell,
    refuse_every_ask,
)
from netmgr.process.tasks import TaskSet

log = logging.getLogger(__name__)

LOAD_S: Final = 120.0  # interpreter start and imports; emulated on a busy host it is a minute
START_S: Final = 20.0  # opening sockets, CA roots, giving up privileges
FULL_STATE_S: Final = 20.0  # thousands of sandboxes with their policies
READY_S: Final = 30.0  # how long a change waits for a worker that is being restarted
STOP_MARGIN_S: Final = 3.0  # what a worker needs to stop beside the flows' drain time
REAP_S: Final = 2.0  # a process that was told to end, or was killed
FIRST_DELAY_S: Final = 0.05  # before the first restart
MAX_WORKER_FRAME: Final = 4 * 1024 * 1024  # its longest word: the flows of thousands of sandboxes
LAST_DELAY_S: Final = 5.0  # restarts of a worker that keeps dying are no faster than this
HEALTHY_S: Final = 10.0  # a worker that lived so long starts again without delay

Op = dict[str, Any]

WORKER_ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long workers may take.

    Attributes:
        acknowledge_s: for a change; one that is silent for longer is killed.
        drain_s: for flows to end when the daemon stops.
    """

    acknowledge_s: float = 2.0
    drain_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Launch:
    """What a worker is given when it starts.

    Attributes:
        settings: its room's settings.
        fds: descriptors by name; the daemon keeps its own copies unless they are in `give_away`.
        confine: {uid, gid, root}, or None for a worker that confines itself; with `before_open`
            it is nobody before it opens, and only its files are taken away afterwards.
        give_away: descriptors that the daemon closes once they were sent.
    """

    settings: Body
    fds: dict[str, int] = field(default_factory=dict)
    confine: Body | None = None
    give_away: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker to be kept alive.

    Attributes:
        kind: `dns`, `proxy`, `dialer`, `watch`, `scan` or `rules`.
        index: number among its kind.
        launch: called at each start, just before `start` is sent.
        full_state: called at each start: the operations that rebuild all it must know.
        on_ready: called at each start after the full state; then the worker counts as ready.
    """

    kind: str
    index: int
    launch: Callable[[], Launch]
    full_state: Callable[[], list[Op]]
    on_ask: AskHandler = refuse_every_ask
    on_tell: TellHandler = ignore_every_tell
    on_ready: Callable[[Peer], Awaitable[None]] | None = None

    @property
    def name(self) -> str:
        """`proxy-0`."""
        return f"{self.kind}-{self.index}"


class Worker:
    """Keeps one worker process alive."""

    def __init__(
        self, spec: WorkerSpec, patience: Patience, last_change: Callable[[], int]
    ) -> None:
        self.spec = spec
        self._patience = patience
        self.restarts = 0
        self.pid: int | None = None
        self.started_at = 0.0
        self.ready = asyncio.Event()
        self._last_change = last_change
        self._peer: Peer | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._died = asyncio.Event()

    # -- used by the daemon ----------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """The channel to the live process.

        Raises:
            TryLater: it is being restarted.
        """
        if self._peer is None or not self.ready.is_set():
            raise TryLater(f"the {self.spec.name} worker is being restarted; try again")
        return self._peer

    async def change(self, number: int, ops: Sequence[Op]) -> None:
        """Have change `number` acknowledged, by this process or by its successor.

        Raises:
            TryLater: no successor came up in time.
        """
        peer = self._peer
        if peer is not None:
            try:
                body = {"number": number, "ops": list(ops)}
                # A worker that is still reading its full state takes this change behind it.
                ready = self.ready.is_set()
                deadline = self._patience.acknowledge_s if ready else FULL_STATE_S
                await peer.ask("change", body, deadline_s=deadline)
                return
            except TimeoutError:
                log.error("%s is silent: killing pid %s", self.spec.name, self.pid)
                self.kill()
                await self._gone(peer)
            except (PeerClosed, PeerRefused) as cause:
                log.warning("%s did not take change %d: %s", self.spec.name, number, cause)
                await self._gone(peer)
        try:
            async with asyncio.timeout(READY_S):
                await self.ready.wait()
        except TimeoutError:
            raise TryLater(f"the {self.spec.name} worker does not come up") from None

    def kill(self) -> None:
        """SIGKILL to this worker's own pid."""
        if self._process is not None:
            self._process.kill()

    async def stop(self) -> None:
        """End the process: asked first, killed when it does not answer in time."""
        self._stopping = True
        peer, process = self._peer, self._process
        if peer is not None and not peer.closed:
            try:
                drain_s = self._patience.drain_s
                body = {"drain_s": drain_s}
                await peer.ask("stop", body, deadline_s=drain_s + STOP_MARGIN_S)
            except (TimeoutError, PeerClosed, PeerRefused) as cause:
                log.warning("%s did not stop by itself: %s", self.spec.name, cause)
            peer.close()
        if process is not None:
            await _reap(process)

    # -- the life of processes -------------------------------------------------------------

    async def keep_alive(self) -> None:
        """Start the process, again and again, until `stop`."""
        delay = FIRST_DELAY_S
        while True:
            began = time.monotonic()
            try:
                await self._live_once()
            except (TimeoutError, PeerClosed, PeerRefused, OSError) as cause:
                log.error("%s failed: %s", self.spec.name, cause or type(cause).__name__)
            except Exception:
                # A fault of ours in its settings or state must not leave it unattended.
                log.exception("%s cannot be started", self.spec.name)
            finally:
                await self._clean_up()
            if self._stopping:
                return
            self.restarts += 1
            healthy = time.monotonic() - began > HEALTHY_S
            delay = FIRST_DELAY_S if healthy else min(delay * 2, LAST_DELAY_S)
            await asyncio.sleep(delay)

    async def _live_once(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._process = _spawn(self.spec, theirs)
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._died.clear()
        loaded = asyncio.Event()

        def on_tell(what: str, body: Body, fds: tuple[int, ...]) -> None:
            if what == "loaded":
                loaded.set()
            else:
                self.spec.on_tell(what, body, fds)

        # It reads hostile bytes and may be hijacked: it has no descriptor to give.
        peer = Peer(
            ours,
            on_ask=self.spec.on_ask,
            on_tell=on_tell,
            on_close=self._died.set,
            takes_fds=False,
            max_frame=MAX_WORKER_FRAME,
        )
        try:
            await _first(loaded, self._died, LOAD_S)
            await self._start(peer)
            self._peer = peer  # from here on changes queue behind the full state
            body = {"number": self._last_change(), "ops": self.spec.full_state()}
            await peer.ask("change", body, deadline_s=FULL_STATE_S)
            if self.spec.on_ready is not None:
                await self.spec.on_ready(peer)
            self.started_at = time.time()
            self.ready.set()
            await self._died.wait()
            if not self._stopping:
                raise PeerClosed(f"pid {self.pid} ended")
        finally:
            peer.close()

    async def _start(self, peer: Peer) -> None:
        launch = self.spec.launch()
        try:
            body = {
                "settings": launch.settings,
                "fd_names": list(launch.fds),
                "confine": launch.confine,
            }
            await peer.ask("start", body, fds=list(launch.fds.values()), deadline_s=START_S)
        finally:
            for fd in launch.give_away:
                os.close(fd)

    async def _gone(self, peer: Peer) -> None:
        """Wait until `keep_alive` has noticed that `peer` is of the past."""
        peer.close()
        while self._peer is peer:  # noqa: ASYNC110 - one loop turn or two, no event to wait for
            await asyncio.sleep(0.005)

    async def _clean_up(self) -> None:
        self.ready.clear()
        self._peer = None
        self.pid = None
        if self._process is not None:
            self._process.kill()
            await _reap(self._process)
            self._process = None


class Supervisor:
    """All workers of one daemon, and the number of the last change."""

    def __init__(self, patience: Patience = Patience()) -> None:
        self._patience = patience
        self.workers: list[Worker] = []
        self.number = 0
        self._tasks = TaskSet()

    def add(self, spec: WorkerSpec) -> Worker:
        """Keep a worker of that kind alive from now on."""
        worker = Worker(spec, self._patience, lambda: self.number)
        self.workers.append(worker)
        self._tasks.start(worker.keep_alive(), name=f"keep {spec.name} alive")
        return worker

    async def dismiss(self, kind: str) -> None:
        """End the workers of one kind for good: nobody needs them any more."""
        for worker in self.of_kind(kind):
            await worker.stop()
            self.workers.remove(worker)

    def of_kind(self, kind: str) -> list[Worker]:
        """The workers of one kind, by index."""
        return [worker for worker in self.workers if worker.spec.kind == kind]

    async def wait_ready(self, deadline_s: float = LOAD_S + START_S) -> None:
        """Wait until every worker has its full state.

        Raises:
            TryLater: one did not come up; the message names it.
        """
        try:
            async with asyncio.timeout(deadline_s):
                for worker in self.workers:
                    await worker.ready.wait()
        except TimeoutError:
            late = [worker.spec.name for worker in self.workers if not worker.ready.is_set()]
            raise TryLater(f"workers that did not come up: {', '.join(late)}") from None

    async def change(self, ops_for: Callable[[str], list[Op]]) -> int:
        """Send one change to every worker that has a part in it; wait for all acknowledgements.

        Args:
            ops_for: kind of worker -> its operations; an empty list means: not concerned.

        Returns:
            the change's number.

        Raises:
            TryLater: a worker did not come up again; all others have the change.
        """
        self.number += 1
        concerned = [(worker, ops_for(worker.spec.kind)) for worker in self.workers]
        outcomes = await asyncio.gather(
            *(worker.change(self.number, ops) for worker, ops in concerned if ops),
            return_exceptions=True,  # one that fails must not keep the others' word from counting
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return self.number

    async def stop(self) -> None:
        """Stop every worker, at the same time."""
        await asyncio.gather(*(worker.stop() for worker in self.workers))
        await self._tasks.cancel()


def _spawn(spec: WorkerSpec, channel: socket.socket) -> subprocess.Popen[bytes]:
    """A fresh interpreter: nothing of the daemon's memory goes with it."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [
            sys.executable,
            "-I",
            "-m",
            "netmgr_cli.worker",
            spec.kind,
            str(channel.fileno()),
        ],
        stdin=subprocess.DEVNULL,
        pass_fds=(channel.fileno(),),
        env=WORKER_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


async def _first(wanted: asyncio.Event, died: asyncio.Event, deadline_s: float) -> None:
    """Wait for `wanted`.

    Raises:
        PeerClosed: `died` came first.
        TimeoutError: neither came in time.
    """
    waits = [asyncio.ensure_future(event.wait()) for event in (wanted, died)]
    try:
        async with asyncio.timeout(deadline_s):
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if not wanted.is_set():
        raise PeerClosed("the process ended before it was loaded")


async def _reap(process: subprocess.Popen[bytes], deadline_s: float = REAP_S) -> None:
    """Wait for the process's end without blocking the loop; SIGKILL at the deadline."""
    end = time.monotonic() + deadline_s
    while process.poll() is None:
        if time.monotonic() > end:
            process.send_signal(signal.SIGKILL)
        await asyncio.sleep(0.005)
