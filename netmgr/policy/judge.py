"""Owns: the decision: (policy, question) -> allowed or not, by which rule, and what would help.

Knows nothing of the world. The same functions answer the resolver, the proxy, the dialer and
`policy explain`.
"""

from typing import Final

from netmgr.errors import BadInput
from netmgr.guard import judge_address
from netmgr.model import parse_dns_name
from netmgr.policy.decision import (
    Decision,
    DestinationPlan,
    NameDecision,
    PlanKind,
    Request,
    Target,
    Treatment,
)
from netmgr.policy.hosts import (
    HOST_NAMES,
    OWN_NAMES,
    LiteralHost,
    WildcardHost,
    parse_host,
)
from netmgr.policy.http_rules import Access
from netmgr.policy.index import NOTHING, Index
from netmgr.policy.match import BadPattern
from netmgr.policy.nearest import Nearest
from netmgr.policy.rules import Endpoint, Protocol
from netmgr.policy.venue import Venue
from netmgr.reasons import Reason, Verdict

MAX_VENUES: Final = 1024  # kept ready; through wildcards a sandbox may ask for any number of names
DEFAULT_PORT: Final = 443  # named in the remedy for a name that was only asked for in DNS


class Judge:
    """Answers from an index of endpoints."""

    __slots__ = ("_index", "_nearest", "_venues")

    def __init__(self, index: Index) -> None:
        self._index = index
        self._nearest: Nearest | None = None  # made at the first denial
        self._venues: dict[Target, Venue] = {}  # made at a target's first request

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
        return frozenset(port for endpoint in self._for_name(name) for port in endpoint.ports)

    # -- connections -----------------------------------------------------------------------

    def judge_connection(self, target: Target) -> Decision:
        """Whether a connection to `target` is let through, and what is done with it."""
        known = self._known(target)
        found = [endpoint for endpoint in known if target.port in endpoint.ports]
        if not found:
            return self._refuse_connection(target, known)
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

    def judge_request(self, target: Target, request: Request) -> Decision:
        """Whether one HTTP request may go to `target`."""
        venue = self._venues.get(target)
        if venue is None:
            judging = [e for e in self._known(target) if e.inspects and target.port in e.ports]
            if not judging:
                return self.judge_connection(target)
            if len(self._venues) >= MAX_VENUES:
                self._venues.clear()
            venue = self._venues[target] = Venue(target, judging)
        return venue.judge(request)

    # -- destinations ----------------------------------------------------------------------

    def destination_plan(self, name_or_ip: str, port: int) -> DestinationPlan | None:
        """Which addresses a destination may have; None where the policy does not allow it."""
        if any(port in endpoint.ports for endpoint in self._index.for_address(name_or_ip)):
            return DestinationPlan(PlanKind.LITERAL)
        exact = self._index.exact.get(name_or_ip, NOTHING)
        if any(port in endpoint.ports for endpoint in exact):
            return DestinationPlan(PlanKind.HOST if name_or_ip in HOST_NAMES else PlanKind.EXACT)
        if any(port in endpoint.ports for endpoint in self._for_name(name_or_ip)):
            return DestinationPlan(PlanKind.PUBLIC)
        return None

    # -- what the policy knows -------------------------------------------------------------

    def _for_name(self, name: str) -> tuple[Endpoint, ...]:
        found = self._index.for_name(name)
        # A wildcard would let through labels that are no host name's (DNS carries any byte).
        if found and name not in self._index.exact and not _is_host_name(name):
            return NOTHING
        return found

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
            _add_endpoint(name, port),
        )


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
        _add_port(known[0], host, target.port),
    )


def _unlisted_address(target: Target) -> Decision:
    return Decision(
        Verdict.DENIED,
        Reason.RAW_IP,
        None,
        f"no rule names the address {target.ip}; addresses are reached by the names that "
        "the policy allows",
        None,
        _add_endpoint(str(target.ip), target.port),
    )


def _add_endpoint(host: str, port: int) -> str | None:
    """The arguments that would allow `host`, or None where no policy could."""
    try:
        parsed = parse_host(host)
    except BadPattern:
        return None
    if isinstance(parsed, WildcardHost) or parsed.text in OWN_NAMES:
        return None
    if isinstance(parsed, LiteralHost):
        plan = DestinationPlan(PlanKind.LITERAL)
        if judge_address(parsed.address, plan) is not None:
            return None
    return f"--add-endpoint {parsed.text}:{port}"


def _add_port(like: Endpoint, host: str, port: int) -> str | None:
    """The arguments that would allow `host` on a further port, no wider than its other ports."""
    arguments = _add_endpoint(host, port)
    if arguments is None or not like.inspects:
        return arguments
    access = like.access or Access.READ_ONLY
    return f"{arguments}:{access.value}:rest" + (":audit" if like.audit else "")


def _is_host_name(name: str) -> bool:
    try:
        return parse_dns_name(name) == name
    except BadInput:
        return False
