"""Owns: the life of a terminated connection: handshake, one request after the other, good-bye.

Knows nothing of what is asked: an exchange (egress.py, model_call.py) does one request; here its
outcome gets its face and its record.
"""

import asyncio
import socket
from typing import Final

from netmgr.reasons import Kind, Reason
from netmgr_proxy.account import Account
from netmgr_proxy.admission import Admissions, ModelRefused
from netmgr_proxy.client import ClientConnection, ClientGone, DeadlinePassed
from netmgr_proxy.egress import EgressExchange
from netmgr_proxy.examined import ExaminedExchange
from netmgr_proxy.examined_websocket import ExaminedWebSocket
from netmgr_proxy.exchange import CutShort, Exchange
from netmgr_proxy.flows import FOREVER
from netmgr_proxy.gate import Deny, Inference, Terminate
from netmgr_proxy.greeting import Welcome, greet
from netmgr_proxy.inference import errors
from netmgr_proxy.inference.errors import render_error
from netmgr_proxy.inspected import InspectedExchange
from netmgr_proxy.judged import Endpoint
from netmgr_proxy.model_call import ModelCall
from netmgr_proxy.peer import Caller
from netmgr_proxy.room import Room
from netmgr_proxy.sockets import reset
from netmgr_proxy.splice import LONG_FLOW_S
from netmgr_proxy.websocket import WebSocketExchange
from netmgr_proxy.wire.face import Refusal, Refused, render_head, render_response
from netmgr_proxy.wire.handshake import WEBSOCKET
from netmgr_proxy.wire.request import BadRequest, Body, End, Head

_HTTPS_ONLY: Final = Refusal(
    Reason.UNSUPPORTED_PROTOCOL,
    "inference.local answers HTTPS only: use https://inference.local/v1",
    remedy="netmgr inference update --plain-http",
)


class Cut(Exception):
    """The connection was ended from outside; it is recorded already."""


class HttpFlow:
    """One terminated connection. `run` owns the socket."""

    def __init__(
        self, room: Room, sock: socket.socket, account: Account, gate: Terminate | Inference
    ) -> None:
        self._room = room
        self._sock = sock
        self._account = account
        self._inference = isinstance(gate, Inference)
        self._kind = Kind.INFERENCE if self._inference else Kind.HTTP
        self._scheme = ""
        self._endpoint: Endpoint | None = None  # once a request came that is no model call
        self._admissions = Admissions(account.caller.address, account.target)
        self._client = ClientConnection(room.limits)
        self._greeting: asyncio.Task[None] | None = None  # the task, until a transport is there
        self._exchange: Exchange | None = None
        self._draining = False

    @property
    def caller(self) -> Caller:
        return self._account.caller

    async def run(self) -> None:
        """From the accepted socket to the end."""
        if not await self._welcome():
            return
        client = self._client
        try:
            while await self._serve_one():
                pass
            client.close()
        except (ClientGone, Cut, DeadlinePassed, BadRequest):
            client.abort()
        except BaseException:
            client.abort()
            raise

    async def _welcome(self) -> bool:
        """First bytes and handshake: whether there is a connection to serve."""
        self._greeting = asyncio.current_task()
        try:
            welcome = await greet(self._room, self._sock, self._account)
            if welcome is None:
                return False
            self._scheme = welcome.scheme
            await self._take_over(welcome)
            return True
        except asyncio.CancelledError:
            reset(self._sock)
            raise
        except (OSError, TimeoutError) as fault:  # ssl.SSLError is an OSError
            self._sock.close()
            self._record_handshake(fault)
            return False
        finally:
            self._greeting = None

    async def _take_over(self, welcome: Welcome) -> None:
        context = welcome.context
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: self._client,
            self._sock,
            ssl=context,
            ssl_handshake_timeout=self._room.limits.hello_timeout_s if context else None,
        )

    # -- for the list of flows -------------------------------------------------------------

    def tick(self, now: float) -> None:
        exchange = self._exchange
        if exchange is not None:
            if now - exchange.progress.started_at >= LONG_FLOW_S:
                exchange.record_start()
            exchange.beat(now)
        if now >= self._client.deadline:
            self._client.deadline = FOREVER
            self._client.stop(DeadlinePassed())

    def judge_again(self) -> None:
        gate = self._room.judge_live(self._account)
        refusal: Refusal | None = None
        if isinstance(gate, Deny):
            refusal = gate.refusal
        elif self._exchange is not None:
            refusal = self._exchange.judge_again()
            if refusal is not None and self._exchange.break_off(refusal):
                return
        if refusal is not None:
            self._cut(refusal)

    def end(self, *, at_once: bool) -> None:
        if at_once:
            self._cut(Refusal(Reason.UNKNOWN_CALLER, "the sandbox is gone"))
        else:
            self._draining = True
            if self._exchange is None and self._client.between_requests:
                self._stop()

    def _cut(self, refusal: Refusal) -> None:
        if self._exchange is not None:
            self._exchange.failure = refusal  # the one record of its end: it makes none of its own
            self._record(self._exchange, refusal)
        else:
            self._account.refused(Kind.CONNECTION, refusal)
        self._stop()
        self._client.abort()

    def _stop(self) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
        self._client.stop(Cut())

    # -- one request -----------------------------------------------------------------------

    async def _serve_one(self) -> bool:
        """Whether the connection takes a further request."""
        try:
            await self._client.drained(self._room.limits.flow_idle_timeout_s)
            head = await self._next_head()
        except BadRequest as fault:
            refusal = Refusal(fault.reason, str(fault), status=fault.status)
            self._account.refused(self._kind, refusal)
            return await self._good_bye(self._render_broken(refusal))
        if head is None:
            return False
        exchange = self._exchange = self._begin(head)
        try:
            return await self._run(exchange) and not self._draining
        finally:
            self._exchange = None

    async def _next_head(self) -> Head | None:
        """The next request; None where the client has none to send.

        Raises:
            BadRequest: it broke HTTP, or was too slow.
        """
        limits, client = self._room.limits, self._client
        client.within(limits.keepalive_timeout_s)
        begun = False
        while True:
            event = client.next_event_nowait()
            if isinstance(event, Head):
                return event
            if not begun and not client.between_requests:
                begun = True
                client.within(limits.request_head_timeout_s)
            try:
                await client.wait()
            except ClientGone:
                return None
            except DeadlinePassed:
                if not begun:
                    return None
                client.renew()
                late = limits.request_head_timeout_s
                why = f"the request's head was not complete within {late:g} s"
                raise BadRequest(408, why) from None

    def _begin(self, head: Head) -> Exchange:
        if self._inference and (self._scheme == "https" or self._serves_plain_http()):
            return ModelCall(
                self._room, self._client, self._account, head, self._admissions, self._scheme
            )
        if self._inference:
            return _HttpsOnly(self._room, self._client, self._account, head)
        account = self._account
        if self._endpoint is None:
            self._endpoint = Endpoint(
                self.caller.address, account.target, self._scheme, account.owner
            )
        sandbox = self._room.view.get(self.caller.address)
        kind: type[EgressExchange] = EgressExchange
        if sandbox is not None and sandbox.policy.middlewares.chain(account.target):
            kind = ExaminedExchange
        elif sandbox is not None and sandbox.policy.looks_inside:
            kind = InspectedExchange
        if head.upgrade == WEBSOCKET:
            kind = ExaminedWebSocket if kind is ExaminedExchange else WebSocketExchange
        return kind(self._room, self._client, self._account, head, self._endpoint)

    def _serves_plain_http(self) -> bool:
        sandbox = self._room.view.get(self.caller.address)
        live = self._room.routes.get(sandbox) if sandbox is not None else None
        return live is not None and live.route.rules.plain_http

    async def _run(self, exchange: Exchange) -> bool:
        """One exchange with whatever comes of it."""
        try:
            return await exchange.run()
        except BadRequest as fault:
            refusal = Refusal(fault.reason, str(fault), status=fault.status)
        except Refused as refused:
            refusal = refused.refusal
        except ModelRefused as refused:
            return await self._refuse_call(exchange, refused.refusal)
        except CutShort as cut:
            self._record(exchange, cut.refusal)
            self._cut_short(exchange, cut.refusal)
            return False
        self._client.renew()
        if isinstance(exchange, ModelCall):
            shaped = errors.Refusal(
                refusal.http_status,
                refusal.reason,
                errors.outward_message(refusal.reason, refusal.message),
                refusal.remedy,
                close=False,
                shape=exchange.shape,
            )
            return await self._refuse_call(exchange, shaped, refusal)
        exchange.progress.status = refusal.http_status
        self._record(exchange, refusal)
        return await self._refuse(exchange, refusal)

    def _cut_short(self, exchange: Exchange, refusal: Refusal) -> None:
        """The client must not take what it has for the whole."""
        told = isinstance(exchange, ModelCall) and exchange.end_stream(refusal)
        if told or (isinstance(exchange, ModelCall) and not exchange.head.http10):
            self._client.close()  # what was said is sent first; no terminator follows it
        else:
            self._client.abort()  # to HTTP/1.0 a good end of the connection is the terminator

    # -- faces -----------------------------------------------------------------------------

    async def _refuse(self, exchange: Exchange, refusal: Refusal) -> bool:
        close = not exchange.keep_client or not self._body_is_small(exchange)
        bodyless = exchange.head.method == "HEAD"
        answer = self._render(refusal, bodyless=bodyless, close=close)
        return await self._answer(exchange, answer, close)

    async def _refuse_call(
        self, exchange: Exchange, refusal: errors.Refusal, cause: Refusal | None = None
    ) -> bool:
        """Answer in the protocol's shape; the record tells `cause` where there is one."""
        assert isinstance(exchange, ModelCall)
        exchange.progress.status = refusal.status
        plain = Refusal(
            refusal.reason, refusal.message, refusal.rule, refusal.remedy, refusal.status
        )
        exchange.record_failure(cause or plain)
        close = refusal.close or not exchange.keep_client or not self._body_is_small(exchange)
        fields, body = render_error(refusal, exchange.request_id)
        head = render_head(refusal.status, fields, len(body), close=close)
        sent = head if exchange.head.method == "HEAD" else head + body
        return await self._answer(exchange, sent, close)

    async def _answer(self, exchange: Exchange, answer: bytes, close: bool) -> bool:
        if close:
            return await self._good_bye(answer)
        self._client.write(answer)
        return await self._skip_body(exchange)

    def _body_is_small(self, exchange: Exchange) -> bool:
        """Whether what is left of the request's body can be read away."""
        head = exchange.head
        if exchange.progress.request_sent or head.length == 0:
            return True
        if head.length is None or head.expects_continue:
            return False
        return head.length <= self._room.limits.drain_bytes

    async def _skip_body(self, exchange: Exchange) -> bool:
        """Read the rest of a refused request, so that the next one can be found."""
        self._client.within(self._room.limits.request_body_timeout_s)
        while not exchange.progress.request_sent:
            event = self._client.next_event_nowait()
            if isinstance(event, End):
                break
            if not isinstance(event, Body):
                await self._client.wait()
        return True

    async def _good_bye(self, answer: bytes) -> bool:
        """The last word: sent, and given time to be read."""
        self._client.discard_input()
        self._client.write(answer)
        self._client.finish_writing()
        self._client.within(self._room.limits.drain_s)
        try:
            while True:
                await self._client.wait()
        except (ClientGone, DeadlinePassed, Cut):
            return False

    def _render_broken(self, refusal: Refusal) -> bytes:
        """The answer to what is no request. A model's client reads errors in its own words only."""
        if not self._inference:
            return self._render(refusal, bodyless=False, close=True)
        shaped = errors.Refusal(refusal.http_status, refusal.reason, refusal.message)
        fields, body = render_error(shaped, self._room.next_request_id())
        return render_head(shaped.status, fields, len(body), close=True) + body

    def _render(self, refusal: Refusal, *, bodyless: bool, close: bool) -> bytes:
        request_id = self._room.next_request_id()
        hint = self._account.hint
        return render_response(refusal, request_id, bodyless=bodyless, close=close, hint=hint)

    # -- records ---------------------------------------------------------------------------

    def _record(self, exchange: Exchange, refusal: Refusal) -> None:
        if isinstance(exchange, ModelCall):
            exchange.record_failure(refusal)
            return
        measures = exchange.progress.measures(self._room.now())
        self._account.refused(self._kind, refusal, measures, **exchange.parts)

    def _record_handshake(self, fault: BaseException) -> None:
        reason = getattr(fault, "reason", None) or "it closed the connection"
        why = f"the TLS handshake failed: {str(reason).lower().replace('_', ' ')}"
        remedy = (
            "if the program does not trust the sandbox's certificate authority: "
            f"netmgr trust doctor {self._account.sandbox_name}"
        )
        self._account.refused(Kind.CONNECTION, Refusal(Reason.MALFORMED_REQUEST, why, None, remedy))


class _HttpsOnly(Exchange):
    """A request to http://inference.local: refused, with the right URL."""

    async def run(self) -> bool:
        raise Refused(_HTTPS_ONLY)
