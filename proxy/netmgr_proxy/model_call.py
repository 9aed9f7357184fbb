"""Owns: one request to inference.local: admitted, its model set, sent with the operator's key,
its answer relayed chunk by chunk, counted, and ended in the protocol's own words when it breaks.

All rules are in netmgr_proxy.inference; here is only the I/O and the order of it.
"""

import time
from typing import Any, Final

from netmgr.inference.protocols import Shape
from netmgr.inference.route import InferenceRoute
from netmgr.reasons import Kind, Reason
from netmgr_proxy.account import ALLOWED, Account
from netmgr_proxy.admission import Admission, Admissions, ModelRefused
from netmgr_proxy.call_clock import CallClock
from netmgr_proxy.client import ClientConnection, DeadlinePassed
from netmgr_proxy.exchange import CutShort, Exchange
from netmgr_proxy.inference import errors
from netmgr_proxy.inference.admit import Admitted, expired
from netmgr_proxy.inference.answer import AnswerHead, judge_answer
from netmgr_proxy.inference.answer_here import answer_here, model_lines
from netmgr_proxy.inference.broken_stream import render_stream_error
from netmgr_proxy.inference.coding import plain_body
from netmgr_proxy.inference.echo import EchoGuard
from netmgr_proxy.inference.errors import outward_message
from netmgr_proxy.inference.frame_usage import FrameMeter
from netmgr_proxy.inference.object_ids import ObjectIds
from netmgr_proxy.inference.outgoing import NotPermitted, outgoing_body
from netmgr_proxy.inference.patterns import shape_of_path
from netmgr_proxy.inference.rewrite import MalformedBody, PinnedBody
from netmgr_proxy.inference.sse import SseTracker
from netmgr_proxy.inference.usage import UsageMeter
from netmgr_proxy.metering import Permit
from netmgr_proxy.objects import check_own, named_objects, tell_own
from netmgr_proxy.recorder import Measures
from netmgr_proxy.room import Room
from netmgr_proxy.routes import LiveRoute
from netmgr_proxy.upstreams import Origin
from netmgr_proxy.wire.face import Refusal, Refused, render_status_line
from netmgr_proxy.wire.request import Head
from netmgr_proxy.wire.response import Framing, ResponseHead, ResponseReader

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
HEARTBEAT: Final = b": the model is still at work\n\n"
_AUTH_FAILURES: Final = (401, 403)
_OK: Final = 200
_REFUSED_FROM: Final = 400  # a provider charges nothing for what it refuses


class ModelCall(Exchange):
    """One model call.

    Args:
        admissions: what is known from the connection's call before.
    """

    def __init__(
        self,
        room: Room,
        client: ClientConnection,
        account: Account,
        head: Head,
        admissions: Admissions,
        scheme: str = "https",
    ) -> None:
        super().__init__(room, client, account, head)
        self.shape = Shape.OPENAI
        self._admissions = admissions
        self._scheme = scheme
        self._admitted: Admitted | None = None
        self._live: LiveRoute | None = None
        self._pinned: PinnedBody | None = None
        self._clock: CallClock | None = None
        self._answer: AnswerHead | None = None
        self._refused: errors.Refusal | None = None
        self._chunked = False
        self._pending = b""
        self._meter = UsageMeter()
        self._tracker = SseTracker(Shape.OPENAI)
        self._attempts = 0
        self._permit: Permit | None = None
        self._ids: ObjectIds | None = None
        self._guard = EchoGuard((), error=False)
        self._head_at = 0.0
        self._sent_at = 0.0  # the last chunk of a stream

    async def run(self) -> bool:
        coding = self._admit().coding
        body = await self._read_body(coding)
        admission = self._admit()  # again: a body may take its time, the route change meanwhile
        self._pin(body, admission)
        if admission.admitted.answered_here:
            self._answer_here(admission.admitted)
            return self.keep_client
        self._tracker = SseTracker(self.shape)
        await self._check_objects(admission.admitted)
        await self._reserve(admission.admitted)
        try:
            request = admission.render(self._pinned, time.time())
            await self._call(admission.live, admission.origin, request)
        except DeadlinePassed:
            raise self._late() from None
        finally:
            self._settle()
            self.release(admission.origin)
            if self.progress.status is not None and self.failure is None:
                self._record()
        return self.keep_client

    def judge_again(self) -> Refusal | None:
        """A change of route leaves calls under way alone; a revocation does not."""
        revoked = self.room.routes.revoked
        if revoked is None or self._live is None or not revoked.covers(self._live):
            return None
        return Refusal(Reason.NOT_CONFIGURED, "the operator revoked the route of this call")

    # -- admission -------------------------------------------------------------------------

    def _admit(self) -> Admission:
        """Judge head and route.

        Raises:
            Refused, ModelRefused: it goes no further.
        """
        path = self.head.target.partition(b"?")[0].decode("latin-1")
        self.shape = shape_of_path(path)
        sandbox = self.sandbox()
        admission = self._admissions.admit(self.head, self.room.routes.get(sandbox), self._scheme)
        self._live = admission.live
        self._admitted = admission.admitted
        self.shape = admission.admitted.shape
        if (ends := admission.live.route.expires_at) is not None and ends <= time.time():
            raise ModelRefused(expired(self.shape))
        return admission

    async def _read_body(self, coding: bytes) -> bytes:
        most = self.room.limits.inference_body_bytes
        if self.head.expects_continue and (self.head.length or 0) <= most:
            self.client.write(_CONTINUE)
        body = await self.read_whole_body(most)
        plain = plain_body(body, coding, most, self.shape) if coding else body
        if isinstance(plain, errors.Refusal):
            raise ModelRefused(plain)
        return plain

    def _pin(self, body: bytes, admission: Admission) -> None:
        if not admission.admitted.pattern.has_body:
            return  # what came all the same is not sent on
        try:
            self._pinned = outgoing_body(admission.admitted, body)
        except MalformedBody as fault:
            raise ModelRefused(fault.refusal(self.shape)) from None
        except NotPermitted as no:
            self._pinned = no.pinned
            raise ModelRefused(no.refusal) from None
        self.progress.bytes_out = len(body)

    async def _check_objects(self, admitted: Admitted) -> None:
        references = self._pinned.references if self._pinned else ()
        if ids := named_objects(admitted, references):
            await check_own(self.room.daemon, self.sandbox().address, admitted, ids)

    def _answer_here(self, admitted: Admitted) -> None:
        """Answer what no provider is asked for."""
        made = answer_here(admitted, self._pinned)
        lines = [render_status_line(made.status)]
        lines += [name + b": " + value for name, value in made.headers]
        lines.append(b"content-length: %d" % len(made.body))
        if not self.keep_client:
            lines.append(b"connection: close")
        self.progress.status = made.status
        self.progress.bytes_in = len(made.body)
        self._send(b"\r\n".join(lines) + b"\r\n\r\n" + made.body)
        self._record()

    # -- the limits --------------------------------------------------------------------------

    async def _reserve(self, admitted: Admitted) -> None:
        sandbox = self.sandbox()
        if self.room.metered.covers(sandbox):
            model = self._pinned.model if self._pinned else admitted.route.model
            self._permit = await self.room.metered.reserve(
                self.room.daemon, sandbox, admitted, model
            )

    def _settle(self) -> None:
        """Told before the record, which may wait for the process: the next call asks at once."""
        permit, self._permit = self._permit, None
        if permit is not None:
            progress = self.progress
            well = progress.status is not None and progress.status < _REFUSED_FROM
            received = progress.bytes_in if well else 0
            permit.settle(self._meter, sent=progress.bytes_out, received=received)

    # -- the call --------------------------------------------------------------------------

    async def _call(self, live: LiveRoute, origin: Origin, request: bytes) -> None:
        self._clock = clock = CallClock(live.route, self.room.now())
        revision = self.sandbox().revision
        fresh = False
        while True:
            self._attempts += 1
            self.client.deadline = clock.connecting(self.room.now())
            connect = self.connect_anew if fresh else self.connect
            self.upstream = upstream = await connect(origin, revision, live.context)
            self._check_still_in_force(live)
            upstream.begin(self, bodyless=self.head.method == "HEAD")
            upstream.write(request)
            self.client.deadline = clock.sent(self.room.now())
            while not self.over:
                await self.client.wait()
            # A pooled connection that the provider had closed meanwhile: nothing was answered,
            # and a model call changes nothing at the provider, so it may be sent again.
            fresh = bool(upstream.used) and not upstream.heard and self.failure is not None
            if not fresh:
                break
            self.failure, self.over = None, False
        if self._refused is not None:
            raise ModelRefused(self._refused)
        await self.until_over()

    def _check_still_in_force(self, live: LiveRoute) -> None:
        """Before the first byte: no key and no model is used that was taken away meanwhile.

        Raises:
            Refused: policy_stale; or the sandbox is gone.
        """
        if self.room.routes.get(self.sandbox()) is not live:
            why = "the inference route was changed while the provider was connected to; try again"
            raise Refused(Refusal(Reason.POLICY_STALE, why))

    def _late(self) -> Refused | CutShort:
        assert self._clock is not None
        self.failure = refusal = self._clock.explain()
        return CutShort(refusal) if self.progress.answered else Refused(refusal)

    # -- ResponseSink ----------------------------------------------------------------------

    def take_head(self, head: ResponseHead) -> None:
        if head.interim:
            return
        self.progress.status = head.status
        self.keep_upstream = head.keep_alive
        answer = judge_answer(head.status, head.fields, self.shape)
        if isinstance(answer, errors.Refusal):
            self._refused = answer
            self.keep_upstream = False
            super().finish()
            return
        self._answer = answer
        if self._live is not None:
            self._guard = EchoGuard(self._live.keys, error=head.status >= _REFUSED_FROM)
        self._head_at = self.room.now()
        self._meter = FrameMeter() if answer.frames else UsageMeter(answer.coding)
        if _OK <= head.status < _REFUSED_FROM and self._admitted is not None:
            protocol = self._admitted.pattern.protocol
            self._ids = ObjectIds(protocol, stream=answer.streaming and not answer.frames)
        self._chunked = head.framing in (Framing.CHUNKED, Framing.CLOSE) and not self.head.http10
        self._pending = self._render_head(answer, head)
        assert self._clock is not None
        self.client.deadline = self._clock.head(streaming=answer.streaming)

    def _render_head(self, answer: AnswerHead, head: ResponseHead) -> bytes:
        lines = [render_status_line(answer.status)]
        lines += [name + b": " + self._guard.value(value) for name, value in answer.headers]
        lines += model_lines(self._pinned)
        if self._chunked:
            lines.append(b"transfer-encoding: chunked")
        elif head.framing is Framing.LENGTH:
            lines.append(b"content-length: %d" % head.length)
        elif head.framing is Framing.NONE and head.status not in (204, 304):
            lines.append(b"content-length: 0")
        if not self.keep_client:
            lines.append(b"connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def take_body(self, data: bytes, reader: ResponseReader) -> None:
        if reader.head is not None and reader.head.framing is Framing.CHUNKED:
            data = reader.bare()
        if not data:
            return
        assert self._clock is not None
        assert self._answer is not None
        now = self.room.now()
        if self._answer.streaming:
            self._sent_at = now
            self.client.deadline = self._clock.chunk(now)
        self._clock.note_first_byte(now)
        self._meter.feed(data)
        self._note_objects(data, last=reader.done)
        self.progress.bytes_in += len(data)
        self._hand_on(self._guard.feed(data))
        if self.client.blocked:
            self.hold_back()

    def _hand_on(self, data: bytes) -> None:
        """Send what the client may have of the body."""
        if not data:
            return
        if self._answer is not None and self._answer.streaming and not self._answer.frames:
            self._tracker.feed(data)
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def _note_objects(self, data: bytes, *, last: bool) -> None:
        """Told before the client can have the ids: it may ask another worker with them."""
        ids = self._ids
        if ids is not None and (ids.feed(data) | (last and ids.finish())) and self._admitted:
            address, provider = self.account.caller.address, self._admitted.route.provider
            tell_own(self.room.daemon, address, provider, ids.take())

    def flush(self) -> None:
        self._send(b"")

    def finish(self) -> None:
        self._settle()  # before the client can have all of the answer, and ask again elsewhere
        if self._answer is not None:
            self._hand_on(self._guard.rest())
            self._send(b"0\r\n\r\n" if self._chunked else b"")
        super().finish()

    def _send(self, data: bytes) -> None:
        data, self._pending = self._pending + data, b""
        if data:
            self.client.write(data)
            self.progress.answered = True

    def beat(self, now: float) -> None:
        """A comment keeps a silent stream alive where the route wants that; between events only."""
        answer, admitted = self._answer, self._admitted
        if answer is None or admitted is None or not self._chunked:
            return
        every = admitted.route.rules.heartbeat_s
        if every is None or answer.frames or not answer.takes_error_event:
            return
        quiet = now - max(self._sent_at, self._head_at) >= every
        if quiet and self._tracker.at_boundary and not (self.over or self.client.blocked):
            self._sent_at = now
            self._send(b"%x\r\n%b\r\n" % (len(HEARTBEAT), HEARTBEAT))

    # -- endings ---------------------------------------------------------------------------

    def end_stream(self, refusal: Refusal) -> None:
        """Tell a client in the middle of an event stream why it ends, in its protocol's words."""
        if isinstance(self._meter, FrameMeter) and not self._meter.at_boundary:
            return  # half a frame cannot be ended: nothing behind it would be read
        if self._answer is not None and self._answer.takes_error_event and self._chunked:
            told = outward_message(refusal.reason, refusal.message)
            event = render_stream_error(
                self.shape,
                refusal.reason,
                told,
                half=self._tracker.half,
                sequence_number=self._tracker.next_number,
            )
            self._send(b"%x\r\n%b\r\n" % (len(event), event))

    def _record(self) -> None:
        status = self.progress.status
        if status in _AUTH_FAILURES:
            why = f"the provider refused the operator's credential (HTTP {status})"
            self.record_failure(Refusal(Reason.UPSTREAM_AUTH, why))
            return
        self.account.permitted(
            Kind.INFERENCE, ALLOWED, self._measures(), single=True, **self._parts()
        )

    def record_failure(self, refusal: Refusal) -> None:
        """A denial or failure of this call."""
        # One that was sent is told by itself: its tokens are counted.
        single = self._attempts > 0
        self.account.refused(
            Kind.INFERENCE, refusal, self._measures(), single=single, **self._parts()
        )

    def _measures(self) -> Measures:
        return self.progress.measures(self.room.now())

    def _parts(self) -> dict[str, Any]:
        """The record's parts that a model call has."""
        route: InferenceRoute | None = self._admitted.route if self._admitted else None
        ttfb = self._clock.ttfb_ms if self._clock else None
        call = {
            "protocol": self._admitted.pattern.protocol.value if self._admitted else None,
            "requested_model": self._pinned.requested_model if self._pinned else None,
            "model": self._pinned.model if self._pinned else route.model if route else None,
            "provider": route.provider if route else None,
            "route": route.id if route else None,
            "attempts": self._attempts,
            "ttfb_ms": ttfb,
            "tokens_in": self._meter.tokens_in,
            "tokens_out": self._meter.tokens_out,
            "tokens_cache_read": self._meter.cache_read,
            "tokens_cache_write": self._meter.cache_write,
        }
        return {"http": self.http, "inference": call}
