"""Owns: how a model call comes to its plan where `inference set` says where calls go, and what both
ways to a plan have in common.

The steps of either way: a head that is admitted, a body that is read once, a plan of endpoints, and
for each of them the call made ready: its model, its credentials. The other way is
netmgr_proxy.routed's. Knows nothing of attempts.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from netmgr.inference.protocols import Protocol, Shape
from netmgr.middleware.contract import StageResult
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason
from netmgr_proxy.admission import Admission, Admissions, ModelRefused
from netmgr_proxy.inference.admit import expired
from netmgr_proxy.inference.answer_here import Made, answer_here
from netmgr_proxy.inference.outgoing import NotPermitted, outgoing_body
from netmgr_proxy.inference.patterns import shape_of_path
from netmgr_proxy.inference.rewrite import MalformedBody, PinnedBody, read_call
from netmgr_proxy.inference.usage import UsageMeter
from netmgr_proxy.objects import check_own, named_objects
from netmgr_proxy.room import Room
from netmgr_proxy.routes import LiveRoute
from netmgr_proxy.routing.facts import request_of
from netmgr_proxy.routing.plan import CallPlan, Endpoint, Ready
from netmgr_proxy.routing.trial import on_trial
from netmgr_proxy.wire.face import Refusal, Refused
from netmgr_proxy.wire.request import Head


class Asked(NamedTuple):
    """A call's head and where it came from.

    Attributes:
        address: the sandbox's.
        admissions: what is known from the connection's calls before.
        scheme: of the client's connection.
    """

    room: Room
    address: str
    head: Head
    admissions: Admissions
    scheme: str
    request_id: str

    @property
    def shape(self) -> Shape:
        """How errors are worded, as far as the path tells."""
        return shape_of_path(self.head.target.partition(b"?")[0].decode("latin-1"))


class Course:
    """The way of one call to its plan. This one leads to the sandbox's only route.

    Attributes:
        admission: of the head; None before `admit`.
        pinned: the body as the first endpoint would get it; None without one.
        trial: what a routing file on trial would have done; None where there is none.
        by_file: whether a routing file decides.
        alerts: what an operator must know of how the plan came about.
    """

    by_file = False

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.admission: Admission | None = None
        self.pinned: PinnedBody | None = None
        self.alerts: tuple[str, ...] = ()
        self.trial: dict[str, Any] | None = None

    def admit(self, sandbox: SandboxView) -> Admission:
        """Judge head and route.

        Raises:
            Refused, ModelRefused: it goes no further.
        """
        asked = self.asked
        live = asked.room.routes.get(sandbox)
        self.admission = admission = asked.admissions.admit(asked.head, live, asked.scheme)
        refuse_expired(admission)
        return admission

    @property
    def tolerated(self) -> frozenset[str]:
        """Stages whose failure is not the end of a call: something else has a say on it."""
        return frozenset()

    def examined(self, admission: Admission) -> bool:
        """Whether middlewares look at such a call: at every one that leaves."""
        admitted = admission.admitted
        return not admitted.answered_here and admitted.pattern.protocol is not Protocol.MODELS

    async def plan(
        self, sandbox: SandboxView, body: bytes, stages: Sequence[StageResult] = ()
    ) -> CallPlan | Made:
        """What may be tried; or the answer, where nobody has to be asked.

        Args:
            body: of the client, as middleware left it.
            stages: what middleware said.

        Raises:
            Refused, ModelRefused: nothing may be.
        """
        admission = self.admit(sandbox)  # again: a body may take its time, the route change
        admitted = admission.admitted
        if admitted.pattern.has_body:  # what came all the same is not sent on
            self._pin(admission, body)
        if admitted.answered_here:
            return answer_here(admitted, self.pinned)
        self._try_file(sandbox, admission, body, stages)
        await self.check_objects(sandbox, admission, self.pinned)
        endpoint = Endpoint(admission.live.route.id, admission.live)
        ready = Ready(endpoint, admission, self.pinned)

        async def prepare(_: Endpoint) -> Ready:
            return ready

        return CallPlan((endpoint,), admitted.shape, prepare, self.asked.request_id)

    def _try_file(
        self,
        sandbox: SandboxView,
        admission: Admission,
        body: bytes,
        stages: Sequence[StageResult],
    ) -> None:
        """Ask the file on trial, if there is one, what it would have done."""
        room, admitted = self.asked.room, admission.admitted
        shadow = room.generations.shadow
        if shadow is None:
            return
        call = read_call(body, admitted.named_model) if self.pinned is not None else None
        request = request_of(sandbox, admitted, call, self.asked.request_id)
        told = on_trial(shadow, request, stages, room.availability.board(room.now()), None)
        first = next(iter(told.get("plan", ())), None)
        if first is not None:
            chosen, route = shadow.endpoint(first), admitted.route
            told["differs"] = (chosen.provider, chosen.model) != (route.provider, route.model)
        self.trial = told

    def _pin(self, admission: Admission, body: bytes) -> None:
        try:
            self.pinned = outgoing_body(admission.admitted, body)
        except MalformedBody as fault:
            raise ModelRefused(fault.refusal(admission.admitted.shape)) from None
        except NotPermitted as no:
            self.pinned = no.pinned
            raise ModelRefused(no.refusal) from None

    async def check_objects(
        self, sandbox: SandboxView, admission: Admission, pinned: PinnedBody | None
    ) -> None:
        """Let a call name only objects that are the sandbox's own at that provider.

        Raises:
            ModelRefused: it names others.
        """
        admitted = admission.admitted
        if ids := named_objects(admitted, pinned.references if pinned else ()):
            await check_own(self.asked.room.daemon, sandbox.address, admitted, ids)

    def check(self, sandbox: SandboxView, live: LiveRoute) -> None:
        """Before the first byte: no key and no model is used that was taken away meanwhile.

        Raises:
            Refused: policy_stale.
        """
        if self.asked.room.routes.get(sandbox) is not live:
            why = "the inference route was changed while the provider was connected to; try again"
            raise Refused(Refusal(Reason.POLICY_STALE, why))

    @property
    def owes(self) -> bool:
        """Whether `settle` wants to be called."""
        return False

    def settle(self, endpoint: str | None, meter: UsageMeter, sent: int, received: int) -> None:
        """The call has ended.

        Args:
            endpoint: where it was answered well; None: nowhere.
            sent: bytes of the request's body.
            received: bytes of the answer's body.
        """

    def story(self) -> dict[str, Any]:
        """How the plan came about, as the record's `inference` has it."""
        admission = self.admission
        route = admission.admitted.route if admission else None
        trial = {"shadow": self.trial} if self.trial is not None else {}
        return trial | {
            "protocol": admission.admitted.pattern.protocol.value if admission else None,
            "requested_model": self.pinned.requested_model if self.pinned else None,
            "model": self.pinned.model if self.pinned else route.model if route else None,
            "provider": route.provider if route else None,
            "route": route.id if route else None,
        }


def refuse_expired(admission: Admission) -> None:
    """The operator's key has ended: it is not sent on to be refused elsewhere.

    Raises:
        ModelRefused: so it is.
    """
    ends = admission.live.route.expires_at
    if ends is not None and ends <= time.time():
        raise ModelRefused(expired(admission.admitted.shape))
