"""Owns: what endpoints of the routing file come to: their providers' routes and what binds them.

Workers get the credentials of endpoints of the file in force and of no other. Which file that is
says netmgr.daemon.routing_desk.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from netmgr.daemon.core import Core
from netmgr.daemon.roster import Op
from netmgr.errors import NetmgrError, did_you_mean
from netmgr.inference.route import InferenceRoute as ResolvedRoute
from netmgr.inference.scope import endpoint_scope
from netmgr.policy.problems import PolicyError, Problem
from netmgr.routing.contract import EndpointId
from netmgr.routing.generation import Binding
from netmgr.routing.language import Budget, Endpoint, RoutingFile
from netmgr.routing.schema import parse_routing, routing_from_doc
from netmgr.routing.wire import generation_to_wire
from netmgr.store import InferenceRoute, RoutingRevision

log = logging.getLogger(__name__)

Routes = dict[EndpointId, dict[str, Any]]
# What holds where a stored file cannot be read: not the routes that it stands over.
_NOTHING: Final = {
    "version": 1,
    "endpoints": {"none": {"provider": "none", "model": "none", "enabled": False}},
}
_NO_CREDENTIAL = Binding(frozenset(), credential=False)


@dataclass(frozen=True, slots=True)
class Held:
    """A file in its place.

    Attributes:
        number: of its revision.
        unreadable: why the stored text is not what is in its place: nothing is, then.
    """

    file: RoutingFile
    number: int
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a file's endpoints come to."""

    routes: Routes = field(default_factory=dict)
    bindings: Mapping[EndpointId, Binding] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


class EndpointRoutes:
    """The routing files in force and on trial, as workers know them.

    Args:
        resolve_now: what a stored route comes to; called on the store's thread.

    Attributes:
        live: the file in force.
        shadow: the file on trial.
    """

    def __init__(self, core: Core, resolve_now: Callable[[InferenceRoute], ResolvedRoute]) -> None:
        self._core = core
        self._resolve_now = resolve_now
        self.live: Held | None = None
        self.shadow: Held | None = None
        self._announced: set[EndpointId] = set()

    def restore(self) -> None:
        """Bring the stored files into the roster, at start, on the store's thread."""
        files = self._core.store.routing
        self.take(_held(files.at("live")), _held(files.at("shadow")))

    def bind(self, file: RoutingFile, number: int) -> Bound:
        """What the endpoints come to; on the store's thread."""
        routes: Routes = {}
        bindings: dict[EndpointId, Binding] = {}
        problems: list[Problem] = []
        names = [row.name for row in self._core.store.providers.all()]
        for each in file.endpoints:
            key = f"endpoints.{each.id}"
            if each.provider not in names:
                hint = did_you_mean(each.provider, names)
                why = f"there is no provider {each.provider!r}{hint}"
                problems.append(Problem(each.line, f"{key}.provider", why))
                bindings[each.id] = _NO_CREDENTIAL
                continue
            try:
                route = self._resolve_now(_as_stored(each, number))
            except NetmgrError as fault:
                problems.append(Problem(each.line, key, fault.message))
                bindings[each.id] = _NO_CREDENTIAL
                continue
            mark = route.id.rpartition("-")[2]  # when the provider was changed
            name = f"endpoint-{each.id}-{number}-{mark}"
            route = replace(route, id=name, endpoint=each.id)
            dial = file.dial.get(each.id)
            where = {"hosts": list(dial.hosts), "cidrs": list(dial.cidrs)} if dial else None
            routes[each.id] = route.to_wire(with_credential=True) | {"dial": where}
            protocols = frozenset(protocol.value for protocol in route.dialect.protocols)
            bindings[each.id] = Binding(protocols, credential=True)
        return Bound(routes, bindings, tuple(problems))

    def judge(self, file: RoutingFile, source: str) -> Bound:
        """The same for a file that is about to be set.

        Raises:
            PolicyError: an endpoint has no provider, or cannot be meant with it.
        """
        bound = self.bind(file, 0)
        if bound.problems:
            raise PolicyError(list(bound.problems), source)
        return bound

    def take(self, live: Held | None, shadow: Held | None) -> list[Op]:
        """Put files in their places, on the store's thread; the operations that tell workers."""
        self.live, self.shadow = live, shadow
        roster = self._core.roster
        live_bound = self.bind(live.file, live.number) if live else Bound()
        shadow_bound = self.bind(shadow.file, shadow.number) if shadow else Bound()
        for problem in live_bound.problems:
            log.warning("routing file: %s: %s", problem.key, problem.message)
        ops: list[Op] = []
        for endpoint in sorted(self._announced - live_bound.routes.keys()):
            ops += roster.set_route(endpoint_scope(endpoint), None)
        for endpoint, wire in live_bound.routes.items():
            if roster.route(endpoint_scope(endpoint)) != wire:
                ops += roster.set_route(endpoint_scope(endpoint), wire)
        self._announced = set(live_bound.routes)
        ops += roster.set_routing(_wire(live, live_bound), _wire(shadow, shadow_bound))
        return ops

    async def refresh(self, provider: str) -> list[Op]:
        """A provider has changed, come or gone: the operations that tell workers."""
        held = [each for each in (self.live, self.shadow) if each is not None]
        if not any(e.provider == provider for each in held for e in each.file.endpoints):
            return []
        return await self._core.on_store(self.take, self.live, self.shadow)

    def state(self) -> dict[str, Any] | None:
        """What is in force and what is on trial, for who looks after the host; None: nothing."""
        if self.live is None and self.shadow is None:
            return None
        broken = next((e for e in (self.live, self.shadow) if e and e.unreadable), None)
        return {
            "revision": self.live.number if self.live else None,
            "shadow": self.shadow.number if self.shadow else None,
            "unreadable": broken.unreadable if broken else None,
        }

    def hears_middlewares(self) -> bool:
        """Whether the file in force takes anything from what middlewares say."""
        return self.live is not None and bool(self.live.file.stages)

    def budgets(self) -> tuple[Budget, ...]:
        """The budgets of the file in force."""
        return self.live.file.budgets if self.live else ()

    def uses_of(self, provider: str) -> list[str]:
        """Endpoints of the file in force that a provider answers."""
        endpoints: Iterable[Endpoint] = self.live.file.endpoints if self.live else ()
        return [f"endpoint {each.id}" for each in endpoints if each.provider == provider]


def _held(revision: RoutingRevision | None) -> Held | None:
    if revision is None:
        return None
    try:
        return Held(parse_routing(revision.text, revision.source), revision.revision)
    except NetmgrError as fault:  # written by a netmgr that understood more
        log.error("routing revision %d: no call is answered: %s", revision.revision, fault.message)
        return Held(routing_from_doc(_NOTHING), revision.revision, fault.message)


def _wire(held: Held | None, bound: Bound) -> Op | None:
    if held is None:
        return None
    return generation_to_wire(held.file.doc, held.number, bound.bindings) | {
        "unreadable": bool(held.unreadable)
    }


def _as_stored(endpoint: Endpoint, number: int) -> InferenceRoute:
    return InferenceRoute(
        scope=None,
        provider=endpoint.provider,
        model=endpoint.model,
        timeout_s=None,
        total_timeout_s=None,
        version=number,
        updated=0.0,
        rules=endpoint.allows.to_doc(),
    )
