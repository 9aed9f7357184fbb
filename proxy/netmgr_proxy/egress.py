"""Owns: one HTTP request to an endpoint that the policy names: judged, sent, its answer relayed.

Every request is judged, whatever came before it on the connection; nothing of it reaches the origin
before that, and what is sent is written anew from what was judged. Knows nothing of inference.
"""

from typing import Any, Final

from netmgr.policy.decision import Decision
from netmgr.reasons import Kind, Reason
from netmgr_proxy.account import Account
from netmgr_proxy.client import ClientConnection, DeadlinePassed
from netmgr_proxy.exchange import CutShort, Exchange, slow_body
from netmgr_proxy.judged import REPEATABLE, Endpoint, Judged
from netmgr_proxy.rations import Ration
from netmgr_proxy.room import Room
from netmgr_proxy.wire.face import Refusal, Refused, refusal_of
from netmgr_proxy.wire.request import Body, End, Head
from netmgr_proxy.wire.response import (
    Framing,
    ResponseHead,
    ResponseReader,
    render_relayed_head,
)

_STALE_TRIES: Final = 3  # the dialer may hear of a policy change a moment before or after us


class EgressExchange(Exchange):
    """One request on a terminated connection.

    Args:
        endpoint: where its requests go, and what is known from the one before.
    """

    def __init__(
        self,
        room: Room,
        client: ClientConnection,
        account: Account,
        head: Head,
        endpoint: Endpoint,
    ) -> None:
        super().__init__(room, client, account, head)
        self._endpoint = endpoint
        self._judged: Judged | None = None
        self._decision: Decision | None = None
        self._revision = -1
        self._pending = b""  # the response's head, until there is something to send it with
        self._bare = False  # an HTTP/1.0 client gets chunked bodies without their framing
        self._start_recorded = False
        self._ration: Ration | None = None
        self._body = b""  # where it was read whole to be judged

    async def run(self) -> bool:
        self._judged = judged = self._endpoint.read(self.head)
        self._judge(judged)
        return await self._relay(judged)

    async def _relay(self, judged: Judged) -> bool:
        """Send what was judged, and hand the answer on."""
        self._charge_request(self.head.length or 0)
        try:
            await self._send(judged)
            while await self._is_to_be_repeated():
                await self._connect(judged, fresh=True)
                self._send_start(judged)
            await self._answer()
        finally:
            self.release(self._endpoint.origin)
            if self.progress.status is not None:
                self._record()
        return self.keep_client and self.progress.request_sent

    def judge_again(self) -> Refusal | None:
        sandbox = self.room.view.get(self.account.caller.address)
        if sandbox is None or self._judged is None:
            return None
        decision = sandbox.policy.judge_request(
            self._endpoint.target, self._judged.request, self._endpoint.owner
        )
        if not decision.permits:
            return refusal_of(decision, sandbox.scope)
        if self.upstream is None:
            return None
        return self.room.judge_peer(self.account, self.upstream.peer, self._judged.sandbox)

    def record_start(self) -> None:
        if not self._start_recorded and self._decision is not None:
            self._start_recorded = True
            self.account.permitted(Kind.HTTP, self._decision, http=self.http)

    # -- judging ---------------------------------------------------------------------------

    def _judge(self, judged: Judged) -> None:
        """Judge, unless that was done under the policy in force."""
        sandbox = self.sandbox()
        self._decision = judged.judge(sandbox, self._endpoint.target, self._endpoint.owner)
        self._revision = sandbox.revision
        self._ration = self.room.rations.of(sandbox, self._decision)

    # -- sending ---------------------------------------------------------------------------

    async def _send(self, judged: Judged) -> None:
        await self._connect(judged, fresh=False)
        self._send_start(judged)
        if not self.progress.request_sent:
            try:
                await self.send_body(self._frame, self._last())
            except DeadlinePassed:
                limit = self.room.limits.request_body_timeout_s
                raise self._too_late(slow_body(limit)) from None

    async def _connect(self, judged: Judged, *, fresh: bool) -> None:
        origin = self._endpoint.origin
        for attempt in range(_STALE_TRIES):
            try:
                if fresh:
                    self.upstream = await self.connect_anew(origin, self._revision)
                else:
                    self.upstream = await self.connect(origin, self._revision)
                break
            except Refused as refused:
                if refused.refusal.reason is not Reason.POLICY_STALE or attempt == _STALE_TRIES - 1:
                    raise
            self._judge(judged)
        self._judge(judged)  # again: the policy may have changed while the connection was made

    def _send_start(self, judged: Judged) -> None:
        """The head, and as much of the body as is there, in one write."""
        assert self.upstream is not None
        upgrade = self.head.upgrade is not None
        self.upstream.begin(self, bodyless=self.head.method == "HEAD", upgrade=upgrade)
        # Of a body whose end is still to come and whose length nobody knows, a first piece.
        body = self._frame(self._body) if self._body and self.head.length is None else self._body
        start = [judged.render(self.head), body]
        self._charge(len(start[0]) + len(self._body))
        self.progress.bytes_out += len(self._body)
        while not self.progress.request_sent:
            event = self.client.next_event_nowait()
            if isinstance(event, Body):
                self.progress.bytes_out += len(event.data)
                start.append(self._frame(event.data))
            elif isinstance(event, End):
                start.append(self._last())
                self.progress.request_sent = True
            else:
                break
        self.client.within(self.room.limits.response_head_timeout_s)
        self.write_upstream(b"".join(start))

    def _frame(self, data: bytes) -> bytes:
        if self._ration is not None:
            self._charge_request(self.progress.bytes_out)
            self._charge(len(data))
        return b"%x\r\n%b\r\n" % (len(data), data) if self.head.length is None else data

    def _last(self) -> bytes:
        return b"0\r\n\r\n" if self.head.length is None else b""

    # -- limits ----------------------------------------------------------------------------

    def _charge(self, moved: int) -> None:
        """Count bytes that are about to go up."""
        if self._ration is not None and not self._ration.take(moved):
            raise self._too_late(self._ration.hour_is_over())

    def _charge_request(self, size: int) -> None:
        """Refuse a body that is larger than it may be."""
        if self._ration is not None and size and self._ration.left_of_request(size - 1) == 0:
            raise self._too_late(self._ration.request_is_too_large())

    def _may_come_down(self, moved: int) -> bool:
        """Count bytes that are about to go to the client; a no ends the exchange."""
        if self._ration is None or self._ration.take(moved):
            return True
        self.keep_client = False
        self.fail(self._ration.hour_is_over())
        return False

    async def _is_to_be_repeated(self) -> bool:
        """Whether a pooled connection died under a request that may be sent twice."""
        upstream = self.upstream
        if upstream is None or not upstream.used or self.head.length != 0:
            return False
        while not self.over and not upstream.heard:
            await self._wait()
        if upstream.heard or self.failure is None or self.head.method not in REPEATABLE:
            return False
        self.failure = None
        self.over = False
        return True

    # -- the answer ------------------------------------------------------------------------

    async def _answer(self) -> None:
        self.client.within(self.room.limits.response_head_timeout_s)
        try:
            await self.until_over()
        except DeadlinePassed:
            raise self._late_answer() from None

    async def _wait(self) -> None:
        try:
            await self.client.wait()
        except DeadlinePassed:
            raise self._late_answer() from None

    def _late_answer(self) -> Refused | CutShort:
        limits = self.room.limits
        begun = self.progress.answered
        late = limits.flow_idle_timeout_s if begun else limits.response_head_timeout_s
        why = f"{self._endpoint.target} sent nothing for {late:g} s"
        return self._too_late(Refusal(Reason.UPSTREAM_TIMEOUT, why))

    def _too_late(self, refusal: Refusal) -> Refused | CutShort:
        self.failure = refusal
        return CutShort(refusal) if self.progress.answered else Refused(refusal)

    def take_head(self, head: ResponseHead) -> None:
        if head.interim:
            if not self.head.http10:
                self.client.write(render_relayed_head(head, close=False))
            return
        self.progress.status = head.status
        self.keep_upstream = head.keep_alive
        self._bare = self.head.http10 and head.framing is Framing.CHUNKED
        if head.framing is Framing.CLOSE or not self.progress.request_sent:
            self.keep_client = False
        self._pending = render_relayed_head(head, close=not self.keep_client, dechunk=self._bare)

    def take_body(self, data: bytes, reader: ResponseReader) -> None:
        if self.over or not self._may_come_down(len(data) + len(self._pending)):
            return
        if self._bare:
            data = reader.bare()
        self.progress.bytes_in += len(data)
        if self._pending:
            data, self._pending = self._pending + data, b""
            self.progress.answered = True
        self.client.write(data)
        self.client.within(self.room.limits.flow_idle_timeout_s)
        if self.client.blocked:
            self.hold_back()

    def flush(self) -> None:
        if self._pending and not self.over and self._may_come_down(len(self._pending)):
            self.client.write(self._pending)
            self._pending = b""
            self.progress.answered = True

    def finish(self) -> None:
        if not self.over:
            self.flush()
            super().finish()

    # -- the record ------------------------------------------------------------------------

    def _record(self) -> None:
        if self.failure is not None or self._decision is None:
            return  # the flow records what failed
        self.account.permitted(
            Kind.HTTP,
            self._decision,
            self.progress.measures(self.room.now()),
            single=self._start_recorded,
            **self.parts,
        )

    @property
    def http(self) -> dict[str, Any]:
        if self._judged is None:
            return super().http
        request = self._judged.request
        return {
            "method": request.method,
            "path": request.path,
            "status": self.progress.status,
        }
