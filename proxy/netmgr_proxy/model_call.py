"""Owns: one request to inference.local, from its head to its record: admitted, read, planned, sent
to one endpoint of the plan after the other until one has answered, counted and told.

All rules are in netmgr_proxy.inference and netmgr_proxy.routing; here is only the order of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from netmgr.inference.protocols import Shape
from netmgr.middleware.chain import Stage
from netmgr.middleware.request import Phase, changed
from netmgr.process.view import SandboxView
from netmgr.reasons import Kind, Reason, Verdict
from netmgr_proxy.account import Account
from netmgr_proxy.admission import Admissions, ModelRefused
from netmgr_proxy.answering import REFUSED_FROM
from netmgr_proxy.asked import Asked
from netmgr_proxy.attempts import Attempts
from netmgr_proxy.client import ClientConnection
from netmgr_proxy.courses import Course
from netmgr_proxy.examination import Examination, stage_request
from netmgr_proxy.exchange import Exchange
from netmgr_proxy.forms import Like
from netmgr_proxy.inference import errors
from netmgr_proxy.inference.answer_here import Made
from netmgr_proxy.inference.coding import plain_body
from netmgr_proxy.inference.usage import UsageMeter
from netmgr_proxy.metering import Permit
from netmgr_proxy.recorder import Measures
from netmgr_proxy.room import Room
from netmgr_proxy.routes import LiveRoute
from netmgr_proxy.routing.plan import CallPlan
from netmgr_proxy.story import NO_STORY
from netmgr_proxy.wire.face import Refusal, render_status_line
from netmgr_proxy.wire.request import Head

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NOTHING_TOLD: Final = UsageMeter()
_AUTH_FAILURES: Final = (401, 403)


class ModelCall(Exchange):
    """One model call.

    Args:
        admissions: what is known from the connection's call before.

    Attributes:
        request_id: what client and operator call it.
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
        self.request_id = room.next_request_id()
        address = account.caller.address
        self._asked = Asked(room, address, head, admissions, scheme, self.request_id)
        self._course: Course | None = None
        self._attempts: Attempts | None = None
        self._permit: Permit | None = None
        self._examination: Examination | None = None

    @property
    def shape(self) -> Shape:
        """How errors are worded."""
        admission = self._course.admission if self._course is not None else None
        return admission.admitted.shape if admission is not None else self._asked.shape

    async def run(self) -> bool:
        self._course = course = Course(self._asked, self.sandbox())
        admission = course.admit()
        body = await self._read_body(admission.coding)
        # A body may take its time, and so may middlewares: what is in force changes meanwhile.
        course.turn(sandbox := self.sandbox())
        stages = sandbox.policy.middlewares.chain(self.account.target)
        if stages and course.examined(admission):
            body = await self._examine(course, sandbox, stages, body)
            course.looked(sandbox := self.sandbox())
        told = self._examination.outcome.results if self._examination else ()
        try:
            planned = await course.plan(sandbox, body, told)
        finally:
            for alert in course.alerts:
                self.account.found(Verdict.FAILED, Reason.ALLOWED, alert)
        self.progress.bytes_out = len(body) if admission.admitted.pattern.has_body else 0
        if isinstance(planned, Made):
            self._answer_here(planned)
            return self.keep_client
        try:
            await self._reserve(sandbox, planned)
            self._attempts = Attempts(self, planned, self._settle, self._check)
            await self._attempts.run()
        finally:
            self._settle()
            if self.progress.status is not None and self.failure is None:
                self._record()
        return self.keep_client

    def _check(self, live: LiveRoute) -> None:
        """Connected: whether the call may still go there; see Course.check."""
        assert self._course is not None
        self._course.check(self.sandbox(), live)

    def judge_again(self) -> Refusal | None:
        """A change of route leaves calls under way alone; a revocation does not."""
        revoked = self.room.routes.revoked
        if revoked is None or self._course is None or self._course.admission is None:
            return None
        if self._attempts is not None:
            if not self._attempts.drop(revoked):
                return None
        elif not revoked.covers(self._course.admission.live):
            return None
        return Refusal(Reason.NOT_CONFIGURED, "the operator revoked the route of this call")

    def break_off(self, refusal: Refusal) -> bool:
        """See Exchange: a client in the middle of a stream is told why it ends."""
        if not self.progress.answered or self.over:
            return False
        self.fail(refusal)
        return True

    async def _read_body(self, coding: bytes) -> bytes:
        most = self.room.limits.inference_body_bytes
        if self.head.expects_continue and (self.head.length or 0) <= most:
            self.client.write(_CONTINUE)
        body = await self.read_whole_body(most)
        plain = plain_body(body, coding, most, self.shape) if coding else body
        if isinstance(plain, errors.Refusal):
            raise ModelRefused(plain)
        return plain

    async def _examine(
        self, course: Course, sandbox: SandboxView, stages: Sequence[Stage], body: bytes
    ) -> bytes:
        """Have middlewares look; the body as they leave it.

        Raises:
            Refused: one of them says no, or did not look, and no routing file has a say on that.
        """
        self._examination = Examination(self.room, self.client, self.account, stages)
        self._examination.require_room()
        request = stage_request(Phase.INFERENCE, sandbox, self.account.target, self.head, body)
        outcome = await self._examination.ask(request, course.tolerated)
        if outcome.headers:
            self.head = replace(self.head, fields=changed(self.head.fields, outcome.headers))
            course.asked = course.asked._replace(head=self.head)
        return body if outcome.body is None else outcome.body

    def _answer_here(self, made: Made) -> None:
        """Answer what no provider is asked for."""
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

    # -- the limits --------------------------------------------------------------------------

    async def _reserve(self, sandbox: SandboxView, plan: CallPlan) -> None:
        course, metered = self._course, self.room.metered
        if course is None or course.admission is None or not metered.covers(sandbox):
            return
        route = plan.endpoints[0].live.route
        model = course.pinned.model if course.pinned else route.model
        self._permit = await metered.reserve(
            self.room.daemon, sandbox, course.admission.admitted, route.provider, model, course.tier
        )

    def _settle(self) -> None:
        """Told before the record, which may wait for the process: the next call asks at once."""
        permit, self._permit = self._permit, None
        course, progress, attempts = self._course, self.progress, self._attempts
        if permit is None and (course is None or not course.owes):
            return
        well = progress.status is not None and progress.status < REFUSED_FROM
        received = progress.bytes_in if well else 0
        if permit is not None:
            permit.settle(
                self._meter,
                sent=progress.bytes_out,
                received=received,
                served=self._served(course) if received else None,
            )
        if course is not None:
            present = attempts.present if attempts is not None and well else None
            endpoint = present.endpoint.id if present is not None else None
            course.settle(endpoint, self._meter, progress.bytes_out, received)

    def _served(self, course: Course | None) -> tuple[str, str] | None:
        """Provider and model that answered, where a plan had several."""
        present = self._attempts.present if self._attempts is not None else None
        if present is None or course is None or not course.by_file:
            return None
        route = present.endpoint.live.route
        return route.provider, route.model

    # -- while it lasts ----------------------------------------------------------------------

    def beat(self, now: float) -> None:
        """See Exchange."""
        if self._attempts is not None and self._attempts.answering is not None:
            self._attempts.answering.beat(now)

    def end_stream(self, refusal: Refusal) -> bool:
        """Tell a client in the middle of an event stream why it ends, in its protocol's words.

        Returns:
            whether it could be told.
        """
        answering = self._attempts.answering if self._attempts is not None else None
        return answering is not None and answering.end_stream(refusal)

    # -- records -----------------------------------------------------------------------------

    def _record(self) -> None:
        status = self.progress.status
        if status in _AUTH_FAILURES:
            why = f"the provider refused the operator's credential (HTTP {status})"
            self.record_failure(Refusal(Reason.UPSTREAM_AUTH, why))
            return
        measures = self._measures()
        self.account.answered(self._like(measures), measures, self._parts)

    def _like(self, measures: Measures) -> Like | None:
        """What the record depends on; None where it is not an ordinary one."""
        attempts, meter = self._attempts, self._meter
        story = self._course.story if self._course is not None else None
        same = story.same if story is not None else None
        if same is None or story is None or attempts is None or self._examination is not None:
            return None
        present = attempts.present
        if present is None or len(attempts.tries) != 1 or attempts.tries[0].reason is not None:
            return None
        made = attempts.tries[0]
        numbers = (
            self.request_id,
            story.tokens_in,
            attempts.clock.ttfb_ms,
            meter.tokens_in,
            meter.tokens_out,
            meter.cache_read,
            meter.cache_write,
            made.ms,
            made.cost,
            measures["bytes_in"],
            measures["bytes_out"],
            measures["duration_ms"],
        )
        asked = (self.progress.status, made.status, made.endpoint, made.provider)
        return Like(same, (*asked, present.endpoint.id, *story.equal), numbers)

    def record_failure(self, refusal: Refusal) -> None:
        """A denial or failure of this call."""
        # One that was sent is told by itself: its tokens are counted. So is one of which a plan was
        # decided: `route why` finds it by its id.
        single = self._attempts is not None
        if not single and self._course is not None and self._course.decided:
            single = self.room.recorder.tells_alone(self.account.sandbox_name)
        self.account.refused(
            Kind.INFERENCE, refusal, self._measures(), single=single, **self._parts()
        )

    def _measures(self) -> Measures:
        return self.progress.measures(self.room.now())

    @property
    def _meter(self) -> UsageMeter:
        answering = self._attempts.answering if self._attempts else None
        return answering.meter if answering is not None else _NOTHING_TOLD

    def _parts(self) -> dict[str, Any]:
        """The record's parts that a model call has."""
        story = self._course.story.told() if self._course else NO_STORY
        attempts, meter = self._attempts, self._meter
        call = {
            "request_id": self.request_id,
            **story,
            "attempts": len(attempts.tries) if attempts else 0,
            "ttfb_ms": attempts.clock.ttfb_ms if attempts else None,
            "tokens_in": meter.tokens_in,
            "tokens_out": meter.tokens_out,
            "tokens_cache_read": meter.cache_read,
            "tokens_cache_write": meter.cache_write,
        }
        if attempts is not None:
            present = attempts.present
            call["endpoint"] = present.endpoint.id if present else None
            call["tried"] = [each.to_doc() for each in attempts.tries]
        looked = self._examination.parts if self._examination else {}
        return {"http": self.http, "inference": call, **looked}
