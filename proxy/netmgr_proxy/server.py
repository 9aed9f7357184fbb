"""Owns: the proxy worker: it accepts connections, takes the daemon's changes, and stops in order.

Knows nothing of what happens inside a connection (door.py).
"""

import asyncio
import encodings.idna  # noqa: F401 - a confined process cannot import it when a name needs it
import errno
import logging
import os
import secrets
import socket
from contextlib import suppress
from itertools import count
from typing import Any, Final

from netmgr.inference.route import InferenceRoute
from netmgr.process.ipc import Answer, Body, Peer, PeerRefused
from netmgr.process.tasks import TaskSet
from netmgr.process.view import VIEW_OPS, View
from netmgr.routing.plugins import Plugins
from netmgr_proxy.dial import Dialer
from netmgr_proxy.door import serve
from netmgr_proxy.flows import SWEEP_S, Flows
from netmgr_proxy.generations import Generations
from netmgr_proxy.holdings import Holdings
from netmgr_proxy.inbox import keep_large_blocks_apart
from netmgr_proxy.inference.urls import urls_of
from netmgr_proxy.leaves import Leaves
from netmgr_proxy.limits import parse_limits
from netmgr_proxy.line_router import LineRouter, LineScorer
from netmgr_proxy.metering import Metered
from netmgr_proxy.peer import FindCaller, find_caller
from netmgr_proxy.probing import look, verify
from netmgr_proxy.rations import Rations
from netmgr_proxy.recorder import Recorder
from netmgr_proxy.relay import Pipes
from netmgr_proxy.room import Room
from netmgr_proxy.route_questions import ROUTING, connect_plug_in
from netmgr_proxy.routes import Revoked, Routes
from netmgr_proxy.routing.availability import Availability
from netmgr_proxy.scanner import Scanner
from netmgr_proxy.shelf import Shelf
from netmgr_proxy.sockets import reset
from netmgr_proxy.tally import Tally
from netmgr_proxy.tokens import fetch_token
from netmgr_proxy.upstream_tls import make_client_context
from netmgr_proxy.upstreams import Upstreams
from netmgr_proxy.vitals import Vitals

log = logging.getLogger(__name__)

ACCEPTS_A_TURN: Final = 8  # then other events get theirs, and other workers their share
BACK_OFF_S: Final = 0.1  # no descriptors left: flows have to end before accepting is of use
_NO_DESCRIPTORS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
MAX_SCAN_FRAME: Final = 2 * 1024 * 1024  # ten stages' findings and metadata
_SWEEPS_PER_POOL_SWEEP: Final = 20


class ProxyRole:
    """A netmgr.process.worker.Role.

    Settings: `ca_roots` (PEM text of the authorities that origins are verified against) and
    `limits` (see netmgr_proxy.limits; names not given keep their defaults), `index` (which of the
    proxy workers this is), `workers` (how many there are). Descriptors: `listener` (a listening,
    non-blocking TCP socket), `tally` and `vitals` (see netmgr_proxy.tally and .vitals). The channel
    to the dialer comes with the question `dialer`, again whenever the dialer was started anew.

    Args:
        find: how the caller of an accepted connection is told (tests have no TPROXY).
    """

    def __init__(self, find: FindCaller = find_caller) -> None:
        self._find = find
        self._view = View()
        self._routes = Routes()
        self._metered = Metered()
        self._generations = Generations()
        self._tasks = TaskSet()
        self._room: Room | None = None
        self._listener: socket.socket | None = None
        self._shelf: Shelf | None = None
        self._tally: Tally | None = None
        self._vitals: Vitals | None = None
        self._reserve = -1
        self.accepted = 0

    # -- netmgr.process.worker.Role ----------------------------------------------------------------

    def open(self, settings: Body, fds: dict[str, int], daemon: Peer) -> None:
        """See Role. Must run inside the loop."""
        limits = parse_limits(settings.get("limits", {}))
        self._listener = socket.socket(fileno=fds["listener"])
        self._listener.setblocking(False)
        dialer = Dialer(limits.connect_timeout_s)
        keep_large_blocks_apart()
        self._shelf = Shelf()
        self._routes.trust(settings["ca_roots"], self._shelf.load)
        self._reserve = os.eventfd(0)
        self._tally = Tally(fds["tally"], settings["index"])
        self._vitals = Vitals(fds["vitals"], settings["index"], settings["workers"])
        self._generations.plugins = Plugins(
            {name: LineRouter(name) for name in settings.get("model_routers", ())},
            {name: LineScorer(name) for name in settings.get("route_scorers", ())},
        )
        self._room = Room(
            daemon=daemon,
            view=self._view,
            limits=limits,
            flows=Flows(limits.connections_per_sandbox, limits.connections),
            recorder=Recorder(daemon),
            dialer=dialer,
            upstreams=Upstreams(dialer, make_client_context(settings["ca_roots"]), limits),
            leaves=Leaves(daemon, self._shelf, limits.leaf_contexts),
            routes=self._routes,
            metered=self._metered,
            generations=self._generations,
            holdings=Holdings(limits.judged_bytes_per_sandbox, limits.judged_bytes),
            scanner=Scanner(),
            pipes=Pipes(),
            rations=Rations(self._tally),
            availability=Availability(self._vitals),
            tasks=self._tasks,
            id_prefix=secrets.token_hex(4),
            numbers=count(1),
            now=asyncio.get_running_loop().time,
        )

    def serve(self) -> None:
        """See Role."""
        self._start_accepting()
        self._tasks.start(self._sweep(), name="sweep")

    def apply(self, op: dict[str, Any]) -> None:
        """See Role."""
        room = self._opened
        match op["op"]:
            case "inference":
                self._routes.apply(op)
            case "meter":
                self._metered.apply(op)
            case "routing":
                self._generations.apply(op)
                if (live := self._generations.live) is not None:
                    names = frozenset(each.id for each in live.file.endpoints)
                    room.availability.in_force(names, live.failure.breaker)
            case "inference.revoke":
                self._revoke(Revoked(op["provider"], op["scope"]))
            case "leaf.forget":
                room.leaves.forget(op["address"])
            case "flow.judge":
                self._judge_again(op["address"])
            case kind if kind in VIEW_OPS:
                self._view.apply(op)
                if kind == "sandbox.forget":
                    self._forget(op["address"])
            case other:
                raise KeyError(f"unknown operation {other!r}")

    async def on_ask(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        """See Role."""
        if what in ("dialer", "scan"):
            self._meet(what, socket.socket(fileno=fds[0]))
            return Answer()
        if what == "plug_in":
            connect_plug_in(self._opened, body, socket.socket(fileno=fds[0]))
            return Answer()
        for fd in fds:
            os.close(fd)
        if what == "statistics":
            return Answer(self.statistics())
        if (answer := ROUTING.get(what)) is not None:
            return Answer(answer(self._opened, body))
        if what == "probe":
            return Answer(await verify(self._opened, body["route"]))
        if what == "urls":
            return Answer({"urls": urls_of(InferenceRoute.from_wire(body["route"]))})
        if what == "token":
            return Answer(await fetch_token(self._opened, body))
        if what == "look":
            return Answer(await look(self._opened, body["route"], body["timeout_s"]))
        raise PeerRefused("unsupported", f"a proxy worker does not answer {what!r}")

    def _meet(self, kind: str, channel: socket.socket) -> None:
        """Another worker, whose process is new, or ours is."""
        if kind == "dialer":
            self._opened.dialer.use(Peer(channel))
        else:
            self._opened.scanner.use(Peer(channel, max_frame=MAX_SCAN_FRAME))

    async def close(self) -> None:
        """See Role."""
        self._stop_accepting()
        room = self._opened
        for flow in room.flows:
            flow.end(at_once=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(room.limits.drain_s):
                await room.flows.none_left.wait()
        await self._tasks.cancel()
        room.recorder.flush()
        room.upstreams.close()
        room.pipes.close()
        if self._shelf is not None:
            self._shelf.close()
        if self._tally is not None:
            self._tally.close()
        if self._vitals is not None:
            self._vitals.close()
        if self._listener is not None:
            self._listener.close()
        self._release_reserve()

    # -- what the daemon may see -----------------------------------------------------------

    def statistics(self) -> Body:
        """Counters since the start."""
        room = self._opened
        return {
            "accepted": self.accepted,
            "flows": room.flows.count,
            "flows_by_address": room.flows.counts(),
            "flows_refused": room.flows.refused,
            "upstreams_idle": room.upstreams.idle_count,
            "upstreams_opened": room.upstreams.opened,
            "upstreams_reused": room.upstreams.reused,
            "leaf_contexts": len(room.leaves),
            "records": room.recorder.sent,
            "limits_met": dict(room.rations.hits),
            "breakers": {
                name: state.value for name, state in room.availability.states(room.now()).items()
            },
        }

    @property
    def _opened(self) -> Room:
        assert self._room is not None, "open() comes first"
        return self._room

    # -- accepting -------------------------------------------------------------------------

    def _start_accepting(self) -> None:
        if self._listener is not None and self._listener.fileno() >= 0:
            loop = asyncio.get_running_loop()
            loop.add_reader(self._listener.fileno(), self._accept_some)

    def _stop_accepting(self) -> None:
        if self._listener is not None and self._listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())

    def _accept_some(self) -> None:
        assert self._listener is not None
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as fault:
                if fault.errno in _NO_DESCRIPTORS:
                    self._back_off()
                    return
                continue  # ECONNABORTED and the network's errors are one connection's: accept(2)
            self._welcome(sock)

    def _welcome(self, sock: socket.socket) -> None:
        self.accepted += 1
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            caller = self._find(sock)
        except OSError:
            sock.close()  # reset before we came to it
            return
        self._tasks.start(serve(self._opened, sock, caller), name=f"serve {caller.address}")

    def _back_off(self) -> None:
        """No descriptor is left: reset one waiting client with the reserve, and pause."""
        assert self._listener is not None
        log.warning("no descriptors left with %d flows; accepting pauses", self._opened.flows.count)
        self._release_reserve()
        try:
            sock, _ = self._listener.accept()
            reset(sock)
        except OSError:
            pass
        try:
            self._reserve = os.eventfd(0)
        except OSError:
            self._reserve = -1
        self._stop_accepting()
        asyncio.get_running_loop().call_later(BACK_OFF_S, self._start_accepting)

    def _release_reserve(self) -> None:
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    # -- changes ---------------------------------------------------------------------------

    def _judge_again(self, address: str) -> None:
        for flow in self._opened.flows.of(address):
            flow.judge_again()

    def _revoke(self, revoked: Revoked) -> None:
        self._routes.revoked = revoked
        try:
            for flow in self._opened.flows:
                flow.judge_again()
        finally:
            self._routes.revoked = None

    def _forget(self, address: str) -> None:
        room = self._opened
        for flow in room.flows.of(address):
            flow.end(at_once=True)
        room.upstreams.forget(address)
        room.leaves.forget(address)
        room.availability.forget_sandbox(address)

    async def _sweep(self) -> None:
        room = self._opened
        loop = asyncio.get_running_loop()
        for number in count(1):
            await asyncio.sleep(SWEEP_S)
            now = loop.time()
            for flow in room.flows:
                flow.tick(now)
            if number % _SWEEPS_PER_POOL_SWEEP == 0:
                room.upstreams.sweep()
