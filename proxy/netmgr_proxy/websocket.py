"""Owns: one WebSocket connection to an endpoint that the policy names: its handshake, and then the
client's messages, judged one by one.

What the client sends is sent on as it came, frame by frame; where the policy judges GraphQL
operations, message by message. What the server sends is relayed untouched. A message that is not
allowed ends the connection with a close frame between two frames of the server.
Source: RFC 6455.
"""

from typing import Any, Final

from netmgr.policy.decision import Decision, Inspection, Request
from netmgr.policy.http_rules import WEBSOCKET_TEXT
from netmgr.process.view import SandboxView
from netmgr.reasons import Kind, Reason, Verdict
from netmgr_proxy.account import Account
from netmgr_proxy.bodies.graphql import read_message
from netmgr_proxy.bodies.strict_json import BadBody
from netmgr_proxy.client import ClientConnection, ClientGone, DeadlinePassed
from netmgr_proxy.egress import EgressExchange
from netmgr_proxy.exchange import CutShort
from netmgr_proxy.judged import Endpoint, Judged
from netmgr_proxy.room import Room
from netmgr_proxy.wire.face import Refusal, refusal_of
from netmgr_proxy.wire.frames import (
    BadFrame,
    Begin,
    CloseCode,
    Control,
    Event,
    FrameReader,
    Meter,
    Piece,
    render_close,
)
from netmgr_proxy.wire.handshake import check_answer, check_offer, render_answer
from netmgr_proxy.wire.request import Head
from netmgr_proxy.wire.response import ResponseHead, ResponseReader

CLOSING_S: Final = 10.0  # for the server's part of a closing handshake (RFC 6455 §7.1.1)


class Message:
    """A client's message that is held until it is judged.

    Attributes:
        raw: its frames as they came.
        text: what it says.
        is_text: it is no binary one.
    """

    def __init__(self, is_text: bool) -> None:
        self.raw: list[bytes] = []
        self.text = bytearray()
        self.is_text = is_text


class WebSocketExchange(EgressExchange):
    """One handshake and all that follows it on the connection."""

    def __init__(
        self,
        room: Room,
        client: ClientConnection,
        account: Account,
        head: Head,
        endpoint: Endpoint,
    ) -> None:
        super().__init__(room, client, account, head, endpoint)
        self._switched = False
        self._frames = FrameReader()
        self._meter = Meter()
        self._ending: tuple[CloseCode, Refusal] | None = None
        self._message: Message | None = None
        self._held = 0  # bytes that `room.holdings` knows of
        self._judged_by: SandboxView | None = None  # what follows was decided under this view
        self._inspection: Inspection | None = None
        self._on_messages: Decision | None = None

    async def run(self) -> bool:
        self._judged = judged = self._endpoint.read(self.head)
        self._judge(judged)
        check_offer(self.head)
        self._judged = judged = await self._look_at_handshake(judged)
        try:
            await self._connect(judged, fresh=True)
            self._send_start(judged)
            while not self.over and not self._switched:
                await self._wait()
            await (self._converse() if self._switched else self._answer())
        finally:
            self._let_go()
            self.release(self._endpoint.origin)
            if self.progress.status is not None:
                self._record()
        return self.keep_client and self.progress.request_sent and not self._switched

    def judge_again(self) -> Refusal | None:
        refusal = super().judge_again()
        if refusal is None or not self._switched:
            return refusal
        self._end(CloseCode.RESTART, refusal)
        return None

    async def _look_at_handshake(self, judged: Judged) -> Judged:
        """The handshake as it is to be sent: here as it was judged."""
        return judged

    # -- the handshake ---------------------------------------------------------------------

    def take_head(self, head: ResponseHead) -> None:
        if not head.switches:
            super().take_head(head)
            return
        check_answer(self.head, head)
        self._switched = True
        self.keep_upstream = False
        self.progress.status = head.status
        self.progress.answered = True
        self.client.write(render_answer(head))
        self.client.wake()

    # -- after it --------------------------------------------------------------------------

    async def _converse(self) -> None:
        """Until one side ends it, or we do.

        Raises:
            CutShort: the server broke off.
            ClientGone: the client did.
        """
        self._rest()
        self._from_client(self.client.take_over(self._from_client))
        try:
            while not self.over and self._ending is None:
                await self.client.wait()
        except DeadlinePassed:
            if self._frames.closed:
                return
            self._end(CloseCode.AWAY, self._idle())
        if self._ending is not None:
            await self._say_good_bye(*self._ending)
        elif self.failure is not None:
            raise CutShort(self.failure)

    def _idle(self) -> Refusal:
        limits = self.room.limits
        late = limits.request_body_timeout_s if self._message else limits.flow_idle_timeout_s
        return Refusal(Reason.UPSTREAM_TIMEOUT, f"nothing moved for {late:g} s")

    def _rest(self) -> None:
        """Something has moved: how long nothing may move from now on."""
        if self._ending is not None:
            return
        limits = self.room.limits
        if self._frames.closed:
            self.client.within(CLOSING_S)
        elif self._message is not None:
            self.client.within(limits.request_body_timeout_s)
        else:
            self.client.within(limits.flow_idle_timeout_s)

    async def _say_good_bye(self, code: CloseCode, refusal: Refusal) -> None:
        """A close frame between two frames of the server, and time to read it."""
        self.failure = refusal
        measures = self.progress.measures(self.room.now())
        self.account.refused(Kind.HTTP, refusal, measures, http=self.http)
        self.client.within(self.room.limits.drain_s)
        try:
            while not self._meter.between_frames and not self.over:
                await self.client.wait()
            if self.upstream is not None:
                self.upstream.abort()
            if self._meter.between_frames:
                self.client.write(render_close(code, refusal.message))
            while True:
                await self.client.wait()
        except (ClientGone, DeadlinePassed):
            return

    def _end(self, code: CloseCode, refusal: Refusal) -> None:
        """Nothing of the client is taken from now on. The first reason counts."""
        if self._ending is None:
            self._ending = code, refusal
            self._let_go()
            self.client.resume()  # so that its close is seen
            self.client.wake()

    def _has_ended(self) -> bool:
        return self._ending is not None or self.over

    # -- from the client -------------------------------------------------------------------

    def _from_client(self, data: bytes) -> None:
        if self._has_ended():
            return
        try:
            for event in self._frames.feed(data):
                self._take(event)
                if self._has_ended():
                    return
        except BadFrame as fault:
            big = fault.code is CloseCode.TOO_BIG
            reason = Reason.LIMIT_EXCEEDED if big else Reason.MALFORMED_REQUEST
            self._end(fault.code, Refusal(reason, str(fault)))
            return
        self._rest()
        if self.upstream_blocked():
            self.client.pause()

    def upstream_writable(self) -> None:
        self.client.resume()
        super().upstream_writable()

    def _take(self, event: Event) -> None:
        match event:
            case Control(raw=raw):
                self._forward(raw)
            case Begin(text=text):
                self._begin(text)
            case Piece() if self._message is not None:
                self._hold(self._message, event)
            case Piece(raw=raw):
                self._forward(raw)

    def _begin(self, text: bool) -> None:
        """A message begins: whether it may, and whether it is to be read first."""
        if not self._look_at_policy():
            return
        inspection, decision = self._inspection, self._on_messages
        if inspection is None:
            assert decision is not None
            if self._heed(decision) and (size := self._holds()):
                self._begin_to_hold(text, size)
        elif not text:
            why = "a binary message where the policy judges GraphQL operations"
            self._end(CloseCode.POLICY, Refusal(Reason.OPERATION_NOT_ALLOWED, why))
        else:
            self._begin_to_hold(text, inspection.max_body)

    def _holds(self) -> int:
        """How many bytes of a message are held although the policy does not look inside; 0: it is
        sent on piece by piece."""
        return 0

    def _begin_to_hold(self, text: bool, size: int) -> None:
        if self.room.holdings.take(self.account.caller.address, size):
            self._held = size
            self._message = Message(text)
        else:
            why = "too many messages wait to be judged at once; try again"
            self._end(CloseCode.TRY_LATER, Refusal(Reason.LIMIT_EXCEEDED, why))

    def _look_at_policy(self) -> bool:
        """Bring to hand what the policy in force says of messages; False where it is all over."""
        sandbox = self.room.view.get(self.account.caller.address)
        if sandbox is None:
            self._end(CloseCode.POLICY, Refusal(Reason.UNKNOWN_CALLER, "the sandbox is gone"))
            return False
        timed = sandbox.policy.timed is not None  # then the next moment may decide otherwise
        if sandbox is not self._judged_by or timed:
            self._judged_by = sandbox
            request = self._message_request()
            endpoint, policy = self._endpoint, sandbox.policy
            self._inspection = policy.inspection(endpoint.target, request, endpoint.owner)
            self._on_messages = policy.judge_request(endpoint.target, request, endpoint.owner)
            self.account.moved_to(sandbox)
            if self._decision is not None:
                self._ration = self.room.rations.of(sandbox, self._decision)
        return True

    def _message_request(self) -> Request:
        assert self._judged is not None
        request = self._judged.request
        return Request(WEBSOCKET_TEXT, request.path, request.query, websocket=True)

    def _hold(self, message: Message, piece: Piece) -> None:
        """Keep a piece; judge the message once it is whole."""
        message.raw.append(piece.raw)
        message.text += piece.payload
        if len(message.text) > self._held:
            why = f"a message larger than {self._held} bytes"
            self._end(CloseCode.TOO_BIG, Refusal(Reason.LIMIT_EXCEEDED, why))
        elif piece.last:
            self._let_go()
            self._judge_message(message)

    def _judge_message(self, message: Message) -> None:
        if self._is_allowed(message):
            self._pass_on(message)

    def _is_allowed(self, message: Message) -> bool:
        """Whether the policy lets a whole message go on; the connection ends where it does not."""
        if not self._look_at_policy() or self._judged_by is None:
            return False
        request = self._message_request()
        if self._inspection is not None:
            try:
                calls = read_message(bytes(message.text))
            except BadBody as fault:
                self._end(CloseCode.POLICY, Refusal(fault.reason, str(fault)))
                return False
            request = Request(request.method, request.path, request.query, True, calls)
        endpoint = self._endpoint
        policy = self._judged_by.policy
        return self._heed(policy.judge_request(endpoint.target, request, endpoint.owner))

    def _pass_on(self, message: Message) -> None:
        """Send a whole message that the policy lets through."""
        self._forward(b"".join(message.raw))

    def _heed(self, decision: Decision) -> bool:
        """Whether the message goes on; the connection ends where it does not."""
        if decision.verdict is Verdict.AUDITED:
            self.account.permitted(Kind.HTTP, decision, http=self._message_http)
        if not decision.permits:
            refusal = refusal_of(decision, self.account.scope)
            self._end(CloseCode.POLICY, refusal)
        return decision.permits

    @property
    def _message_http(self) -> dict[str, Any]:
        return self.http | {"method": WEBSOCKET_TEXT}

    def _forward(self, raw: bytes) -> None:
        if self._may_move(len(raw)):
            self.progress.bytes_out += len(raw)
            self.write_upstream(raw)

    def _may_move(self, size: int) -> bool:
        """Count bytes against the entry's limits; the connection ends where they are used up."""
        if self._ration is None or self._ration.take(size):
            return True
        self._end(CloseCode.TRY_LATER, self._ration.hour_is_over())
        return False

    def _let_go(self) -> None:
        self._message = None
        if self._held:
            self.room.holdings.give_back(self.account.caller.address, self._held)
            self._held = 0

    # -- from the server -------------------------------------------------------------------

    def take_body(self, data: bytes, reader: ResponseReader) -> None:
        if not self._switched:
            super().take_body(data, reader)
            return
        if self._ending is not None:
            if self._meter.between_frames:
                return
            end = self._meter.pass_by(data)
            data = data[:end]
            if end is not None:
                self._meter = Meter()
        else:
            self._meter.pass_by(data)
            self._may_move(len(data))  # where not, this piece is the last that goes on whole
        self.progress.bytes_in += len(data)
        self.client.write(data)
        self._rest()
        self.client.wake()
        if self.client.blocked:
            self.hold_back()
