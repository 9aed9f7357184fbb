"""Owns: the decision: (policy, question) -> allowed or not, by which rule, and what would help.

Knows nothing of the world. The same functions answer the resolver, the proxy, the dialer and
`policy explain`.
"""

from typing import Final

from netmgr.errors import BadInput
from netmgr.model import parse_dns_name
from netmgr.policy.decision import (
    Decision,
    DestinationPlan,
    Inspection,
    NameDecision,
    PlanKind,
    Request,
    Target,
    Treatment,
)
from netmgr.policy.denied_owner import why_not
from netmgr.policy.hosts import (
    HOST_NAMES,
    AnyHost,
    ExactHost,
)
from netmgr.policy.index import NOTHING, Index, ports_in
from netmgr.policy.nearest import Nearest
from netmgr.policy.owner import UNKNOWN, Owner
from netmgr.policy.remedy import add_binary, add_host, add_port
from netmgr.policy.rules import Endpoint, Protocol
from netmgr.policy.venue import Venue
from netmgr.reasons import Reason, Verdict

MAX_VENUES: Final = 4096  # kept ready; through wildcards a sandbox may ask for any number of names
DEFAULT_PORT: Final = 443  # named in the remedy for a name that was only asked for in DNS


class Judge:
    """Answers from an index of endpoints."""

    __slots__ = ("_index", "_nearest", "_socket_targets", "_targets", "_venues")

    def __init__(self, index: Index) -> None:
        self._index = index
        self._nearest: Nearest | None = None  # made at the first denial
        self._targets: dict[tuple[Target, Owner], Venue] = {}
        self._socket_targets: dict[tuple[Target, Owner], Venue] = {}  # of WebSocket handshakes
        self._venues: dict[tuple[str, ...], Venue] = {}  # by places; made at the first request

    # -- names -----------------------------------------------------------------------------

    def judge_name(self, name: str) -> NameDecision:
        """Whether the canonical `name` is answered in DNS."""
        found = self._for_name(name)
        if not found:
            return NameDecision(self._unknown_name(name, DEFAULT_PORT))
        ports = self.ports_of(name)
        message = f"{name} is allowed by {found[0].place}"
        decision = Decision(Verdict.ALLOWED, Reason.ALLOWED, found[0].place, message)
        return NameDecision(decision, ports)

    def ports_of(self, name: str) -> frozenset[int]:
        """The TCP ports of the canonical `name`; none where it is not answered."""
        return ports_in(self._for_name(name))

    # -- connections -----------------------------------------------------------------------

    def asks_who(self, target: Target) -> bool:
        """Whether the decision on `target` depends on the program that connects."""
        if not self._index.tells_apart:
            return False
        known = self._known(target)
        return any(target.port in e.ports and not e.programs.any for e in known)

    def judge_connection(self, target: Target, owner: Owner = UNKNOWN) -> Decision:
        """Whether a connection to `target` is let through, and what is done with it."""
        known = self._known(target)
        on_port = [endpoint for endpoint in known if target.port in endpoint.ports]
        if not on_port:
            return self._refuse_connection(target, known)
        found = self._open_to(owner, on_port)
        if not found:
            return _refuse_owner(target, on_port, owner)
        inspecting = next((endpoint for endpoint in found if endpoint.inspects), None)
        if inspecting is not None:
            message = f"{target} is allowed by {inspecting.place}; every request is judged"
            return Decision(
                Verdict.ALLOWED,
                Reason.ALLOWED,
                inspecting.place,
                message,
                treatment=Treatment.TERMINATE,
            )
        return _allow_opaque(target, found)

    def _refuse_connection(self, target: Target, known: tuple[Endpoint, ...]) -> Decision:
        if known:
            return _wrong_port(target, known)
        if target.name is not None:
            return self._unknown_name(target.name, target.port)
        return _unlisted_address(target)

    # -- requests --------------------------------------------------------------------------

    def judge_request(self, target: Target, request: Request, owner: Owner = UNKNOWN) -> Decision:
        """Whether one HTTP request may go to `target`."""
        venue = self._venue(target, owner, request.websocket)
        if venue is None:
            return self.judge_connection(target, owner)
        return venue.judge(target, request, owner)

    def inspection(
        self, target: Target, request: Request, owner: Owner = UNKNOWN
    ) -> Inspection | None:
        """What of the request has to be read before it can be judged; None: nothing has."""
        venue = self._venue(target, owner, request.websocket)
        return None if venue is None else venue.inspection(target, request)

    def _venue(self, target: Target, owner: Owner, websocket: bool) -> Venue | None:
        targets = self._socket_targets if websocket else self._targets
        venue = targets.get((target, owner))
        if venue is None:
            venue = self._find_venue(target, owner, websocket)
            if venue is None:
                return None
            if len(targets) >= MAX_VENUES:
                targets.clear()
            targets[target, owner] = venue
        return venue

    def _find_venue(self, target: Target, owner: Owner, websocket: bool) -> Venue | None:
        known = [e for e in self._known(target) if e.inspects and target.port in e.ports]
        judging = self._open_to(owner, known)
        if not judging:
            return None
        judging = [e for e in judging if not e.forced] or judging
        having = [e for e in judging if (e.protocol is Protocol.WEBSOCKET) is websocket]
        beside = [e for e in judging if e not in having]
        key = ("websocket" if websocket else "http", *(e.place for e in (*having, *beside)))
        venue = self._venues.get(key)
        if venue is None:
            if len(self._venues) >= MAX_VENUES:
                self._venues.clear()
            venue = self._venues[key] = Venue(having, beside, websocket=websocket)
        return venue

    # -- destinations ----------------------------------------------------------------------

    def destination_plan(self, target: Target, owner: Owner = UNKNOWN) -> DestinationPlan | None:
        """Which addresses a destination may have; None where the policy does not allow it."""
        on_port = [e for e in self._known(target) if target.port in e.ports]
        found = self._open_to(owner, on_port)
        return plan_of(target, found) if found else None

    # -- what the policy knows -------------------------------------------------------------

    def _for_name(self, name: str) -> tuple[Endpoint, ...]:
        found = self._index.for_name(name)
        # A wildcard would let through labels that are no host name's (DNS carries any byte).
        if found and name not in self._index.exact and not _is_host_name(name):
            return NOTHING
        return found

    def _open_to(self, owner: Owner, found: list[Endpoint]) -> list[Endpoint]:
        """Those that the programs holding the connection may use."""
        if self._index.tells_apart:
            found = [endpoint for endpoint in found if endpoint.programs.admits(owner)]
        if not self._index.anywhere:
            return found
        # What has a host says more of it than what has none.
        return [e for e in found if not isinstance(e.host, AnyHost)] or found

    def _known(self, target: Target) -> tuple[Endpoint, ...]:
        if target.name is not None:
            return self._for_name(target.name)
        return self._index.for_address(target.ip) if target.ip is not None else NOTHING

    def _unknown_name(self, name: str, port: int) -> Decision:
        if self._nearest is None:
            wild = (e.host.text for found in self._index.wild.values() for e in found)
            self._nearest = Nearest(dict.fromkeys((*self._index.exact, *wild)))
        nearest = self._nearest.find(name)
        message = f"no rule names {name}" + (f"; the nearest is {nearest}" if nearest else "")
        return Decision(
            Verdict.DENIED,
            Reason.NO_MATCHING_RULE,
            None,
            message,
            nearest,
            add_host(name, port),
        )


def plan_of(target: Target, found: list[Endpoint]) -> DestinationPlan:
    """How far endpoints that let `target` through trust its addresses."""
    if target.name in HOST_NAMES:
        return DestinationPlan(PlanKind.HOST)
    networks = tuple(dict.fromkeys(n for endpoint in found for n in endpoint.networks))
    if networks:
        return DestinationPlan(PlanKind.LISTED, networks)
    if target.name is None:
        return DestinationPlan(PlanKind.LITERAL)
    exact = any(isinstance(endpoint.host, ExactHost) for endpoint in found)
    return DestinationPlan(PlanKind.EXACT if exact else PlanKind.PUBLIC)


def _refuse_owner(target: Target, on_port: list[Endpoint], owner: Owner) -> Decision:
    endpoint = on_port[0]
    reason, message = why_not(target, on_port, owner)
    remedy = None
    if reason is Reason.BINARY_NOT_ALLOWED and len(owner.chains) == 1:
        remedy = add_binary(endpoint, target, owner.chains[0][0].path)
    return Decision(Verdict.DENIED, reason, endpoint.place, message, endpoint.place, remedy)


def _allow_opaque(target: Target, found: list[Endpoint]) -> Decision:
    enforced = next((endpoint for endpoint in found if not endpoint.audit), None)
    if enforced is not None:
        message = f"{target} is allowed by {enforced.place}"
        return Decision(Verdict.ALLOWED, Reason.ALLOWED, enforced.place, message)
    place = found[0].place
    why = "; SQL is not judged" if found[0].protocol is Protocol.SQL else ""
    message = f"{target} is let through by {place} under audit{why}"
    return Decision(Verdict.AUDITED, Reason.ALLOWED, place, message)


def _wrong_port(target: Target, known: tuple[Endpoint, ...]) -> Decision:
    ports = sorted({port for endpoint in known for port in endpoint.ports})
    shown = ", ".join(str(port) for port in ports[:8]) + (", ..." if len(ports) > 8 else "")
    host = target.name or str(target.ip)
    return Decision(
        Verdict.DENIED,
        Reason.PORT_NOT_ALLOWED,
        None,
        f"{host} is allowed on port {shown}, not on {target.port}",
        known[0].place,
        add_port(known[0], host, target.port),
    )


def _unlisted_address(target: Target) -> Decision:
    return Decision(
        Verdict.DENIED,
        Reason.RAW_IP,
        None,
        f"no rule names the address {target.ip}; addresses are reached by the names that "
        "the policy allows",
        None,
        add_host(str(target.ip), target.port),
    )


def _is_host_name(name: str) -> bool:
    try:
        return parse_dns_name(name) == name
    except BadInput:
        return False
