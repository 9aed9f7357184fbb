"""Owns: the daemon's questions about routing, answered where routing is decided.

The generation, the health and the plug-ins are those that calls are decided with. Foreign code runs
in this process and in none that is root.
"""

import socket
from collections.abc import Callable
from typing import Final

from netmgr.errors import Conflict, NetmgrError, NotFound
from netmgr.inference.protocols import Protocol as WireProtocol
from netmgr.inference.protocols import Shape
from netmgr.process.ipc import Body, PeerRefused
from netmgr.reasons import Reason
from netmgr.routing.explain import explain
from netmgr.routing.plugins import judge_router
from netmgr.routing.schema import routing_from_doc
from netmgr.routing.single import generation_of
from netmgr.routing.wire import UNREADABLE
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.permits import choose_model
from netmgr_proxy.line_router import LinePlugIn
from netmgr_proxy.room import Room


def judge_router_of(room: Room, body: Body) -> Body:
    """`judge_router` {doc}: {problems: [[key, message]]} where workers lack the file's router."""
    file = routing_from_doc(body["doc"])
    found = judge_router(file, room.generations.plugins)
    return {"problems": [[d.key, d.message] for d in found]}


def explain_route(room: Room, body: Body) -> Body:
    """`explain_route` {request, findings, stages, says}: see netmgr.routing.explain.

    Raises:
        PeerRefused: no call can be made there, or what is asked cannot be meant.
    """
    generation, board = room.generations.live, room.availability.board(room.now())
    try:
        if generation is not None and generation.unreadable:
            raise Conflict(UNREADABLE.format(number=generation.number))
        if generation is not None:
            return explain(generation, body, board)
        return _explain_set(room, body)
    except NetmgrError as fault:
        raise PeerRefused(fault.code, fault.message) from fault


def _explain_set(room: Room, body: Body) -> Body:
    """By what `inference set` wrote: the generation says where, the route's rules which model."""
    request = body["request"]
    live = room.routes.holding(request.get("sandbox") or "", request.get("workload") or {})
    if live is None:
        raise NotFound("no routing file is in force, and no `inference set` holds there")
    route, asked = live.route, request.get("model")
    told = explain(generation_of(route), body)
    protocol = request.get("protocol")
    if protocol is not None and protocol not in (*route.dialect.protocols, WireProtocol.OTHER):
        return told | _denied(Reason.PATTERN_NOT_SUPPORTED, told, "protocol")
    model = choose_model(asked, asked is not None, route, Shape.OPENAI)
    if isinstance(model, Refusal):
        return told | _denied(model.reason, told, "model")
    (only,) = told["candidates"]
    return told | {"candidates": [only | {"model": model}]}


def _denied(reason: Reason, told: Body, rule: str) -> Body:
    (only,) = told["candidates"]
    removed = only | {"permitted": False, "place": None, "rule": rule}
    return {"verdict": "denied", "reason": reason.value, "candidates": [removed]}


def connect_plug_in(room: Room, body: Body, sock: socket.socket) -> None:
    """`plug_in` {kind, name} with a channel: a router's or scorer's process has been started."""
    plugins = room.generations.plugins
    known = plugins.routers if body["kind"] == "router" else plugins.scorers
    found: object = known.get(body["name"])
    if not isinstance(found, LinePlugIn):
        sock.close()
        raise PeerRefused("not_found", f"no {body['kind']} {body['name']!r} is enabled")
    found.connect(sock)


ROUTING: Final[dict[str, Callable[[Room, Body], Body]]] = {
    "explain_route": explain_route,
    "judge_router": judge_router_of,
}
