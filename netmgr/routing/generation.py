"""Owns: one routing file in force: what is permitted, in which order, and why not.

Each requirement is compiled to an integer mask over the endpoints; a decision ANDs the masks of the
rules that hold, and is remembered by the facts that it depended on. Reasons are computed only where
somebody wants them. Knows no clock, no socket and no prompt.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from netmgr.middleware.contract import StageResult
from netmgr.routing.contract import (
    DEFAULT_ROUTE,
    NO_HEALTH,
    AttemptOutcome,
    EndpointId,
    EndpointView,
    HealthBoard,
    Plan,
    Request,
    RouteContext,
)
from netmgr.routing.evidence import Promoter
from netmgr.routing.language import Condition, Endpoint, Failure, Requirement, RoutingFile
from netmgr.routing.order import Orders, Router
from netmgr.routing.predicates import Predicate, clearance_rank, holds, meets, predicate

MAX_TOLD: Final = 64  # rejected endpoints in a record
MAX_MEMO: Final = 4096  # decisions remembered: tenants times labels times needs of a busy host


@dataclass(frozen=True, slots=True)
class Binding:
    """What the daemon knows of an endpoint's provider.

    Attributes:
        protocols: what it speaks; None where that is not known (`route check` of a file alone).
        credential: whether there is one that has not ended.
    """

    protocols: frozenset[str] | None = None
    credential: bool = True


_UNBOUND: Final = Binding()


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule as it is asked: what has to hold, and the endpoints that it leaves, a bit each."""

    id: str
    conditions: tuple[Condition, ...]
    when: tuple[Predicate, ...]
    mask: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """A remembered decision.

    Attributes:
        tick: of the health that it was ordered by; None where health had no say.
    """

    mask: int
    prefer: int
    plan: Plan
    tick: int | None


class Generation:
    """Decides. One object serves all calls of a process.

    Args:
        number: of the revision, for plans and records.
        bindings: by endpoint; None where no provider is known.
        router: what orders; None for the `prefer` lists alone.
        trouble: why the file's own router does not order; '' where it does.

    Attributes:
        unreadable: whether the operator's own file could not be read: no call is answered.
    """

    def __init__(
        self,
        file: RoutingFile,
        number: int = 0,
        bindings: Mapping[EndpointId, Binding] | None = None,
        router: Router | None = None,
        trouble: str = "",
    ) -> None:
        self.file = file
        self.trouble = trouble
        self.unreadable = False
        self.number = number
        self._promoter = Promoter(file.sensitivity, file.stages)
        self._orders = Orders(file.endpoints, file.routes, file.prefer)
        self._router = router
        self._memo: dict[tuple[Any, ...], _Kept] = {}
        self._reasons: dict[tuple[Any, ...], dict[EndpointId, str]] = {}
        self._views: tuple[int, dict[EndpointId, EndpointView]] = (-1, {})
        self._by_id = {each.id: each for each in file.endpoints}
        self._compile(bindings or {})

    @property
    def failure(self) -> Failure:
        """How plans of this generation are travelled."""
        return self.file.failure

    def endpoint(self, name: EndpointId) -> Endpoint:
        """One endpoint. KeyError where there is none of that name."""
        return self._by_id[name]

    # -- deciding ----------------------------------------------------------------------------

    def context(
        self,
        request: Request,
        stages: Iterable[StageResult] = (),
        *,
        at_least: str | None = None,
        exceeded: frozenset[str] = frozenset(),
    ) -> RouteContext:
        """A request as rules see it.

        Args:
            stages: what the middleware answered.
            at_least: the label of earlier calls that this one may not fall below.
            exceeded: ids of budgets that are used up for it.
        """
        found = self._promoter.evidence(stages, at_least)
        model = request.model
        # By position: see netmgr_proxy.routing.facts.
        return RouteContext(
            request.request_id,
            request.sandbox,
            request.tenant,
            request.workload,
            request.protocol,
            model if model is not None and model in self.file.routes else DEFAULT_ROUTE,
            request.stream,
            request.needs,
            request.tokens_in,
            request.tokens_out_max,
            *found,
            exceeded,
            self.number,
        )

    def decide(self, ctx: RouteContext, health: HealthBoard = NO_HEALTH) -> Plan:
        """The plan for one call: the permitted endpoints in order, frozen."""
        key = self._key(ctx)
        kept = self._memo.get(key)
        if kept is None or kept.tick not in (None, health.tick):
            kept = self._remember(key, ctx, health)
        if self._router is None or len(kept.plan.endpoints) < 2:
            return kept.plan
        return self._routed(self._router, ctx, kept.plan, health)

    def rejected(self, ctx: RouteContext) -> dict[EndpointId, str]:
        """Of the route's endpoints that are not permitted, the first rule that removed each."""
        key = self._key(ctx)
        kept = self._reasons.get(key)
        if kept is None:
            if len(self._reasons) >= MAX_MEMO:
                self._reasons.clear()
            kept = self._reasons[key] = self._why(ctx)
        return kept

    def _why(self, ctx: RouteContext) -> dict[EndpointId, str]:
        found: dict[EndpointId, str] = {}
        tests = [*self._always(ctx), *((r.id, r.mask) for r in self._rules if holds(r.when, ctx))]
        tests += [(name, mask) for name, mask in self._budgets if name in ctx.exceeded]
        for name in self.file.routes[ctx.route]:
            bit = self._bits[name]
            first = next((rule for rule, mask in tests if not mask & bit), None)
            if first is not None:
                found[name] = first
        return found

    @property
    def observed(self) -> bool:
        """Whether anybody wants to know how attempts end."""
        return self._router is not None

    def told(self, ctx: RouteContext) -> dict[EndpointId, str]:
        """The same for a record, which has to stay short: the first MAX_TOLD."""
        return dict(islice(self.rejected(ctx).items(), MAX_TOLD))

    def observe(self, outcome: AttemptOutcome) -> str:
        """An attempt has ended; a finding where the router misbehaves, or ''."""
        return self._router.observe(outcome) if self._router is not None else ""

    def rule_effects(self) -> list[tuple[str, bool, bool]]:
        """Of each rule: (its id, whether every endpoint meets it, whether none does)."""
        return [(rule.id, rule.mask == self._all, not rule.mask) for rule in self._rules]

    # -- for who looks at all requests at once (netmgr.routing.sweep) -------------------------

    def compiled_rules(self) -> tuple[CompiledRule, ...]:
        """The file's rules."""
        return self._rules

    def always_on(self, ctx: RouteContext) -> list[tuple[str, int]]:
        """What no file can remove leaves of all endpoints, and what the route does."""
        return [("route", self._routes[ctx.route]), *self._always(ctx)]

    def named(self, mask: int) -> frozenset[EndpointId]:
        """Whose bits those are."""
        return frozenset(name for name, bit in self._bits.items() if mask & bit)

    def _routed(self, router: Router, ctx: RouteContext, plan: Plan, health: HealthBoard) -> Plan:
        views = self._views_of(health)
        ids, finding = router.order(ctx, [views[name] for name in plan.endpoints])
        findings = (finding,) if finding else ()
        chosen = ids or plan.endpoints
        return Plan(chosen, plan.generation, plan.label, plan.route, plan.rejected, findings)

    def _remember(self, key: tuple[Any, ...], ctx: RouteContext, health: HealthBoard) -> _Kept:
        mask, index = self._permitted(ctx), self._preference(ctx)
        ids = self._orders.select(mask, ctx.route, index, health)
        rejected = self.rejected(ctx) if not ids else {}
        plan = Plan(ids, self.number, ctx.label, ctx.route, rejected)
        by_health = index >= 0 and self._orders.latency[index]
        kept = _Kept(mask, index, plan, health.tick if by_health else None)
        if len(self._memo) >= MAX_MEMO:
            self._memo.clear()
        self._memo[key] = kept
        return kept

    def _permitted(self, ctx: RouteContext) -> int:
        mask = self._routes[ctx.route]
        for _, always in self._always(ctx):
            mask &= always
        for rule in self._rules:
            if mask & ~rule.mask and holds(rule.when, ctx):
                mask &= rule.mask
        for name, budget in self._budgets:
            if name in ctx.exceeded:
                mask &= budget
        return mask

    def _always(self, ctx: RouteContext) -> list[tuple[str, int]]:
        """The rules that no file can remove, as (id, mask)."""
        able = self._all
        for need in ctx.needs:
            able &= self._able.get(need, 0)
        room = self._room[bisect_right(self._windows, ctx.tokens_in + ctx.tokens_out_max)]
        return [
            ("disabled", self._enabled),
            ("credential", self._credited),
            ("protocol", self._speaking.get(ctx.protocol, self._any_protocol)),
            ("capability", able),
            ("context", room),
            ("clearance", self._cleared[ctx.label]),
        ]

    def _preference(self, ctx: RouteContext) -> int:
        for index, when in enumerate(self._prefer):
            if holds(when, ctx):
                return index
        return -1

    def _key(self, ctx: RouteContext) -> tuple[Any, ...]:
        """Everything that the permitted set and the default order depend on."""
        workload, sets = ctx.workload, ctx.sets
        return (
            ctx.route,
            ctx.protocol,
            ctx.label,
            ctx.needs,
            bisect_right(self._steps, ctx.tokens_in + ctx.tokens_out_max),
            ctx.flags,
            ctx.exceeded,
            ctx.tenant if self._asks_tenant else None,
            ctx.sandbox_id if self._asks_sandbox else None,
            ctx.stream if self._asks_stream else None,
            tuple([workload.get(key) for key in self._asked_labels]),
            tuple([sets.get(name) for name in self._asked_sets]),
        )

    def _views_of(self, health: HealthBoard) -> dict[EndpointId, EndpointView]:
        tick, views = self._views
        if tick != health.tick or not views:
            views = {
                each.id: EndpointView(each.id, each.model, each.facts, health.of(each.id))
                for each in self.file.endpoints
            }
            self._views = (health.tick, views)
        return views

    # -- compiling ---------------------------------------------------------------------------

    def _compile(self, bindings: Mapping[EndpointId, Binding]) -> None:
        file = self.file
        self._bits = {each.id: 1 << number for number, each in enumerate(file.endpoints)}
        self._all = (1 << len(file.endpoints)) - 1
        self._routes = {
            name: self._mask(each for each in file.endpoints if each.id in ids)
            for name, ids in file.routes.items()
        }
        self._rules = tuple(
            CompiledRule(
                rule.id, rule.when, self._predicates(rule.when), self._meeting(rule.require)
            )
            for rule in file.rules
        )
        self._budgets = tuple(
            (b.id, 0 if b.require is None else self._meeting(b.require)) for b in file.budgets
        )
        self._prefer = tuple(self._predicates(each.when) for each in file.prefer)
        self._compile_always(bindings)
        self._compile_key()

    def _compile_always(self, bindings: Mapping[EndpointId, Binding]) -> None:
        endpoints, known = self.file.endpoints, self.file.sensitivity
        bound = {each.id: bindings.get(each.id, _UNBOUND) for each in endpoints}
        self._enabled = self._mask(e for e in endpoints if e.enabled)
        self._credited = self._mask(e for e in endpoints if bound[e.id].credential)
        self._any_protocol = self._mask(e for e in endpoints if bound[e.id].protocols is None)
        spoken = {p for each in bound.values() for p in each.protocols or ()}
        self._speaking = {
            protocol: self._any_protocol
            | self._mask(e for e in endpoints if protocol in (bound[e.id].protocols or ()))
            for protocol in spoken
        }
        able = {name for each in endpoints for name in each.facts.capabilities}
        self._able = {
            name: self._mask(e for e in endpoints if name in e.facts.capabilities) for name in able
        }
        ranks = {each.id: clearance_rank(each.facts, known) for each in endpoints}
        self._cleared = {
            label: self._mask(e for e in endpoints if ranks[e.id] >= rank)
            for rank, label in enumerate(known.order)
        }
        # Window n is too small from `_windows[n]` tokens on.
        windows = {e.facts.context + 1 for e in endpoints if e.facts.context is not None}
        self._windows = sorted(windows)
        self._room = [
            self._mask(e for e in endpoints if e.facts.context is None or e.facts.context >= least)
            for least in (0, *self._windows)
        ]

    def _compile_key(self) -> None:
        """Which facts can make a difference at all: what nobody asks is no part of a key."""
        file = self.file
        asked = [c for rule in file.rules for c in rule.when]
        asked += [c for each in file.prefer for c in each.when]
        facts = {condition.fact for condition in asked}
        promoted = {p.name for s in file.stages for p in s.promotions if p.type == "set"}
        steps = {c.values[0] for c in asked if c.fact == "tokens"}
        self._steps = sorted(steps | set(self._windows))
        self._asks_tenant = "tenant" in facts
        self._asks_sandbox = "sandbox" in facts
        self._asks_stream = "stream" in facts
        self._asked_labels = tuple(sorted({c.key for c in asked if c.fact == "workload"}))
        self._asked_sets = tuple(sorted(facts & promoted))

    def _predicates(self, when: Iterable[Any]) -> tuple[Predicate, ...]:
        return tuple(predicate(each, self.file.sensitivity) for each in when)

    def _meeting(self, require: Iterable[Requirement]) -> int:
        tests = [meets(each, self.file.sensitivity) for each in require]
        return self._mask(e for e in self.file.endpoints if all(test(e) for test in tests))

    def _mask(self, endpoints: Iterable[Endpoint]) -> int:
        mask = 0
        for each in endpoints:
            mask |= self._bits[each.id]
        return mask
