"""Owns: how a model call comes to its plan, the same for all: by the routing file in force, or by
what `inference set` wrote (netmgr_proxy.ways).

A head that is admitted, a body that is read once, a generation that decides, and for each endpoint
of the plan the call made ready: its model, its credentials. A call keeps the generation that
planned it. Knows nothing of attempts.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from netmgr.inference.protocols import Protocol
from netmgr.middleware.contract import StageResult
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason
from netmgr.routing.contract import AttemptOutcome, HealthBoard, Plan, RouteContext
from netmgr.routing.contract import Request as RouteRequest
from netmgr_proxy.admission import Admission, ModelRefused
from netmgr_proxy.affinity import Held, Thread
from netmgr_proxy.asked import Asked
from netmgr_proxy.inference.answer_here import Made, answer_here
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.outgoing import NotPermitted, outgoing_call
from netmgr_proxy.inference.permits import choose_model
from netmgr_proxy.inference.rewrite import CallBody, MalformedBody, PinnedBody, read_call
from netmgr_proxy.inference.tier import tier_of
from netmgr_proxy.inference.usage import UsageMeter
from netmgr_proxy.objects import check_own, named_objects
from netmgr_proxy.refusing import denied, nobody_to_ask, refuse_expired
from netmgr_proxy.routes import LiveRoute
from netmgr_proxy.routing.facts import answers_of, request_of
from netmgr_proxy.routing.plan import CallPlan, Endpoint, Ready
from netmgr_proxy.routing.trial import on_trial
from netmgr_proxy.spending import cost_of, most_that_it_costs, price, reserve, settle, tokens_of
from netmgr_proxy.story import Story
from netmgr_proxy.ways import Way, way_of

log = logging.getLogger(__name__)


class Course:
    """The way of one call to its plan.

    Args:
        sandbox: whose call it is.

    Attributes:
        asked: the call's head; middleware may change it.
        admission: of the head; None before `admit`.
        pinned: the body as the endpoint gets it that is tried; None without one.
        trial: what a routing file on trial would have done; None where there is none.
        alerts: what an operator must know of how the plan came about.
    """

    def __init__(self, asked: Asked, sandbox: SandboxView) -> None:
        self.asked = asked
        self.admission: Admission | None = None
        self.pinned: PinnedBody | None = None
        self.alerts: tuple[str, ...] = ()
        self.trial: dict[str, Any] | None = None
        self._way: Way = self._choose(sandbox)
        self._admitted: tuple[Asked, Way] | None = None  # what `admission` was judged by
        self._chosen: Admission | None = None  # by the endpoint that was made ready last
        self._call: CallBody | None = None
        self._context: RouteContext | None = None
        self._decided: Plan | None = None
        self._thread: Thread | None = None
        self._held = Held()
        self._reserved = 0  # number of a reservation
        self._retry_after_s = 0

    def _choose(self, sandbox: SandboxView, before: Way | None = None) -> Way:
        room = self.asked.room
        return way_of(room.generations.live, room.routes, sandbox, before)

    @property
    def by_file(self) -> bool:
        """Whether a routing file decides."""
        return self._way.by_file

    @property
    def decided(self) -> bool:
        """Whether a generation has said where the call may go, or that it may not."""
        return self._decided is not None

    # -- the head ----------------------------------------------------------------------------

    def turn(self, sandbox: SandboxView) -> None:
        """Time has passed: what is in force now decides."""
        self._way = self._choose(sandbox, self._way)

    def looked(self, sandbox: SandboxView) -> None:
        """The same once middlewares have looked. They looked for the file, if it was one: whose
        failures were let pass by that file's word is its to judge."""
        if not self.by_file:
            self.turn(sandbox)

    def admit(self) -> Admission:
        """Judge the head by the first route that has such a request at all.

        Raises:
            Refused, ModelRefused: it goes no further.
        """
        asked, first = self.asked, None
        for live in self._way.heads():
            try:
                self.admission = asked.admissions.admit(asked.head, live, asked.scheme)
            except ModelRefused as refused:
                first = first or refused
                continue
            if not self.by_file:
                refuse_expired(self.admission)
            self._admitted = (self.asked, self._way)
            return self.admission
        if first is not None:
            raise first
        raise ModelRefused(nobody_to_ask(self._way.generation, asked.shape))

    @property
    def tolerated(self) -> frozenset[str]:
        """Stages that the file requires: a call that they did not look at is `unscanned`, and goes
        only where the file lets such calls go. Any other stage's failure ends the call."""
        if not self.by_file:
            return frozenset()
        return frozenset(stage.name for stage in self._way.generation.file.stages if stage.required)

    def examined(self, admission: Admission) -> bool:
        """Whether middlewares look at such a call: at every one that leaves."""
        admitted = admission.admitted
        return not admitted.answered_here and admitted.pattern.protocol is not Protocol.MODELS

    # -- the plan ----------------------------------------------------------------------------

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
        admission, way = self._admission_now(), self._way
        admitted = admission.admitted
        if (listed := way.listed(admitted)) is not None:
            return listed
        if admitted.pattern.has_body:  # what came all the same is not sent on
            self._call = self._read(body, admission)
        if admitted.answered_here:
            return answer_here(admitted, self._pin(admission))
        await self._plan(sandbox, admission, stages)
        assert self._decided is not None
        endpoints = self._endpoints(self._decided)
        if way.rules is None:  # all is known: what cannot be sent is refused before it is paid for
            ready = await self._prepare(endpoints[0])

            async def prepared(_: Endpoint) -> Ready:
                return ready

        return CallPlan(
            endpoints,
            admitted.shape,
            self._prepare if way.rules is not None else prepared,
            self.asked.request_id,
            way.rules,
            headers=way.tells_route,
            observe=self._observe if way.generation.observed else None,
            cost=partial(cost_of, way.generation) if self.by_file else None,
        )

    def _admission_now(self) -> Admission:
        """The head's admission by what is in force now. When a credential ends is looked at again
        as the call is made ready."""
        judged, admission = self._admitted, self.admission
        if admission is None or judged is None or self.by_file:
            return self.admit()
        return admission if judged[0] is self.asked and judged[1] is self._way else self.admit()

    async def _plan(
        self, sandbox: SandboxView, admission: Admission, stages: Sequence[StageResult]
    ) -> None:
        """Have the generation decide.

        Raises:
            ModelRefused: no endpoint is permitted, or what that depends on cannot be told.
        """
        room, generation = self.asked.room, self._way.generation
        request = request_of(sandbox, admission.admitted, self._call, self.asked.request_id)
        board = room.availability.board(room.now())
        context = generation.context(request, stages, at_least=await self._earlier(request))
        await self._ratchet(context.label)
        decided = self._decide(context, board)
        if (shadow := room.generations.shadow) is not None:
            live = None if not self.by_file else decided
            self.trial = on_trial(shadow, request, stages, board, live)
            self._compare(admission)
        if generation.file.budgets:
            decided = await self._within_budgets(context, board)
        if not decided.endpoints:
            assert self._context is not None
            raise ModelRefused(denied(decided, self._context, admission, self._retry_after_s))

    def _compare(self, admission: Admission) -> None:
        """Where no file is in force, that on trial differs where it would go elsewhere."""
        shadow, told = self.asked.room.generations.shadow, self.trial
        if self.by_file or told is None or shadow is None or not told.get("plan"):
            return
        chosen, route = shadow.endpoint(told["plan"][0]), admission.admitted.route
        told["differs"] = (chosen.provider, chosen.model) != (route.provider, route.model)

    async def _earlier(self, request: RouteRequest) -> str | None:
        """The label that this call may not fall below, by what the sandbox asked before."""
        affinity = self._way.generation.file.affinity
        if not (affinity.ratchet or affinity.sticky):
            return None
        asked = self.asked
        name = request.conversation if affinity.key == "conversation" else ""
        self._thread = Thread(asked.room.daemon, asked.address, name, asked.shape)
        self._held = await self._thread.held()
        return self._held.label if affinity.ratchet else None

    async def _ratchet(self, label: str) -> None:
        """A label that this call raised holds for those after it, before anything is sent."""
        file = self._way.generation.file
        lowest = file.sensitivity.order[0]
        raised = file.affinity.ratchet and label != (self._held.label or lowest)
        if raised and self._thread is not None:
            await self._thread.raise_to(label)

    def _decide(self, context: RouteContext, board: HealthBoard) -> Plan:
        self._context = context
        self._decided = decided = self._way.generation.decide(context, board)
        self.alerts += decided.findings
        return decided

    async def _within_budgets(self, context: RouteContext, board: HealthBoard) -> Plan:
        """Reserve what the call can cost at most; a budget without room shrinks the plan. Each turn
        leaves one budget less to ask, so there is an end."""
        asked, generation = self.asked, self._way.generation
        assert self._decided is not None
        decided = self._decided
        if self.tier:
            why = (
                f"what the tier {self.tier!r} costs is not known, and the routing file has budgets"
            )
            remedy = "ask for the usual tier"
            raise ModelRefused(
                Refusal(429, Reason.BUDGET_EXCEEDED, why, remedy, close=False, shape=asked.shape)
            )
        answers = answers_of(self._call.document) if self._call is not None else 1
        while cost := most_that_it_costs(generation, context, decided.endpoints, answers):
            shape = asked.shape
            said = await reserve(asked.room.daemon, asked.address, cost, context.exceeded, shape)
            if not said.exceeded:
                self._reserved = said.number
                break
            self._retry_after_s = said.retry_after_s
            context = context._replace(exceeded=context.exceeded | said.exceeded)
            decided = self._decide(context, board)
        return decided

    def _endpoints(self, decided: Plan) -> tuple[Endpoint, ...]:
        """The plan's endpoints with their routes as they are now: these are frozen, too."""
        names = list(decided.endpoints)
        if self._way.generation.file.affinity.sticky and self._held.endpoint in names:
            names.remove(self._held.endpoint)  # only ever an order: it is permitted, or not here
            names.insert(0, self._held.endpoint)
        found = ((name, self._way.live(name)) for name in names)
        known = [Endpoint(name, live) for name, live in found if live]
        if not known:
            why = "no endpoint that may answer this call can be asked now"
            raise ModelRefused(
                Refusal(503, Reason.NO_AVAILABLE_ENDPOINT, why, close=False, shape=self.asked.shape)
            )
        return tuple(known)

    # -- one endpoint ------------------------------------------------------------------------

    async def _prepare(self, endpoint: Endpoint) -> Ready:
        """The call as that endpoint gets it: from the client's own head and body, each time."""
        asked = self.asked
        admission = asked.admissions.admit(asked.head, endpoint.live, asked.scheme)
        refuse_expired(admission)
        self.admission = self._chosen = admission
        pinned = self._pin(admission)
        sandbox = asked.room.view.get(asked.address)
        if sandbox is not None:
            await self._check_objects(sandbox, admission, pinned)
        return Ready(endpoint, admission, pinned)

    def _read(self, body: bytes, admission: Admission) -> CallBody:
        try:
            return read_call(body, admission.admitted.named_model)
        except MalformedBody as fault:
            raise ModelRefused(fault.refusal(admission.admitted.shape)) from None

    def _pin(self, admission: Admission) -> PinnedBody | None:
        """The body with that route's model.

        Raises:
            ModelRefused: it asks for a model, or for deeds of the provider, that are not allowed.
        """
        self.pinned, call, admitted = None, self._call, admission.admitted
        if call is None:
            return None
        route = admitted.route
        model = choose_model(call.requested_model, call.given, route, admitted.shape)
        if isinstance(model, Refusal):
            self.pinned = call.pinned(route.model)
            raise ModelRefused(model)
        try:
            self.pinned = pinned = outgoing_call(admitted, call, model)
        except MalformedBody as fault:  # keys that some servers take for one
            raise ModelRefused(fault.refusal(admitted.shape)) from None
        except NotPermitted as no:
            self.pinned = no.pinned
            raise ModelRefused(no.refusal) from None
        return pinned

    async def _check_objects(
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
        """Before the first byte: see Way.check."""
        self._way.check(sandbox, live)

    # -- afterwards --------------------------------------------------------------------------

    @property
    def tier(self) -> str:
        """That the body asks for; '' is the usual one."""
        return tier_of(self._call.document) if self._call is not None else ""

    @property
    def owes(self) -> bool:
        """Whether `settle` wants to be called."""
        return bool(self._reserved) or self._thread is not None

    def settle(self, endpoint: str | None, meter: UsageMeter, sent: int, received: int) -> None:
        """The call has ended.

        Args:
            endpoint: where it was answered well; None: nowhere.
            sent: bytes of the request's body.
            received: bytes of the answer's body.
        """
        thread, self._thread = self._thread, None
        generation = self._way.generation
        if thread is not None and endpoint is not None and generation.file.affinity.sticky:
            thread.answered_by(endpoint)
        number, self._reserved = self._reserved, 0
        if number:
            tokens = tokens_of(meter, sent, received)
            cost = price(generation, endpoint, *tokens) if endpoint else 0
            settle(self.asked.room.daemon, number, cost)

    def _observe(self, outcome: AttemptOutcome) -> None:
        if finding := self._way.generation.observe(outcome):
            log.warning("%s", finding)

    @property
    def story(self) -> Story:
        """How the plan came about."""
        return Story(
            self.admission,
            self._chosen if self.by_file else self.admission,
            self._call,
            self.pinned,
            self.trial,
            self.by_file,
            self._way.generation if self._decided is not None else None,
            self._decided,
            self._context,
        )
