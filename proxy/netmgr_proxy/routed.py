"""Owns: how a model call comes to its plan where a routing file is in force.

The file's generation decides (netmgr.routing.generation); here its question is put together and its
answer made into something that can be travelled. A call keeps the generation that planned it.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from netmgr.inference.protocols import Protocol
from netmgr.middleware.contract import StageResult
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason
from netmgr.routing.contract import AttemptOutcome, EndpointId, HealthBoard, Plan, RouteContext
from netmgr.routing.contract import Request as RouteRequest
from netmgr.routing.generation import Generation
from netmgr_proxy.admission import Admission, ModelRefused
from netmgr_proxy.affinity import Held, Thread
from netmgr_proxy.courses import Asked, Course, refuse_expired
from netmgr_proxy.inference.answer_here import Made, list_models
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.outgoing import NotPermitted, outgoing_call
from netmgr_proxy.inference.rewrite import CallBody, MalformedBody, read_call
from netmgr_proxy.inference.usage import UsageMeter
from netmgr_proxy.routes import LiveRoute
from netmgr_proxy.routing.facts import request_of
from netmgr_proxy.routing.plan import CallPlan, Endpoint, Ready
from netmgr_proxy.routing.trial import on_trial
from netmgr_proxy.spending import most_that_it_costs, price, reserve, settle, tokens_of

log = logging.getLogger(__name__)

_TELLS_ROUTE: Final = "route"  # of `observe: headers`


class RoutedCourse(Course):
    """The way of one call through a routing file.

    Args:
        generation: of the file in force.
    """

    by_file = True

    def __init__(self, asked: Asked, generation: Generation) -> None:
        super().__init__(asked)
        self._generation = generation
        self._call: CallBody | None = None
        self._context: RouteContext | None = None
        self._decided: Plan | None = None
        self._thread: Thread | None = None
        self._held = Held()
        self._reserved = 0  # number of a reservation
        self._retry_after_s = 0

    @property
    def tolerated(self) -> frozenset[str]:
        """Stages that the file requires: a call that they did not look at is `unscanned`, and goes
        only where the file lets such calls go."""
        return frozenset(stage.name for stage in self._generation.file.stages if stage.required)

    def admit(self, sandbox: SandboxView) -> Admission:
        """Judge the head by the first endpoint that has such a request at all."""
        asked, first = self.asked, None
        for endpoint in self._generation.file.endpoints:
            live = self._live(endpoint.id)
            if live is None:
                continue
            try:
                self.admission = asked.admissions.admit(asked.head, live, asked.scheme)
            except ModelRefused as refused:
                first = first or refused
                continue
            return self.admission
        if first is not None:
            raise first
        why = "the routing file has no endpoint that can be asked"
        raise ModelRefused(Refusal(503, Reason.NOT_CONFIGURED, why, close=False, shape=asked.shape))

    async def plan(
        self, sandbox: SandboxView, body: bytes, stages: Sequence[StageResult] = ()
    ) -> CallPlan | Made:
        admission, room = self.admit(sandbox), self.asked.room
        admitted, generation = admission.admitted, self._generation
        if admitted.pattern.protocol is Protocol.MODELS:
            return list_models(admitted, sorted(generation.file.routes))
        if admitted.pattern.has_body:
            self._call = self._read(body, admission)
        request = request_of(sandbox, admitted, self._call, self.asked.request_id)
        board = room.availability.board(room.now())
        context = generation.context(request, stages, at_least=await self._earlier(request))
        await self._ratchet(context.label)
        decided = self._decide(context, board)
        if (shadow := room.generations.shadow) is not None:
            self.trial = on_trial(shadow, request, stages, board, decided)
        if generation.file.budgets:
            decided = await self._within_budgets(context, board)
        if not decided.endpoints:
            assert self._context is not None
            raise ModelRefused(denied(decided, self._context, admission, self._retry_after_s))
        return CallPlan(
            self._endpoints(decided),
            admitted.shape,
            self._prepare,
            self.asked.request_id,
            generation.failure,
            headers=generation.file.observe.headers == _TELLS_ROUTE,
            observe=self._observe if generation.observed else None,
        )

    async def _earlier(self, request: RouteRequest) -> str | None:
        """The label that this call may not fall below, by what the sandbox asked before."""
        affinity = self._generation.file.affinity
        if not (affinity.ratchet or affinity.sticky):
            return None
        asked = self.asked
        name = request.conversation if affinity.key == "conversation" else ""
        self._thread = Thread(asked.room.daemon, asked.address, name, asked.shape)
        self._held = await self._thread.held()
        return self._held.label if affinity.ratchet else None

    async def _ratchet(self, label: str) -> None:
        """A label that this call raised holds for those after it, before anything is sent."""
        file = self._generation.file
        lowest = file.sensitivity.order[0]
        raised = file.affinity.ratchet and label != (self._held.label or lowest)
        if raised and self._thread is not None:
            await self._thread.raise_to(label)

    def _decide(self, context: RouteContext, board: HealthBoard) -> Plan:
        self._context = context
        self._decided = decided = self._generation.decide(context, board)
        self.alerts += decided.findings
        return decided

    async def _within_budgets(self, context: RouteContext, board: HealthBoard) -> Plan:
        """Reserve what the call can cost at most; a budget without room shrinks the plan. Each turn
        leaves one budget less to ask, so there is an end."""
        asked, generation = self.asked, self._generation
        assert self._decided is not None
        decided = self._decided
        while cost := most_that_it_costs(generation, context, decided.endpoints):
            shape = asked.shape
            said = await reserve(asked.room.daemon, asked.address, cost, context.exceeded, shape)
            if not said.exceeded:
                self._reserved = said.number
                break
            self._retry_after_s = said.retry_after_s
            context = context._replace(exceeded=context.exceeded | said.exceeded)
            decided = self._decide(context, board)
        return decided

    @property
    def owes(self) -> bool:
        return bool(self._reserved) or self._thread is not None

    def settle(self, endpoint: str | None, meter: UsageMeter, sent: int, received: int) -> None:
        thread, self._thread = self._thread, None
        if thread is not None and endpoint is not None and self._generation.file.affinity.sticky:
            thread.answered_by(endpoint)
        number, self._reserved = self._reserved, 0
        if number:
            tokens = tokens_of(meter, sent, received)
            cost = price(self._generation, endpoint, *tokens) if endpoint else 0
            settle(self.asked.room.daemon, number, cost)

    def _observe(self, outcome: AttemptOutcome) -> None:
        if finding := self._generation.observe(outcome):
            log.warning("%s", finding)

    def _live(self, endpoint: EndpointId) -> LiveRoute | None:
        room = self.asked.room
        return room.routes.bounded(endpoint, self._generation.failure)

    def _read(self, body: bytes, admission: Admission) -> CallBody:
        try:
            return read_call(body, admission.admitted.named_model)
        except MalformedBody as fault:
            raise ModelRefused(fault.refusal(admission.admitted.shape)) from None

    def _endpoints(self, decided: Plan) -> tuple[Endpoint, ...]:
        """The plan's endpoints with their routes as they are now: these are frozen, too."""
        names = list(decided.endpoints)
        if self._generation.file.affinity.sticky and self._held.endpoint in names:
            names.remove(self._held.endpoint)  # only ever an order: it is permitted, or not here
            names.insert(0, self._held.endpoint)
        found = ((name, self._live(name)) for name in names)
        known = [Endpoint(name, live) for name, live in found if live]
        if not known:
            why = "no endpoint that may answer this call can be asked now"
            raise ModelRefused(
                Refusal(503, Reason.NO_AVAILABLE_ENDPOINT, why, close=False, shape=self.asked.shape)
            )
        return tuple(known)

    async def _prepare(self, endpoint: Endpoint) -> Ready:
        """The call as that endpoint gets it: from the client's own head and body, each time."""
        asked = self.asked
        admission = asked.admissions.admit(asked.head, endpoint.live, asked.scheme)
        refuse_expired(admission)
        self.admission, self.pinned = admission, None
        if self._call is not None:
            try:
                model = endpoint.live.route.model
                self.pinned = outgoing_call(admission.admitted, self._call, model)
            except NotPermitted as no:
                self.pinned = no.pinned
                raise ModelRefused(no.refusal) from None
        sandbox = asked.room.view.get(asked.address)
        if sandbox is not None:
            await self.check_objects(sandbox, admission, self.pinned)
        return Ready(endpoint, admission, self.pinned)

    def check(self, sandbox: SandboxView, live: LiveRoute) -> None:
        """A plan is frozen: a new file changes it no more, and what was revoked has left it."""

    def story(self) -> dict[str, Any]:
        told = super().story()
        call, decided, context = self._call, self._decided, self._context
        if call is not None:
            told["requested_model"] = call.requested_model
        if decided is not None and context is not None:
            told |= {
                "route": decided.route,
                "label": decided.label,
                "generation": decided.generation,
                "plan": list(decided.endpoints),
                "rejected": self._generation.told(context),
                "unscanned": list(context.unscanned),
                "facts": context.to_doc(),
            }
        return told


def denied(
    decided: Plan, context: RouteContext, admission: Admission, retry_after_s: int = 0
) -> Refusal:
    """What the client is told where nothing is permitted: rules, and no endpoint.

    Args:
        retry_after_s: when a budget that is used up may have room.
    """
    rules = tuple(dict.fromkeys(decided.rejected.values()))
    if spent := [rule for rule in rules if rule in context.exceeded]:
        return Refusal(
            429,
            Reason.BUDGET_EXCEEDED,
            f"the budget for this call is used up: {', '.join(spent)}",
            close=False,
            shape=admission.admitted.shape,
            retry_after_s=retry_after_s or None,
            final=True,
            rule=",".join(rules),
        )
    why = "no model endpoint may answer this call"
    if rules:
        why += f"; what rules them out: {', '.join(rules)}"
    if context.unscanned:
        stages = ", ".join(context.unscanned)
        why += f"; it counts as {context.label}, since it is unscanned by {stages}"
    return Refusal(
        403,
        Reason.NO_PERMITTED_ENDPOINT,
        why,
        close=False,
        shape=admission.admitted.shape,
        final=True,
        rule=",".join(rules) or None,
    )
