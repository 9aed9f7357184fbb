"""Owns: from an errand to a connected socket: judge, resolve, guard, connect, in this order.

Nothing is resolved before the policy allows it, and what was guarded is what is dialled: there is
no second resolution (DNS rebinding finds nothing to rebind).
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final, NamedTuple

from netmgr.dialer.connect import Ip, NotConnected, connect_first, is_local
from netmgr.dialer.errand import Egress, Errand, Inference
from netmgr.dialer.residency import Residency
from netmgr.dialer.resolution import NameNotResolved, Resolver, Unresolved
from netmgr.guard import (
    HOST_LOOPBACK,
    NOWHERE,
    Surroundings,
    describe_address,
    judge_configured_address,
    objection,
)
from netmgr.inference.base_url import BaseUrl
from netmgr.inference.scope import endpoint_of, narrowest_first
from netmgr.model import HOST_ALIASES, HOST_NAME
from netmgr.policy.decision import DestinationPlan, PlanKind, Target
from netmgr.process.view import View
from netmgr.reasons import Reason

DIAL_DEADLINE_S: Final = 10.0  # contract: connect 10 s; resolution is part of it
RETIRED_S: Final = 120.0  # twice the usual deadline of a plan
MAX_CANDIDATES: Final = 8  # addresses tried for one connection

_HERE: Final = frozenset({"localhost", HOST_NAME, *HOST_ALIASES})
_UNRESOLVED: Final = {
    Unresolved.NXDOMAIN: "does not exist",
    Unresolved.NODATA: "has no address",
    Unresolved.TIMEOUT: "was not resolved in time",
    Unresolved.SERVFAIL: "could not be resolved: every DNS server failed",
    Unresolved.CNAME: "is an alias that leads in a loop or too far (cname)",
}


class DialRefused(Exception):
    """No connection, and why.

    Attributes:
        details: `rule` and `remedy`, where the policy refused.
    """

    def __init__(self, reason: Reason, message: str, **details: str | None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.details = details


class Way(NamedTuple):
    """Where a route's calls go.

    Attributes:
        route: its id.
        origin: what is dialled: the provider's, or an upstream proxy.
        host: the provider's, whoever is dialled.
        residency: where it has to be; None: wherever it is.
    """

    route: str
    origin: BaseUrl
    host: str
    residency: Residency | None = None

    @property
    def by_proxy(self) -> bool:
        """Whether somebody else connects to the provider."""
        return self.host != self.origin.host


@dataclass(slots=True)
class Dialer:
    """Runs errands.

    Attributes:
        routes: by scope (netmgr.inference.scope; None is the default).
        retired: endpoints of files before, by route id, and until when they may be dialled.
    """

    view: View
    resolver: Resolver
    surroundings: Surroundings = NOWHERE
    routes: dict[str | None, Way] = field(default_factory=dict)
    retired: dict[str, tuple[Way, float]] = field(default_factory=dict)

    def set_way(self, scope: str | None, way: Way | None) -> None:
        """Put a route in force, or out of it.

        A call's plan outlives the routing file that it was made by: its endpoints may be dialled
        for RETIRED_S more, unless something is revoked.
        """
        before = self.routes.pop(scope, None)
        if way is not None:
            self.routes[scope] = way
        if before is not None and before != way and endpoint_of(scope) is not None:
            now = asyncio.get_running_loop().time()
            self.retired = {k: kept for k, kept in self.retired.items() if kept[1] > now}
            self.retired[before.route] = (before, now + RETIRED_S)

    async def dial(self, errand: Errand) -> socket.socket:
        """A connected, nonblocking socket.

        Raises:
            DialRefused: there is none, for the reason that it gives.
        """
        try:
            async with asyncio.timeout(DIAL_DEADLINE_S):
                match errand:
                    case Egress():
                        return await self._egress(errand)
                    case Inference():
                        return await self._inference(errand)
        except NotConnected as failure:
            raise DialRefused(failure.reason, failure.message) from failure
        except TimeoutError:
            message = f"no connection within {DIAL_DEADLINE_S:.0f} s"
            raise DialRefused(Reason.UPSTREAM_TIMEOUT, message) from None

    # -- what a sandbox dialled --------------------------------------------------------------

    async def _egress(self, errand: Egress) -> socket.socket:
        target = errand.target
        plan = self._judge(errand)
        if plan.kind is PlanKind.HOST:
            found: tuple[Ip, ...] = HOST_LOOPBACK
        else:
            found = await self._addresses(target.name or target.ip or "")
        sock = await self._connect(self._guard(target, found, plan), target.port)
        try:
            self._judge(errand)  # the policy may have changed, the sandbox gone, meanwhile
        except DialRefused:
            sock.close()
            raise
        return sock

    def _judge(self, errand: Egress) -> DestinationPlan:
        """Decide again, by this process's own state."""
        sandbox = self.view.get(errand.address)
        if sandbox is None:
            message = f"no sandbox has the address {errand.address}"
            raise DialRefused(Reason.UNKNOWN_CALLER, message)
        target = errand.target
        decision = sandbox.policy.judge_connection(target, errand.owner)
        plan = None
        if decision.permits:
            plan = sandbox.policy.destination_plan(target, errand.owner)
        if plan is not None:
            return plan
        if errand.revision != sandbox.revision:
            raise DialRefused(
                Reason.POLICY_STALE,
                f"revision {sandbox.revision} does not allow {target}; "
                f"it was judged by revision {errand.revision}",
            )
        if decision.permits:
            message = f"no rule says at which addresses {target} may be"
            raise DialRefused(Reason.NO_MATCHING_RULE, message)
        remedy = decision.remedy(sandbox.scope)
        raise DialRefused(decision.reason, decision.message, rule=decision.rule, remedy=remedy)

    def _guard(self, target: Target, found: Sequence[Ip], plan: DestinationPlan) -> Sequence[Ip]:
        """The addresses that may be dialled; the others are dropped one by one."""
        around = self.surroundings
        permitted, blocked = [], []
        for ip in found:
            near = around
            if plan.kind is not PlanKind.HOST and is_local(ip):
                near = replace(around, host_addresses=around.host_addresses | {ip})
            why = objection(ip, target.port, plan, near)
            if why is None:
                permitted.append(ip)
            else:
                blocked.append(why)
        if not permitted:
            message = f"{target} may not be dialled at {', '.join(blocked)}"
            raise DialRefused(Reason.ADDRESS_BLOCKED, message)
        return permitted

    # -- the origin of a route ---------------------------------------------------------------

    async def _inference(self, errand: Inference) -> socket.socket:
        way = self._way(errand)
        origin, residency = way.origin, way.residency
        if residency is not None:
            _judge_name(residency, way)
        found = await self._configured(origin)
        if residency is not None:
            allowed = residency.within(found)
            if not allowed:
                message = f"{origin.host}: {residency.objection_to(found)}"
                raise DialRefused(Reason.ADDRESS_BLOCKED, message)
            found = allowed
        return await self._connect(found, origin.port)

    async def _configured(self, origin: BaseUrl) -> Sequence[Ip]:
        """Where an origin that the operator configured may be."""
        if origin.host in _HERE:
            return HOST_LOOPBACK
        target = Target(origin.host, None, origin.port)
        try:
            literal = ip_address(origin.host)
        except ValueError:
            # A name is not what the operator configured an address for: whoever answers for it in
            # DNS must not lead to this host. A private address is what an own model server has.
            found = await self._addresses(origin.host)
            return self._guard(target, found, DestinationPlan(PlanKind.EXACT))
        if judge_configured_address(literal) is not None:
            message = f"{target} may not be dialled at {describe_address(literal)}"
            raise DialRefused(Reason.ADDRESS_BLOCKED, message)
        return (literal,)

    def _way(self, errand: Inference) -> Way:
        """Only a route that is in force for this sandbox is dialled; endpoints of a routing file
        are in force for all: which of them a call may go to is decided call by call."""
        scopes: tuple[str | None, ...] = tuple(self.routes)
        if errand.address is not None:
            sandbox = self.view.get(errand.address)
            if sandbox is None:
                message = f"no sandbox has the address {errand.address}"
                raise DialRefused(Reason.UNKNOWN_CALLER, message)
            own = narrowest_first(sandbox.name, sandbox.labels)
            scopes = (*own, *(each for each in scopes if endpoint_of(each) is not None))
        for scope in scopes:
            way = self.routes.get(scope)
            if way is not None and way.route == errand.route:
                return way
        way, until = self.retired.get(errand.route, (None, 0.0))
        if way is not None and until > asyncio.get_running_loop().time():
            return way
        raise DialRefused(Reason.NOT_CONFIGURED, f"there is no route {errand.route!r}")

    # -- both --------------------------------------------------------------------------------

    async def _addresses(self, name: str) -> tuple[Ip, ...]:
        try:
            return (ip_address(name),)
        except ValueError:
            pass
        try:
            resolved = await self.resolver.resolve(name)
        except NameNotResolved as failure:
            message = f"{name} {_UNRESOLVED[failure.cause]}"
            raise DialRefused(Reason.NAME_NOT_RESOLVED, message) from failure
        return resolved.addresses

    async def _connect(self, candidates: Sequence[Ip], port: int) -> socket.socket:
        return await connect_first(candidates[:MAX_CANDIDATES], port, DIAL_DEADLINE_S)


def _judge_name(residency: Residency, way: Way) -> None:
    """Whether an endpoint is called what it is declared to be called.

    Raises:
        DialRefused: it is not, or where it is cannot be seen from here.
    """
    objection = residency.objection_to_name(way.host)
    if objection is None and way.by_proxy and residency.networks:
        objection = f"{way.host} is behind an upstream proxy: its address cannot be checked"
    if objection is not None:
        raise DialRefused(Reason.ADDRESS_BLOCKED, objection)
