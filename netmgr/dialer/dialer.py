"""Owns: the dialer's role: settings, the proxies' channels, and their questions.

An `origin` operation names, under a scope that no sandbox can have, where the daemon itself asks.
Settings: `servers` [[address, port]]; optional are `dns_try_s` and `dns_total_s` (seconds),
`host_addresses` [address], `control_plane_ports` [port], `treat_as_public` [network].
The daemon asks `worker` {index} with one descriptor, the channel of a proxy worker, and `settings`
with any of the settings when they change. The proxies ask `dial`.
"""

import os
import socket
from ipaddress import ip_network
from typing import Any, Final

from netmgr.dialer.errand import parse_errand
from netmgr.dialer.gate import DialGate
from netmgr.dialer.reach import Dialer, DialRefused, Way
from netmgr.dialer.residency import parse_residency
from netmgr.dialer.resolution import (
    SERVER_DEADLINE_S,
    TOTAL_DEADLINE_S,
    MakeResolver,
    Resolver,
)
from netmgr.errors import BadInput, LimitExceeded
from netmgr.guard import Surroundings, parse_addresses
from netmgr.inference.base_url import MOCK, parse_base_url
from netmgr.process.ipc import Answer, Body, Peer, PeerRefused
from netmgr.process.view import VIEW_OPS, View
from netmgr.reasons import Reason

MAX_WORKERS: Final = 256  # one per core
_RESOLVER_SETTINGS: Final = ("servers", "dns_try_s", "dns_total_s")
MAX_QUESTION: Final = 64 * 1024  # bytes of a proxy's question; a name and an origin are in it
PROBE_CALLER: Final = "(probe)"  # the daemon's own dials share one place at the gate


class DialerRole:
    """The dialer process (netmgr.process.worker.Role).

    Args:
        make_resolver: builds the resolver from its servers (the DNS room's StubResolver).
    """

    def __init__(self, make_resolver: MakeResolver) -> None:
        self._make_resolver = make_resolver
        self._view = View()
        self._gate = DialGate()
        self._settings: Body = {}
        self._dialer: Dialer | None = None
        self._workers: dict[int, Peer] = {}
        self._refused: dict[str, int] = {}
        self._connected = 0

    def open(self, settings: Body, fds: dict[str, int], daemon: Peer) -> None:
        """Take settings and build the resolver."""
        self._settings = dict(settings)
        resolver = self._resolver(settings)
        self._dialer = Dialer(self._view, resolver, _surroundings(settings))

    def serve(self) -> None:
        """Nothing to begin: each proxy's channel reads from the moment it is handed over."""

    def apply(self, op: dict[str, Any]) -> None:
        """Apply one operation; those of other rooms are none of ours."""
        assert self._dialer is not None
        if op["op"] in VIEW_OPS:
            self._view.apply(op)
        elif op["op"] in ("inference", "origin"):
            _set_route(self._dialer, op)
        elif op["op"] == "inference.revoke":
            self._dialer.retired.clear()

    async def on_ask(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        """Answer the daemon."""
        match what:
            case "worker":
                self._add_worker(body, fds)
                return Answer()
            case "settings":
                self._change_settings(body)
                return Answer()
            case "statistics":
                return Answer(self._statistics())
            case _:
                raise PeerRefused("unsupported", f"the dialer does not answer {what!r}")

    async def close(self) -> None:
        """Leave every channel. Connections that were handed over live on in the proxies."""
        for peer in tuple(self._workers.values()):
            peer.close()

    # -- the daemon's questions --------------------------------------------------------------

    def _add_worker(self, body: Body, fds: tuple[int, ...]) -> None:
        index = body.get("index")
        if not isinstance(index, int) or not 0 <= index < MAX_WORKERS or len(fds) != 1:
            for fd in fds:
                os.close(fd)
            message = f"worker {index!r} with {len(fds)} descriptors: expected an index and one"
            raise PeerRefused(BadInput.code, message)
        before = self._workers.pop(index, None)
        if before is not None:
            before.close()  # its process is gone: this is its successor
        peer = Peer(
            socket.socket(fileno=fds[0]),
            on_ask=self._answer_worker,
            takes_fds=False,  # a hijacked proxy could use up all of ours
            max_frame=MAX_QUESTION,
        )
        peer.on_close = lambda: self._forget_worker(index, peer)
        self._workers[index] = peer

    def _forget_worker(self, index: int, peer: Peer) -> None:
        if self._workers.get(index) is peer:
            del self._workers[index]

    def _change_settings(self, body: Body) -> None:
        assert self._dialer is not None
        changed = {**self._settings, **body}
        surroundings = _surroundings(changed)  # may raise: then nothing is changed
        if any(changed.get(key) != self._settings.get(key) for key in _RESOLVER_SETTINGS):
            self._dialer.resolver = self._resolver(changed)
        self._dialer.surroundings = surroundings
        self._settings = changed

    def _resolver(self, settings: Body) -> Resolver:
        return self._make_resolver(
            [(str(address), int(port)) for address, port in settings["servers"]],
            server_deadline_s=float(settings.get("dns_try_s", SERVER_DEADLINE_S)),
            total_deadline_s=float(settings.get("dns_total_s", TOTAL_DEADLINE_S)),
        )

    def _statistics(self) -> Body:
        return {
            "connected": self._connected,
            "refused": dict(self._refused),
            "under_way": self._gate.under_way,
            "workers": len(self._workers),
        }

    # -- the proxies' questions --------------------------------------------------------------

    async def _answer_worker(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        if what != "dial":
            raise PeerRefused("unsupported", f"the dialer does not answer {what!r} to a proxy")
        try:
            return await self._dial(body)
        except DialRefused as refusal:
            raise self._refuse(refusal.reason, refusal.message, refusal.details) from refusal
        except LimitExceeded as full:
            raise self._refuse(Reason.LIMIT_EXCEEDED, full.message) from full
        except BadInput as fault:
            raise self._refuse(Reason.MALFORMED_REQUEST, fault.message) from fault

    async def _dial(self, body: Body) -> Answer:
        assert self._dialer is not None
        errand = parse_errand(body)
        with self._gate.enter(errand.address or PROBE_CALLER):
            sock = await self._dialer.dial(errand)
        self._connected += 1
        peer = sock.getpeername()[0]
        return Answer({"peer": peer}, (sock.detach(),))

    def _refuse(self, reason: Reason, message: str, details: Body | None = None) -> PeerRefused:
        self._refused[reason.value] = self._refused.get(reason.value, 0) + 1
        return PeerRefused(reason.value, message, details)


def _surroundings(settings: Body) -> Surroundings:
    return Surroundings(
        host_addresses=parse_addresses(settings.get("host_addresses", ())),
        control_plane_ports=frozenset(settings.get("control_plane_ports", ())),
        treat_as_public=tuple(ip_network(text) for text in settings.get("treat_as_public", ())),
    )


def _set_route(dialer: Dialer, op: dict[str, Any]) -> None:
    scope, route = op["scope"], op["route"]
    if route is None:
        dialer.set_way(scope, None)
        return
    # What is allowed where was the daemon's to judge, by the provider's type.
    where = route["proxy"] or route["base_url"]
    origin = parse_base_url(
        where, "route", query_allowed=True, cleartext_anywhere=True, mock_allowed=True
    )
    if origin.scheme == MOCK:
        dialer.set_way(scope, None)  # it is answered by the proxy; nobody is dialled
        return
    host = parse_base_url(
        route["base_url"], "route", query_allowed=True, cleartext_anywhere=True
    ).host
    residency = parse_residency(route.get("dial"))
    dialer.set_way(scope, Way(route["id"], origin, host, residency))
