"""Owns: carrying a plan out: one endpoint after the other, until one has begun to answer.

Nothing is tried that is not in the plan; nothing is tried again once the client has a byte of an
answer; one deadline bounds all attempts together. What a failure means is netmgr_proxy.routing's.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from netmgr.reasons import Reason, Verdict
from netmgr.routing.contract import AttemptOutcome
from netmgr.routing.language import Failure
from netmgr_proxy.admission import ModelRefused
from netmgr_proxy.answering import Answering, Terms
from netmgr_proxy.call_clock import CallClock
from netmgr_proxy.client import DeadlinePassed
from netmgr_proxy.exchange import CutShort, Exchange
from netmgr_proxy.inference import errors
from netmgr_proxy.routes import LiveRoute, Revoked
from netmgr_proxy.routing.availability import LOOK_AGAIN_S
from netmgr_proxy.routing.breaker import NEVER
from netmgr_proxy.routing.failure import (
    AUTH,
    OURS,
    RESET,
    Fault,
    fault_of,
    fault_of_status,
    is_repairable,
)
from netmgr_proxy.routing.plan import CallPlan, Endpoint, Ready, Try
from netmgr_proxy.wire.face import Refused
from netmgr_proxy.wire.response import ResponseHead

TOO_MANY: Final = 429  # of this and the 5xx an endpoint has a part
# Of one endpoint, which another may not have.
_OF_ONE: Final = (
    Reason.CREDENTIAL_EXPIRED,
    Reason.OPERATION_NOT_ALLOWED,
    Reason.TOOL_NOT_ALLOWED,
    Reason.NO_PERMITTED_ENDPOINT,
)
LEAST_RETRY_S: Final = 1  # what a client is told to wait at least


class Attempts:
    """All attempts at one call.

    Args:
        settle: called before the client can have all of the answer.
        check: called when an endpoint was connected to, before the first byte; raises Refused where
            the call may no longer go there.

    Attributes:
        present: what is being tried, or was last; None before the first attempt.
        answering: of the same.
        clock: of the whole call.
        tries: every attempt, for the record.
    """

    def __init__(
        self,
        exchange: Exchange,
        plan: CallPlan,
        settle: Callable[[], None],
        check: Callable[[LiveRoute], None],
    ) -> None:
        self._exchange = exchange
        self._plan = plan
        self._settle = settle
        self._check = check
        self._left = list(plan.endpoints)
        self._connected = False
        self.present: Ready | None = None
        self.answering: Answering | None = None
        self.clock = CallClock(plan.endpoints[0].live.route, exchange.room.now())
        self.tries: list[Try] = []

    async def run(self) -> None:
        """Try until the client has its answer.

        Raises:
            ModelRefused, Refused: there is none; the client has got nothing.
            CutShort: what it has got is not the whole.
        """
        plan = self._plan
        if plan.rules is None:
            await self._single(plan)
            return
        while not await self._watched(await self._next(plan.rules), plan.rules):
            self._begin_anew()

    async def _single(self, plan: CallPlan) -> None:
        try:
            await self._attempt(await plan.prepare(plan.endpoints[0]))
        except _NoAnswer as none:
            raise ModelRefused(none.refusal) from None

    def drop(self, revoked: Revoked) -> bool:
        """What is revoked is tried no more; whether the present attempt has to end."""
        self._left = [each for each in self._left if not revoked.covers(each.live)]
        return self.present is not None and revoked.covers(self.present.endpoint.live)

    # -- which one ---------------------------------------------------------------------------

    async def _next(self, rules: Failure) -> Endpoint:
        """The next endpoint that may be asked; its place is taken.

        Raises:
            ModelRefused: no_available_endpoint.
        """
        exchange, room = self._exchange, self._exchange.room
        patience = room.now() + (0.0 if self.tries else rules.first_byte_s)
        leave = room.availability.wait(exchange.client.wake)
        try:
            while (found := self._take(rules)) is None:
                now = room.now()
                free = self._free_at(now)
                if not self._left or now >= patience or patience < free < NEVER:
                    raise ModelRefused(self._none_available(free - now))
                # Another worker may be finding out: it is heard of by looking again.
                await self._sleep_until(min(patience, free, now + LOOK_AGAIN_S))
        finally:
            leave()
        return found

    async def _sleep_until(self, moment: float) -> None:
        """Wait for that moment, or for anything else to happen."""
        client = self._exchange.client
        timer = asyncio.get_running_loop().call_at(moment, client.wake)
        try:
            await client.wait()
        finally:
            timer.cancel()

    def _take(self, rules: Failure) -> Endpoint | None:
        room, sandbox = self._exchange.room, self._sandbox
        for place, endpoint in enumerate(self._left):
            if room.availability.begin(endpoint.id, sandbox, rules.breaker, room.now()):
                del self._left[place]
                return endpoint
        return None

    def _free_at(self, now: float) -> float:
        """When the first of those that are left may be asked: `now`, or later."""
        free = self._exchange.room.availability.free_at
        return min((free(each.id, self._sandbox, now) for each in self._left), default=NEVER)

    def _may_go_on(self, rules: Failure) -> bool:
        """Whether another attempt can follow the present one."""
        now = self._exchange.room.now()
        spent = len(self.tries) >= rules.attempts or now >= self.clock.ends_at
        return not spent and self._free_at(now) <= now

    @property
    def _sandbox(self) -> str:
        return self._exchange.account.caller.address

    # -- one attempt -------------------------------------------------------------------------

    async def _watched(self, endpoint: Endpoint, rules: Failure) -> bool:
        """One attempt of which the breakers are told.

        Returns:
            whether the client has its answer; if not, the next endpoint is to be asked.
        """
        availability, begun = self._exchange.room.availability, self._exchange.room.now()
        ready = await self._prepare(endpoint, rules)
        if ready is None:
            return False
        failure: Refused | CutShort | ModelRefused | None = None
        fault: Fault | None
        try:
            await self._attempt(ready, rules)
            fault = self._fault_of_answer()
        except _NoAnswer as caught:
            failure = ModelRefused(caught.refusal)
            fault = Fault(RESET, caught.refusal.reason)
        except (Refused, CutShort) as caught:
            failure, fault = caught, fault_of(caught.refusal, connected=self._connected)
            if caught.refusal.reason in OURS:
                availability.left(endpoint.id, self._sandbox)
                raise
        except BaseException:  # it tells nothing of the endpoint
            availability.left(endpoint.id, self._sandbox)
            raise
        self._tell(endpoint, rules, fault, begun)
        self._observe(endpoint, fault)
        if fault is None or self._exchange.progress.answered:
            if failure is not None:
                raise failure
            return True
        if is_repairable(fault, rules) and self._may_go_on(rules):
            return False
        raise failure or ModelRefused(self._withheld(fault))

    async def _prepare(self, endpoint: Endpoint, rules: Failure) -> Ready | None:
        """The call as that endpoint gets it; None where it cannot be asked (its credential has
        ended, what the call names is stored elsewhere, its provider may not do what the call asks)
        and another may be."""
        try:
            return await self._plan.prepare(endpoint)
        except BaseException as caught:
            self._exchange.room.availability.left(endpoint.id, self._sandbox)
            if not isinstance(caught, ModelRefused) or caught.refusal.reason not in _OF_ONE:
                raise
            reason = caught.refusal.reason.value
            self.tries.append(Try(endpoint.id, endpoint.live.route.provider, reason=reason))
            if not self._may_go_on(rules):
                raise
            return None

    async def _attempt(self, ready: Ready, rules: Failure | None = None) -> None:
        """Connect, send, and relay the answer.

        Raises:
            Refused, CutShort: it broke, or was too slow.
            _NoAnswer: it was answered with what must not cross.
        """
        exchange = self._exchange
        self.present, self._connected = ready, False
        live = ready.endpoint.live
        made = Try(ready.endpoint.id, live.route.provider)
        self.tries.append(made)
        if rules is not None:
            self.clock.turn_to(live.route)
        terms = Terms(self._plan.lines(ready))
        if rules is not None:
            terms = terms._replace(declines=self._declines(rules), holds=True)
        self.answering = answering = Answering(exchange, ready, self.clock, self._settle, terms)
        begun = exchange.room.now()
        try:
            await self._send(ready, answering)
            if answering.refused is not None:
                raise _NoAnswer(answering.refused)
            await exchange.until_over()
        except DeadlinePassed:
            if answering.end_whole():
                return
            exchange.failure = late = self.clock.explain()
            made.reason = late.reason.value
            raise (CutShort if exchange.progress.answered else Refused)(late) from None
        except (Refused, CutShort) as fault:
            made.reason = fault.refusal.reason.value
            raise
        finally:
            made.ms = round((exchange.room.now() - begun) * 1000)
            made.status = answering.status
            exchange.release(ready.admission.origin)

    async def _send(self, ready: Ready, answering: Answering) -> None:
        exchange, admission = self._exchange, ready.admission
        room, live = exchange.room, ready.endpoint.live
        request = admission.render(ready.pinned, time.time())
        revision = exchange.sandbox().revision
        exchange.keep_upstream = False
        connect = exchange.connect
        while True:
            exchange.client.deadline = self.clock.connecting(room.now())
            exchange.upstream = upstream = await connect(admission.origin, revision, live.context)
            self._check(live)
            self._connected = True
            upstream.begin(answering, bodyless=exchange.head.method == "HEAD")
            upstream.write_pieces(request)
            exchange.client.deadline = self.clock.sent(room.now())
            while not exchange.over:
                await exchange.client.wait()
            # A pooled connection that the provider had closed meanwhile: nothing was answered,
            # and a model call changes nothing at the provider, so it may be sent again.
            if not upstream.used or upstream.heard or exchange.failure is None:
                return
            exchange.failure, exchange.over = None, False
            connect = exchange.connect_anew

    def _declines(self, rules: Failure) -> Callable[[ResponseHead], bool]:
        """Which answers the client does not get: those that another endpoint may better, and those
        that are about the operator's key."""

        def declines(head: ResponseHead) -> bool:
            if head.status in AUTH:
                return True
            fault = Fault(head.status, Reason.UPSTREAM_UNREACHABLE, head.status)
            return is_repairable(fault, rules) and self._may_go_on(rules)

        return declines

    def _begin_anew(self) -> None:
        """Forget the attempt that failed; the client has seen nothing of it."""
        exchange = self._exchange
        exchange.failure, exchange.over = None, False
        exchange.progress.status, exchange.progress.bytes_in = None, 0
        exchange.client.renew()

    # -- what came of it ---------------------------------------------------------------------

    def _fault_of_answer(self) -> Fault | None:
        """What the answer says of its endpoint: None where it says that it is well."""
        assert self.answering is not None
        head = self.answering.head
        if head is None or (head.status < TOO_MANY and head.status not in AUTH):
            return None
        return fault_of_status(head.status, head.fields, time.time())

    def _tell(self, endpoint: Endpoint, rules: Failure, fault: Fault | None, begun: float) -> None:
        availability, made = self._exchange.room.availability, self.tries[-1]
        now = self._exchange.room.now()
        if fault is None:
            first = self.clock.first_byte_at
            first_byte_s = max(0.0, first - begun) if first is not None else None
            availability.succeeded(endpoint.id, self._sandbox, first_byte_s, now)
        elif fault.status in AUTH:
            # Not the endpoint's fault; and some providers say 403 of what is asked.
            availability.left(endpoint.id, self._sandbox)
            self._alert(endpoint, fault, "it refused the operator's credential")
        else:
            opened = availability.failed(endpoint.id, self._sandbox, rules.breaker, fault, now)
            if fault.elsewhere:
                self._alert(endpoint, fault, "it is not where it is declared to be")
            elif opened:
                why = f"it is left alone for {rules.breaker.open_s:g} s after {fault.word}"
                self._alert(endpoint, fault, why)
        if fault is not None:
            made.reason = fault.reason.value

    def _alert(self, endpoint: Endpoint, fault: Fault, what: str) -> None:
        """What an operator must know of an endpoint, whatever becomes of the call."""
        provider = endpoint.live.route.provider
        message = f"endpoint {endpoint.id} (provider {provider}): {what}"
        remedy = None
        if fault.status in AUTH:
            remedy = f"netmgr provider update {provider} --credential KEY"
        self._exchange.account.found(Verdict.FAILED, fault.reason, message, remedy=remedy)

    def _observe(self, endpoint: Endpoint, fault: Fault | None) -> None:
        """Note what it cost; tell the file's router, once the loop has nothing better to do."""
        observe, answering, made = self._plan.observe, self.answering, self.tries[-1]
        if answering is None:
            return
        meter, cost = answering.meter, self._plan.cost
        if cost is not None and meter.tokens_in is not None and meter.tokens_out is not None:
            made.cost = cost(endpoint.id, meter.tokens_in, meter.tokens_out)
        if observe is None:
            return
        first = self.clock.first_byte_at
        outcome = AttemptOutcome(
            endpoint=endpoint.id,
            status=made.status,
            reason=fault.reason if fault is not None else Reason.ALLOWED,
            duration_s=made.ms / 1000,
            first_byte_s=self.clock.since_begin(first) if first is not None else None,
            tokens_in=meter.tokens_in,
            tokens_out=meter.tokens_out,
            cost=made.cost,
        )
        asyncio.get_running_loop().call_soon(observe, outcome)

    def _withheld(self, fault: Fault) -> errors.Refusal:
        """What the client is told where it does not get the last answer that there was."""
        if fault.status in AUTH:
            why = "the model provider refused the operator's credential"
            return errors.Refusal(
                502, Reason.UPSTREAM_AUTH, why, close=False, shape=self._plan.shape
            )
        now = self._exchange.room.now()
        return self._none_available(self._free_at(now) - now)

    def _none_available(self, wait_s: float) -> errors.Refusal:
        why = "every endpoint that may answer this call is unavailable now; try again"
        wait = LEAST_RETRY_S if wait_s == NEVER else max(LEAST_RETRY_S, round(wait_s))
        return errors.Refusal(
            503,
            Reason.NO_AVAILABLE_ENDPOINT,
            why,
            close=False,
            shape=self._plan.shape,
            retry_after_s=wait,
        )


class _NoAnswer(Exception):
    """What the provider answered must not cross (a redirect)."""

    def __init__(self, refusal: errors.Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
