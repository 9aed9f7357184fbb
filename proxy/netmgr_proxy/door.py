"""Owns: what becomes of one accepted connection: who is it, may it, which flow serves it."""

import socket

from netmgr.reasons import Kind, Reason
from netmgr_proxy.flows import Flow
from netmgr_proxy.gate import Deny, Identify, Splice
from netmgr_proxy.peer import Caller
from netmgr_proxy.room import Room
from netmgr_proxy.session import HttpFlow
from netmgr_proxy.sockets import reset
from netmgr_proxy.splice import SpliceFlow
from netmgr_proxy.wire.face import Refusal


async def serve(room: Room, sock: socket.socket, caller: Caller) -> None:
    """Serve one connection to its end. Owns the socket."""
    gate = room.judge_new(caller)
    decide = isinstance(gate, Identify)
    account = room.account(caller, room.view.get(caller.address), gate.target, decide=decide)
    if isinstance(gate, Identify):
        gate = room.judge_identified(caller, await account.identified())
        sandbox = room.view.get(caller.address)  # the policy may have changed meanwhile
        if sandbox is not None:
            account.moved_to(sandbox)
    if isinstance(gate, Deny):
        account.refused(Kind.CONNECTION, gate.refusal)
        reset(sock)
        return
    if not room.flows.has_room(caller.address):
        why = "the sandbox has as many connections open as it may have"
        account.refused(Kind.CONNECTION, Refusal(Reason.LIMIT_EXCEEDED, why))
        reset(sock)
        return
    flow: Flow
    if isinstance(gate, Splice):
        flow = SpliceFlow(room, sock, account, gate)
    else:
        flow = HttpFlow(room, sock, account, gate)
    room.flows.add(flow)
    try:
        await flow.run()
    finally:
        room.flows.remove(flow)
