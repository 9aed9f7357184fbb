"""Owns: one request to inference.local, from its head to its record: admitted, read, planned, sent
to one endpoint of the plan after the other until one has answered, counted and told.

All rules are in netmgr_proxy.inference and netmgr_proxy.routing; here is only the order of it.
"""

import time
from typing import Any, Final

from netmgr.inference.protocols import Shape
from netmgr.reasons import Kind, Reason
from netmgr_proxy.account import ALLOWED, Account
from netmgr_proxy.admission import Admission, Admissions, ModelRefused
from netmgr_proxy.answering import REFUSED_FROM
from netmgr_proxy.attempts import Attempts
from netmgr_proxy.client import ClientConnection
from netmgr_proxy.exchange import Exchange
from netmgr_proxy.inference import errors
from netmgr_proxy.inference.admit import Admitted, expired
from netmgr_proxy.inference.answer_here import answer_here
from netmgr_proxy.inference.coding import plain_body
from netmgr_proxy.inference.outgoing import NotPermitted, outgoing_body
from netmgr_proxy.inference.patterns import shape_of_path
from netmgr_proxy.inference.rewrite import MalformedBody, PinnedBody
from netmgr_proxy.inference.usage import UsageMeter
from netmgr_proxy.metering import Permit
from netmgr_proxy.objects import check_own, named_objects
from netmgr_proxy.recorder import Measures
from netmgr_proxy.room import Room
from netmgr_proxy.routes import LiveRoute
from netmgr_proxy.routing.plan import CallPlan, Endpoint, Ready
from netmgr_proxy.wire.face import Refusal, Refused, render_status_line
from netmgr_proxy.wire.request import Head

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_AUTH_FAILURES: Final = (401, 403)


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
        self._admission: Admission | None = None
        self._pinned: PinnedBody | None = None
        self._attempts: Attempts | None = None
        self._permit: Permit | None = None

    async def run(self) -> bool:
        coding = self._admit().coding
        body = await self._read_body(coding)
        admission = self._admit()  # again: a body may take its time, the route change meanwhile
        self._pin(body, admission)
        if admission.admitted.answered_here:
            self._answer_here(admission.admitted)
            return self.keep_client
        await self._check_objects(admission.admitted)
        await self._reserve(admission.admitted)
        self._attempts = Attempts(self, self._plan(admission), self._settle, self._check_in_force)
        try:
            await self._attempts.run()
        finally:
            self._settle()
            if self.progress.status is not None and self.failure is None:
                self._record()
        return self.keep_client

    def judge_again(self) -> Refusal | None:
        """A change of route leaves calls under way alone; a revocation does not."""
        revoked = self.room.routes.revoked
        if revoked is None or self._admission is None:
            return None
        if self._attempts is not None:
            if not self._attempts.drop(revoked):
                return None
        elif not revoked.covers(self._admission.live):
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
        self._admission = admission
        self.shape = admission.admitted.shape
        refuse_expired(admission)
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
        self.client.write(b"\r\n".join(lines) + b"\r\n\r\n" + made.body)
        self.progress.answered = True
        self._record()

    # -- the plan ----------------------------------------------------------------------------

    def _plan(self, admission: Admission) -> CallPlan:
        """What `inference set` wrote is a plan of one endpoint."""
        endpoint = Endpoint(admission.live.route.id, admission.live)
        ready = Ready(endpoint, admission, self._pinned)

        async def prepare(_: Endpoint) -> Ready:
            return ready

        return CallPlan((endpoint,), self.shape, prepare)

    def _check_in_force(self, live: LiveRoute) -> None:
        """Before the first byte: no key and no model is used that was taken away meanwhile.

        Raises:
            Refused: policy_stale; or the sandbox is gone.
        """
        if self.room.routes.get(self.sandbox()) is not live:
            why = "the inference route was changed while the provider was connected to; try again"
            raise Refused(Refusal(Reason.POLICY_STALE, why))

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
            well = progress.status is not None and progress.status < REFUSED_FROM
            received = progress.bytes_in if well else 0
            permit.settle(self._meter, sent=progress.bytes_out, received=received)

    # -- while it lasts ----------------------------------------------------------------------

    def beat(self, now: float) -> None:
        """See Exchange."""
        if self._attempts is not None and self._attempts.answering is not None:
            self._attempts.answering.beat(now)

    def end_stream(self, refusal: Refusal) -> None:
        """Tell a client in the middle of an event stream why it ends, in its protocol's words."""
        if self._attempts is not None and self._attempts.answering is not None:
            self._attempts.answering.end_stream(refusal)

    # -- records -----------------------------------------------------------------------------

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
        single = self._attempts is not None
        self.account.refused(
            Kind.INFERENCE, refusal, self._measures(), single=single, **self._parts()
        )

    def _measures(self) -> Measures:
        return self.progress.measures(self.room.now())

    @property
    def _meter(self) -> UsageMeter:
        answering = self._attempts.answering if self._attempts else None
        return answering.meter if answering is not None else UsageMeter()

    def _parts(self) -> dict[str, Any]:
        """The record's parts that a model call has."""
        admitted = self._admission.admitted if self._admission else None
        route = admitted.route if admitted else None
        attempts, meter = self._attempts, self._meter
        tries = attempts.tries if attempts else []
        call = {
            "protocol": admitted.pattern.protocol.value if admitted else None,
            "requested_model": self._pinned.requested_model if self._pinned else None,
            "model": self._pinned.model if self._pinned else route.model if route else None,
            "provider": route.provider if route else None,
            "route": route.id if route else None,
            "attempts": len(tries),
            "ttfb_ms": attempts.clock.ttfb_ms if attempts else None,
            "tokens_in": meter.tokens_in,
            "tokens_out": meter.tokens_out,
            "tokens_cache_read": meter.cache_read,
            "tokens_cache_write": meter.cache_write,
        }
        return {"http": self.http, "inference": call}


def refuse_expired(admission: Admission) -> None:
    """The operator's key has ended: it is not sent on to be refused elsewhere.

    Raises:
        ModelRefused: so it is.
    """
    ends = admission.live.route.expires_at
    if ends is not None and ends <= time.time():
        raise ModelRefused(expired(admission.admitted.shape))
