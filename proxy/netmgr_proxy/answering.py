"""Owns: one provider's answer on its way to the client: its head rendered, its body handed on chunk
by chunk and counted, and ended in the protocol's own words when it breaks.

Each attempt at a call has an answering of its own, so nothing of a failed one is left for the next.
Of a plan of several the head waits for the first byte of the body: till then the client has seen
nothing, and after it there is no way back (the commit point). Knows nothing of routes, connections
and deadlines' lengths.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from netmgr.inference.protocols import Protocol, Shape
from netmgr.reasons import Reason
from netmgr_proxy.call_clock import CallClock
from netmgr_proxy.exchange import Exchange
from netmgr_proxy.inference import errors
from netmgr_proxy.inference.answer import AnswerHead, Judged, judge_answer
from netmgr_proxy.inference.broken_stream import render_stream_error
from netmgr_proxy.inference.echo import EchoGuard
from netmgr_proxy.inference.errors import outward_message
from netmgr_proxy.inference.frame_usage import FrameMeter
from netmgr_proxy.inference.object_ids import SEARCHED, ObjectIds
from netmgr_proxy.inference.sse import SseTracker
from netmgr_proxy.inference.usage import UsageMeter
from netmgr_proxy.objects import tell_own
from netmgr_proxy.routing.plan import Ready
from netmgr_proxy.wire.face import Refusal, render_status_line
from netmgr_proxy.wire.response import Framing, ResponseHead, ResponseReader

HEARTBEAT: Final = b": the model is still at work\n\n"
_OK: Final = 200
REFUSED_FROM: Final = 400  # a provider charges nothing for what it refuses

# What an answer has until its head tells more. Nothing is ever fed to them.
_NO_STREAM: Final = SseTracker(Shape.OPENAI)
_NO_KEYS: Final = EchoGuard((), error=False)
_NO_TOKENS: Final = UsageMeter()

Declines = Callable[[ResponseHead], bool]


class Terms(NamedTuple):
    """How an answer is handed on.

    Attributes:
        said: lines of ours in its head.
        declines: whether an answer with that head is withheld from the client; None: none is.
        holds: whether the client gets no head without a body byte: until it, another attempt may
            follow, or an error that is one.
    """

    said: list[bytes]
    declines: Declines | None = None
    holds: bool = False


class Answering:
    """A ResponseSink of one attempt.

    Args:
        exchange: whose client gets the answer.
        clock: of the whole call.
        settle: called before the client can have all of the answer.
        terms: how it is handed on.

    Attributes:
        refused: what the client is told instead of an answer that may not cross.
        head: the final head.
        meter: of the tokens that the answer tells.
    """

    __slots__ = (
        "_address",
        "_admission",
        "_answer",
        "_chunked",
        "_clock",
        "_declines",
        "_exchange",
        "_framed_here",
        "_guard",
        "_head_at",
        "_holds",
        "_ids",
        "_pending",
        "_said",
        "_sent_at",
        "_settle",
        "_shape",
        "_tracker",
        "head",
        "meter",
        "refused",
    )

    def __init__(
        self,
        exchange: Exchange,
        ready: Ready,
        clock: CallClock,
        settle: Callable[[], None],
        terms: Terms,
    ) -> None:
        self._exchange = exchange
        self._admission = ready.admission
        self._said = terms.said
        self._holds = terms.holds
        self._clock = clock
        self._settle = settle
        self._declines = terms.declines
        self._shape: Shape = ready.admission.admitted.shape
        self._address = exchange.account.caller.address
        self._answer: AnswerHead | None = None
        self._chunked = False
        self._framed_here = False  # the body has no length that is the provider's word
        self._pending = b""
        self._tracker = _NO_STREAM
        self._ids: ObjectIds | None = None
        self._guard = _NO_KEYS
        self._head_at = 0.0
        self._sent_at = 0.0  # the last chunk of a stream
        self.meter = _NO_TOKENS
        self.refused: errors.Refusal | None = None
        self.head: ResponseHead | None = None

    @property
    def status(self) -> int | None:
        """Of the answer; None before its head."""
        return self.head.status if self.head is not None else None

    # -- ResponseSink ----------------------------------------------------------------------

    def take_head(self, head: ResponseHead) -> None:
        """See ResponseSink."""
        if head.interim:
            return
        exchange = self._exchange
        self.head = head
        exchange.keep_upstream = head.keep_alive
        if self._declines is not None and self._declines(head):
            self._give_up()
            return
        exchange.progress.status = head.status
        judged = self._judge(head)
        if isinstance(judged.answer, errors.Refusal):
            self.refused = judged.answer
            self._give_up()
            return
        self._begin(judged.answer, head, judged.lines)

    def _judge(self, head: ResponseHead) -> Judged:
        """What the head means; known already where the connection's last answer had the same."""
        upstream, shape = self._exchange.upstream, self._shape
        known = upstream.judged if upstream is not None else None
        if known is not None and known.head is head and known.shape is shape:
            return known
        answer, lines = judge_answer(head.status, head.fields, shape), b""
        if not isinstance(answer, errors.Refusal):
            guard = self._guard_of(head)
            fields = [name + b": " + guard.value(value) for name, value in answer.headers]
            lines = b"\r\n".join([render_status_line(answer.status), *fields])
        judged = Judged(head, shape, answer, lines)
        # Others' heads are never recalled (HeadMemo), and a stream would hold this for nothing.
        if upstream is not None and head.framing is Framing.LENGTH:
            upstream.judged = judged
        return judged

    def _guard_of(self, head: ResponseHead) -> EchoGuard:
        return EchoGuard(self._admission.live.keys, error=head.status >= REFUSED_FROM)

    def _give_up(self) -> None:
        """Nothing of this answer goes on, and its connection is not used again."""
        self._exchange.keep_upstream = False
        self._exchange.finish()

    def _begin(self, answer: AnswerHead, head: ResponseHead, lines: bytes) -> None:
        exchange = self._exchange
        self._answer = answer
        self._guard = self._guard_of(head)
        self._head_at = exchange.room.now()
        if answer.streaming:
            self._tracker = SseTracker(self._shape)
        self.meter = FrameMeter() if answer.frames else UsageMeter(answer.coding)
        if _OK <= head.status < REFUSED_FROM:
            protocol = self._admission.admitted.pattern.protocol
            if protocol is Protocol.INVOKE:
                self.meter.read_head(head.fields)
            if protocol in SEARCHED:
                stream = answer.streaming and not answer.frames
                self._ids = ObjectIds(protocol, stream=stream)
        # A stream's length would leave no room for the words that a broken one ends with.
        open_ended = answer.streaming and head.framing is Framing.LENGTH
        self._framed_here = open_ended or head.framing in (Framing.CHUNKED, Framing.CLOSE)
        self._chunked = self._framed_here and not exchange.head.http10
        self._pending = self._render_head(head, lines)
        exchange.client.deadline = self._clock.head(streaming=answer.streaming)

    def _render_head(self, head: ResponseHead, own: bytes) -> bytes:
        lines = [own, *self._said]
        if self._chunked:
            lines.append(b"transfer-encoding: chunked")
        elif head.framing is Framing.LENGTH and not self._framed_here:
            lines.append(b"content-length: %d" % head.length)
        elif head.framing is Framing.NONE and head.status not in (204, 304):
            lines.append(b"content-length: 0")
        if not self._exchange.keep_client:
            lines.append(b"connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def take_body(self, data: bytes, reader: ResponseReader) -> None:
        """See ResponseSink."""
        if reader.head is not None and reader.head.framing is Framing.CHUNKED:
            data = reader.bare()
        if not data:
            return
        assert self._answer is not None
        exchange, clock = self._exchange, self._clock
        now = exchange.room.now()
        if self._answer.streaming:
            self._sent_at = now
            exchange.client.deadline = clock.chunk(now)
        clock.note_first_byte(now)
        self.meter.feed(data)
        self._note_objects(data, last=reader.done)
        exchange.progress.bytes_in += len(data)
        self._hand_on(self._guard.feed(data))
        if exchange.client.blocked:
            exchange.hold_back()

    def _hand_on(self, data: bytes) -> None:
        """Send what the client may have of the body."""
        if not data:
            return
        if self._answer is not None and self._answer.streaming and not self._answer.frames:
            self._tracker.feed(data)
        self._send(self._framed(data))

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def _note_objects(self, data: bytes, *, last: bool) -> None:
        """Told before the client can have the ids: it may ask another worker with them."""
        ids = self._ids
        if ids is not None and (ids.feed(data) | (last and ids.finish())):
            provider = self._admission.admitted.route.provider
            tell_own(self._exchange.room.daemon, self._address, provider, ids.take())

    def flush(self) -> None:
        """See ResponseSink."""
        if not self._holds:
            self._send(b"")

    def finish(self) -> None:
        """See ResponseSink."""
        torn = self._torn()
        if torn is not None:
            self._exchange.fail(Refusal(Reason.UPSTREAM_UNREACHABLE, torn))
            return
        self._complete()

    def _complete(self) -> None:
        self._settle()  # before the client can have all of the answer, and ask again elsewhere
        if self._answer is not None:
            self._hand_on(self._guard.rest())
            self._send(b"0\r\n\r\n" if self._chunked else b"")
        self._exchange.finish()

    def _torn(self) -> str | None:
        """Why a body that the connection's end ended is not whole; None where it may be.

        Nothing else tells: without a look, half an answer would get a terminator of ours.
        """
        head, answer, upstream = self.head, self._answer, self._exchange.upstream
        if head is None or answer is None or head.framing is not Framing.CLOSE:
            return None
        plain = answer.takes_error_event and not answer.frames
        if plain and self._tracker.finished:
            return None
        if upstream is not None and upstream.torn:
            return "it closed the connection without TLS's own end, which its answer ends with"
        ends = self._tracker.may_end if plain else True
        if isinstance(self.meter, FrameMeter):
            ends = self.meter.at_boundary
        return None if ends else "it closed the connection in the middle of its stream"

    def fail(self, refusal: Refusal) -> None:
        """See ResponseSink."""
        if not self.end_whole():
            self._exchange.fail(refusal)

    def end_whole(self) -> bool:
        """End the answer well if the protocol's last event has come and only the end of the
        connection, or of its framing, is wanting: who has it all need not hear of that."""
        answer, exchange = self._answer, self._exchange
        if answer is None or answer.frames or not answer.takes_error_event or exchange.over:
            return False
        if not (self._framed_here and self._tracker.finished):
            return False
        exchange.keep_upstream = False
        self._complete()
        return True

    def upstream_writable(self) -> None:
        """See ResponseSink."""
        self._exchange.upstream_writable()

    def _send(self, data: bytes) -> None:
        data, self._pending = self._pending + data, b""
        if data:
            self._exchange.client.write(data)
            self._exchange.progress.answered = True

    # -- besides ---------------------------------------------------------------------------

    def beat(self, now: float) -> None:
        """A comment keeps a silent stream alive where the route wants that; between events only."""
        answer, exchange = self._answer, self._exchange
        every = self._admission.admitted.route.rules.heartbeat_s
        if answer is None or every is None or not self._framed_here:
            return
        if answer.frames or not answer.takes_error_event:
            return
        if self._holds and not exchange.progress.answered:
            return  # a beat would be the commit point
        quiet = now - max(self._sent_at, self._head_at) >= every
        if quiet and self._tracker.at_boundary and not (exchange.over or exchange.client.blocked):
            self._sent_at = now
            self._send(self._framed(HEARTBEAT))

    def end_stream(self, refusal: Refusal) -> bool:
        """Tell a client in the middle of an event stream why it ends, in its protocol's words.

        Returns:
            whether it could be told.
        """
        if isinstance(self.meter, FrameMeter) and not self.meter.at_boundary:
            return False  # half a frame cannot be ended: nothing behind it would be read
        if self._answer is not None and self._answer.takes_error_event and self._framed_here:
            told = outward_message(refusal.reason, refusal.message, begun=True)
            event = render_stream_error(
                self._shape,
                refusal.reason,
                told,
                half=self._tracker.half,
                sequence_number=self._tracker.next_number,
            )
            self._send(self._framed(event))
            return True
        return False
