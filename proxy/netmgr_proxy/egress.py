"""Owns: one HTTP request to an endpoint that the policy names: judged, sent, its answer relayed.

Every request is judged, whatever came before it on the connection; nothing of it reaches the origin
before that, and what is sent is written anew from what was judged. Knows nothing of inference.
"""

from typing import Any, Final

from netmgr.policy.decision import Decision, Request, Target
from netmgr.policy.path import MalformedTarget, canonical_path
from netmgr.reasons import Kind, Reason
from netmgr_proxy.account import Account
from netmgr_proxy.authority import canonical_authority, check_authority
from netmgr_proxy.client import ClientConnection, DeadlinePassed
from netmgr_proxy.exchange import CutShort, Exchange, slow_body
from netmgr_proxy.room import Room
from netmgr_proxy.upstreams import Origin
from netmgr_proxy.wire.face import Refusal, Refused, refusal_of
from netmgr_proxy.wire.request import Body, End, Head
from netmgr_proxy.wire.response import (
    Framing,
    ResponseHead,
    ResponseReader,
    render_relayed_head,
)

# Sent again on a new connection when a pooled one turns out to be dead (RFC 9110 §9.2.2).
_REPEATABLE: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
_STALE_TRIES: Final = 3  # the dialer may hear of a policy change a moment before or after us


class EgressExchange(Exchange):
    """One request on a terminated connection.

    Args:
        scheme: `https` where the client's TLS was ended here; the origin is asked likewise.
    """

    def __init__(
        self,
        room: Room,
        client: ClientConnection,
        account: Account,
        head: Head,
        scheme: str,
    ) -> None:
        super().__init__(room, client, account, head)
        self._scheme = scheme
        self._target: Target = account.target
        self._origin = Origin(account.caller.address, account.target, tls=scheme == "https")
        self._request: Request | None = None
        self._decision: Decision | None = None
        self._revision = -1
        self._pending = b""  # the response's head, until there is something to send it with
        self._bare = False  # an HTTP/1.0 client gets chunked bodies without their framing
        self._start_recorded = False

    async def run(self) -> bool:
        self._request = self._read_request()
        self._judge()
        try:
            await self._send()
            while await self._is_to_be_repeated():
                await self._connect(fresh=True)
                self._send_start()
            await self._answer()
        finally:
            self.release(self._origin)
            if self.progress.status is not None:
                self._record()
        return self.keep_client and self.progress.request_sent

    def judge_again(self) -> Refusal | None:
        sandbox = self.room.view.get(self.account.caller.address)
        if sandbox is None or self._request is None:
            return None
        decision = sandbox.policy.judge_request(self._target, self._request)
        return None if decision.permits else refusal_of(decision, sandbox.name)

    def record_start(self) -> None:
        if not self._start_recorded and self._decision is not None:
            self._start_recorded = True
            self.account.permitted(Kind.HTTP, self._decision, http=self.http)

    # -- judging ---------------------------------------------------------------------------

    def _read_request(self) -> Request:
        if self.head.upgrade is not None:
            protocol = self.head.upgrade.decode("latin-1")
            why = (
                f"an upgrade to {protocol} is not possible on an endpoint whose requests are judged"
            )
            raise Refused(Refusal(Reason.UNSUPPORTED_PROTOCOL, why))
        target = check_authority(self.head, self._target, self._scheme)
        try:
            path, query = canonical_path(target)
        except MalformedTarget as fault:
            raise Refused(Refusal(Reason.MALFORMED_REQUEST, f"request target: {fault}")) from None
        return Request(self.head.method, path, query)

    def _judge(self) -> None:
        """Judge, unless that was done under the policy in force."""
        sandbox = self.sandbox()
        if sandbox.revision == self._revision:
            return
        assert self._request is not None
        decision = sandbox.policy.judge_request(self._target, self._request)
        if not decision.permits:
            raise Refused(refusal_of(decision, sandbox.name))
        self._decision = decision
        self._revision = sandbox.revision

    # -- sending ---------------------------------------------------------------------------

    async def _send(self) -> None:
        await self._connect(fresh=False)
        self._send_start()
        if not self.progress.request_sent:
            try:
                await self.send_body(self._frame, self._last())
            except DeadlinePassed:
                limit = self.room.limits.request_body_timeout_s
                raise self._too_late(slow_body(limit)) from None

    async def _connect(self, *, fresh: bool) -> None:
        for attempt in range(_STALE_TRIES):
            try:
                if fresh:
                    self.upstream = await self.connect_anew(self._origin, self._revision)
                else:
                    self.upstream = await self.connect(self._origin, self._revision)
                break
            except Refused as refused:
                if refused.refusal.reason is not Reason.POLICY_STALE or attempt == _STALE_TRIES - 1:
                    raise
            self._judge()
        self._judge()  # again: the policy may have changed while the connection was made

    def _send_start(self) -> None:
        """The head, and as much of the body as is there, in one write."""
        assert self.upstream is not None
        self.upstream.begin(self, bodyless=self.head.method == "HEAD")
        start = [self._render_head()]
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

    def _render_head(self) -> bytes:
        head, request = self.head, self._request
        assert request is not None
        query = f"?{request.query}" if request.query else ""
        authority = canonical_authority(self._target, self._scheme)
        lines = [f"{request.method} {request.path}{query} HTTP/1.1\r\nHost: {authority}".encode()]
        lines += [name + b": " + value for name, value in head.fields]
        if head.length is None:
            lines.append(b"Transfer-Encoding: chunked")
        elif head.length or head.method not in _REPEATABLE:
            lines.append(b"Content-Length: %d" % head.length)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _frame(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self.head.length is None else data

    def _last(self) -> bytes:
        return b"0\r\n\r\n" if self.head.length is None else b""

    async def _is_to_be_repeated(self) -> bool:
        """Whether a pooled connection died under a request that may be sent twice."""
        upstream = self.upstream
        if upstream is None or not upstream.used or self.head.length != 0:
            return False
        while not self.over and not upstream.heard:
            await self._wait()
        if upstream.heard or self.failure is None or self.head.method not in _REPEATABLE:
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
        why = f"{self._target} sent nothing for {late:g} s"
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
        if self._pending:
            self.client.write(self._pending)
            self._pending = b""
            self.progress.answered = True

    def finish(self) -> None:
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
            http=self.http,
        )

    @property
    def http(self) -> dict[str, Any]:
        if self._request is None:
            return super().http
        return {
            "method": self._request.method,
            "path": self._request.path,
            "status": self.progress.status,
        }
