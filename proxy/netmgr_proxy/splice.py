"""Owns: the life of a spliced connection: dial, relay, check the first bytes, relay on, record.

The server's bytes flow at once, so protocols in which the server speaks first do not stall; the
client's first bytes stay in its socket until they have been judged. No byte is ever copied here.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Final

from netmgr.policy.decision import Decision
from netmgr.process.view import SandboxView
from netmgr.reasons import Kind, Reason
from netmgr_proxy.account import Account
from netmgr_proxy.dial import Dialled
from netmgr_proxy.first_bytes import Objection, judge_first
from netmgr_proxy.gate import Deny, Splice
from netmgr_proxy.peer import Caller
from netmgr_proxy.rations import Ration
from netmgr_proxy.recorder import Measures
from netmgr_proxy.relay import Relay
from netmgr_proxy.room import Room
from netmgr_proxy.sockets import farewell, peek_first, reset
from netmgr_proxy.wire.classify import First, Http
from netmgr_proxy.wire.face import Refusal, Refused, render_response

# A client that speaks first has done so within a round trip on its own host: after a failed dial
# this is how long we look whether it speaks HTTP and can be told why.
_FACE_WAIT_S: Final = 0.2
LONG_FLOW_S: Final = 1.0  # a flow older than this is recorded at its start, too


class SpliceFlow:
    """One spliced connection. `run` owns the client's socket."""

    def __init__(self, room: Room, sock: socket.socket, account: Account, gate: Splice) -> None:
        self._room = room
        self._sock = sock
        self._account = account
        self._target = gate.target
        self._decision: Decision = gate.decision
        self._relay: Relay | None = None
        self._peer: str | None = None
        self._dialled_by: SandboxView | None = None  # its policy said at which addresses
        self._task: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[OSError | None] | None = None
        self._began = room.now()
        self._start_recorded = False
        self._cause: Refusal | None = None

    @property
    def caller(self) -> Caller:
        return self._account.caller

    async def run(self) -> None:
        """From the accepted socket to the end of the flow."""
        self._task = asyncio.current_task()
        try:
            dialled = await self._dial()
            if dialled is not None:
                await self._relay_all(dialled)
        except asyncio.CancelledError:
            if self._cause is None:
                raise
        finally:
            self._clean_up()

    # -- for the list of flows -------------------------------------------------------------

    def tick(self, now: float) -> None:
        if self._relay is None or self._relay.over:
            return
        if not self._start_recorded and now - self._began >= LONG_FLOW_S:
            self._start_recorded = True
            self._account.permitted(Kind.CONNECTION, self._decision)
        if now - self._relay.moved_at >= self._room.limits.flow_idle_timeout_s:
            limit = self._room.limits.flow_idle_timeout_s
            self._cut(Refusal(Reason.LIMIT_EXCEEDED, f"nothing moved for {limit:g} s"))

    def judge_again(self) -> None:
        refusal = self._judge()
        if refusal is not None:
            self._cut(refusal)

    def end(self, *, at_once: bool) -> None:
        if at_once:
            self._cut(Refusal(Reason.UNKNOWN_CALLER, "the sandbox is gone"))

    # -- the steps -------------------------------------------------------------------------

    def _judge(self) -> Refusal | None:
        """Why the flow may not go on; None where it may."""
        match self._room.judge_live(self._account):
            case Deny(_, refusal):
                return refusal
            case Splice(_, decision):
                self._decision = decision
                if self._relay is not None:
                    self._relay.ration = self._ration()
                return self._room.judge_peer(self._account, self._peer, self._dialled_by)
        why = f"the policy now looks inside connections to {self._target}; connect again"
        return Refusal(Reason.POLICY_STALE, why)

    def _ration(self) -> Ration | None:
        sandbox = self._room.view.get(self.caller.address)
        return self._room.rations.of(sandbox, self._decision) if sandbox else None

    async def _dial(self) -> Dialled | None:
        sandbox = self._dialled_by = self._room.view.get(self.caller.address)
        revision = sandbox.revision if sandbox else 0
        try:
            dialled = await self._room.dialer.dial(
                self.caller.address, self._target, revision, owner=self._account.owner
            )
        except Refused as refused:
            self._account.refused(Kind.CONNECTION, refused.refusal)
            await self._explain(refused.refusal)
            return None
        self._peer = dialled.peer
        return dialled

    async def _explain(self, refusal: Refusal) -> None:
        """Tell an HTTP client why; reset any other."""
        first: First | None = None
        with suppress(TimeoutError, OSError):  # it waits for the server, or is gone
            first = await peek_first(self._sock, first_s=_FACE_WAIT_S, whole_s=_FACE_WAIT_S)
        if isinstance(first, Http):
            await self._refuse(Objection(refusal, bodyless=first.head.startswith(b"HEAD ")))

    async def _relay_all(self, dialled: Dialled) -> None:
        self._ended = asyncio.get_running_loop().create_future()
        self._relay = Relay(
            self._sock,
            dialled.sock,
            self._room.pipes,
            self._relay_ended,
            self._cut,
            self._ration(),
        )
        objection = await self._check_first_bytes()
        refusal = self._judge() if objection is None else None  # again: the last moment to say no
        if objection is not None:
            await self._object(objection)
        elif refusal is not None:
            self._cut(refusal)
        else:
            self._relay.open_client()
            fault = await self._ended
            self._record_end(fault)

    async def _check_first_bytes(self) -> Objection | None:
        hello_s = self._room.limits.hello_timeout_s
        try:
            first = await peek_first(self._sock, first_s=None, whole_s=hello_s)
        except TimeoutError:
            why = f"a TLS or HTTP head was not complete within {hello_s:g} s"
            return Objection(Refusal(Reason.MALFORMED_REQUEST, why, status=408))
        except OSError:
            return None  # the relay meets the same fault and ends the flow
        return judge_first(first, self._target, self._room.limits)

    async def _object(self, objection: Objection) -> None:
        assert self._relay is not None
        self._account.refused(Kind.CONNECTION, objection.refusal)
        server_spoke = self._relay.bytes_to_client > 0
        if self._relay.over:
            return
        self._sock = self._relay.release_client()
        if not server_spoke:  # our words in the middle of the server's would be noise
            await self._refuse(objection)

    async def _refuse(self, objection: Objection) -> None:
        answer = objection.tls_alert
        if answer is None:
            answer = render_response(
                objection.refusal,
                self._room.next_request_id(),
                bodyless=objection.bodyless,
                close=True,
                hint=self._account.hint,
            )
        await farewell(self._sock, answer, self._room.limits.drain_s)

    # -- the end ---------------------------------------------------------------------------

    def _relay_ended(self, fault: OSError | None) -> None:
        assert self._ended is not None
        if not self._ended.done():
            self._ended.set_result(fault)
        if self._task is not None and self._relay is not None and not self._relay.client_open:
            self._cause = Refusal(Reason.UPSTREAM_UNREACHABLE, "the server broke the connection")
            self._record_end(fault)
            self._task.cancel()

    def _cut(self, refusal: Refusal) -> None:
        if self._cause is not None:
            return
        self._cause = refusal
        self._account.refused(Kind.CONNECTION, refusal, self._measures())
        if self._relay is not None:
            self._relay.cut()
        if self._task is not None:
            self._task.cancel()

    def _record_end(self, fault: OSError | None) -> None:
        self._start_recorded = True
        self._account.permitted(Kind.CONNECTION, self._decision, self._measures(), single=True)

    def _measures(self) -> Measures:
        moved_in = self._relay.bytes_to_client if self._relay else 0
        moved_out = self._relay.bytes_to_server if self._relay else 0
        took = round((self._room.now() - self._began) * 1000)
        return Measures(bytes_in=moved_in, bytes_out=moved_out, duration_ms=took)

    def _clean_up(self) -> None:
        if self._relay is not None:
            self._relay.cut()
        if self._sock.fileno() >= 0:
            reset(self._sock)
