"""Owns: the daemon's questions about routing, answered where routing is decided.

The generation, the health and the plug-ins are those that calls are decided with. Foreign code runs
in this process and in none that is root.
"""

import socket
from collections.abc import Callable
from typing import Final

from netmgr.errors import NetmgrError
from netmgr.process.ipc import Body, PeerRefused
from netmgr.routing.explain import explain
from netmgr.routing.plugins import judge_router
from netmgr.routing.schema import routing_from_doc
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
        PeerRefused: there is no routing file, or what is asked cannot be meant.
    """
    generation = room.generations.live
    if generation is None:
        raise PeerRefused("not_found", "no routing file is in force")
    try:
        return explain(generation, body, room.availability.board(room.now()))
    except NetmgrError as fault:
        raise PeerRefused(fault.code, fault.message) from fault


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
