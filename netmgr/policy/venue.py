"""Owns: judging requests by the endpoints that cover their target and look inside.

Which endpoints have a say on a request is told by their `path`. The narrowest of them says how the
request is read (its protocol, whether `%2F` may stand in it, whether it is audited): endpoints of
another protocol cannot allow it. Every endpoint that has a say can deny it. Knows nothing of names.
"""

from collections.abc import Iterable
from functools import partial
from typing import Final

from netmgr.policy.calls.call import Calls
from netmgr.policy.calls.judge import Judging, Remedy, judge_calls
from netmgr.policy.decision import Decision, Inspection, Reader, Request, Target, Treatment
from netmgr.policy.http_rules import EVERY_PATH, WEBSOCKET_TEXT, Fit, HttpRule, Reading
from netmgr.policy.match import StarText, parse_star_text
from netmgr.policy.owner import UNKNOWN, Owner
from netmgr.policy.path import MalformedTarget
from netmgr.policy.path_table import PathTable
from netmgr.policy.query import missed
from netmgr.policy.remedy import add_operation, add_path, add_rule
from netmgr.policy.rules import Endpoint, Protocol
from netmgr.reasons import Reason, Verdict


class _Seat:
    """An endpoint, its rules ready to be searched."""

    __slots__ = ("allow", "deny", "endpoint", "inside", "reach")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.allow = PathTable((rule.path, rule) for rule in endpoint.allow)
        self.deny = PathTable((rule.path, rule) for rule in endpoint.deny)
        self.reach = _reach(endpoint)
        self.inside: Judging | None = None
        if endpoint.inside is not None:
            answers = endpoint.protocol is Protocol.MCP
            self.inside = Judging(endpoint.place, endpoint.inside, answers)


_READERS: Final = {
    Protocol.GRAPHQL: Reader.GRAPHQL,
    Protocol.WEBSOCKET: Reader.GRAPHQL,
    Protocol.JSON_RPC: Reader.JSON_RPC,
    Protocol.MCP: Reader.MCP,
}
_METHODS: Final = {
    Protocol.GRAPHQL: ("GET", "POST"),
    Protocol.JSON_RPC: ("POST",),
    Protocol.MCP: ("POST",),
}
_STREAM_METHODS: Final = ("GET", "DELETE")  # of MCP, without a body: receive, end the session

_Near = tuple[Fit, _Seat, HttpRule]


class Venue:
    """Endpoints that judge the same targets, ready for many requests.

    Args:
        beside: those of the same targets that have no say here: of WebSockets those that judge
            requests, and so meet a rule for what is inside first; of requests those for WebSockets.
    """

    __slots__ = ("_beside", "_endpoints", "_reaching", "_seats", "_websocket")

    def __init__(
        self, endpoints: Iterable[Endpoint], beside: Iterable[Endpoint] = (), *, websocket: bool
    ) -> None:
        self._endpoints, self._beside = tuple(endpoints), tuple(beside)
        seats = [_Seat(endpoint) for endpoint in self._endpoints]
        self._websocket = websocket
        self._seats = PathTable((seat.endpoint.path or EVERY_PATH, seat) for seat in seats)
        self._reaching = tuple(seat for seat in seats if seat.reach is not None)

    def judge(self, target: Target, request: Request, owner: Owner = UNKNOWN) -> Decision:
        """Whether the request may go to the target.

        Args:
            owner: who asks; told by a denial's remedy alone, as all of these are open to him.
        """
        reading = Reading(target, request)
        seats = self._covering(reading)
        if not seats:
            return self._nobodys(reading, owner)
        chosen = max(seats, key=_authority)
        if reading.slashed is not None and not chosen.endpoint.encoded_slash:
            return _malformed(chosen, "escaped separator %2F")
        try:
            denied = _denied(seats, chosen, reading)
            if denied is not None and not denied.permits:
                return denied
            asked = self._shadowed(chosen, reading) or self._ask(seats, chosen, request, reading)
            return denied if denied is not None and asked.permits else asked
        except MalformedTarget as fault:
            return _malformed(chosen, str(fault))

    def inspection(self, target: Target, request: Request) -> Inspection | None:
        """What of the request has to be read before it can be judged; None: nothing has."""
        if self._websocket and request.method != WEBSOCKET_TEXT:
            return None  # a handshake has nothing inside
        seats = self._covering(Reading(target, request))
        if not seats:
            return None
        chosen = max(seats, key=_authority)
        judging = _judging(seats, chosen)
        if not judging:
            return None
        reader = _READERS[chosen.endpoint.protocol]
        return Inspection(reader, min(one.inside.max_body for one in judging))

    def chosen(self, path: str) -> Endpoint | None:
        """The endpoint that says how requests on the canonical `path` are read."""
        seats = self._seats.covering(path)
        return max(seats, key=_authority).endpoint if seats else None

    def _covering(self, reading: Reading) -> list[_Seat]:
        seats = self._seats.covering(reading.path)
        if reading.slashed is None:
            return seats
        # A server that decodes %2F finds another endpoint's path there: it has a say, too.
        return [*seats, *(s for s in self._seats.covering(reading.slashed) if s not in seats)]

    def _ask(
        self, seats: list[_Seat], chosen: _Seat, request: Request, reading: Reading
    ) -> Decision:
        if self._websocket:
            return self._ask_socket(seats, chosen, request, reading)
        if chosen.endpoint.inside is not None:
            return self._ask_inside(seats, chosen, request, reading)
        return self._ask_rules(seats, chosen, reading)

    def _ask_socket(
        self, seats: list[_Seat], chosen: _Seat, request: Request, reading: Reading
    ) -> Decision:
        """A handshake, or a message: by its operation where some endpoint judges those."""
        judging = _judging(seats, chosen)
        if reading.method != WEBSOCKET_TEXT or not judging:
            return self._ask_rules(seats, chosen, reading)
        remedy = self._remedy_for_message(chosen.endpoint, reading.target.port)
        inside = judge_calls(judging, request.calls, remedy)
        if inside.permits or inside.final:
            return inside
        if inside.reason is not Reason.DENY_RULE:
            anything = self._ask_rules(seats, chosen, reading)
            if anything.verdict is Verdict.ALLOWED:
                return anything
        return inside if _is_enforced(seats) else _audited(inside)

    def _remedy_for_message(self, endpoint: Endpoint, port: int) -> Remedy | None:
        """The line names host, port and path: it must not mean an endpoint for requests."""
        for other in (each for each in self._beside if each.inside is not None):
            alike = (other.entry, other.host) == (endpoint.entry, endpoint.host)
            if alike and endpoint.path in (None, other.path):
                return None
        return partial(add_operation, endpoint, port)

    def _ask_inside(
        self, seats: list[_Seat], chosen: _Seat, request: Request, reading: Reading
    ) -> Decision:
        endpoint = chosen.endpoint
        wrong = _wrong_method(endpoint, reading, request.calls)
        remedy = partial(add_operation, endpoint, reading.target.port)
        decision = wrong or judge_calls(_judging(seats, chosen), request.calls, remedy)
        if decision.permits or decision.final:
            return decision
        return decision if _is_enforced(seats) else _audited(decision)

    def _ask_rules(self, seats: list[_Seat], chosen: _Seat, reading: Reading) -> Decision:
        nearest: _Near | None = None
        for seat in seats:
            if seat.endpoint.protocol is not chosen.endpoint.protocol:
                continue
            for rule in seat.allow.covering(reading.path):
                fit = rule.allows(reading)
                if fit is Fit.ALL:
                    return _allowed(seat, rule, reading)
                if nearest is None or fit > nearest[0]:
                    nearest = fit, seat, rule
        refused = _refused(chosen, nearest, reading)
        return _audited(refused) if chosen.endpoint.audit else refused

    def _shadowed(self, chosen: _Seat, reading: Reading) -> Decision | None:
        """A denial where a narrower endpoint's `path` would cover the request if `*` crossed `/`.

        In the system that policy files come from it does, there: a broader endpoint must not take
        over what was written for the narrower one.
        """
        for seat in self._reaching:
            if seat.endpoint.specificity <= chosen.endpoint.specificity or seat.reach is None:
                continue
            if any(seat.reach.matches(path) for path in reading.spellings):
                glob = seat.endpoint.path
                return Decision(
                    Verdict.DENIED,
                    Reason.PATH_NOT_ALLOWED,
                    seat.endpoint.place,
                    f"{seat.endpoint.place} has the path {glob and glob.text}, whose '*' ends at "
                    f"'/', so {reading.path} is not allowed; write '**' to cover it",
                    seat.endpoint.place,
                    treatment=Treatment.TERMINATE,
                )
        return None

    def _nobodys(self, reading: Reading, owner: Owner) -> Decision:
        target, others = reading.target, [*self._endpoints, *self._beside]
        reason, why = Reason.PATH_NOT_ALLOWED, f"no endpoint for {target} covers the path"
        if self._websocket:
            reason = Reason.UNSUPPORTED_PROTOCOL
            why = f"no endpoint with 'protocol: websocket' for {target} covers the path"
        elif not self._endpoints:
            reason = Reason.UNSUPPORTED_PROTOCOL
            why = f"{target} takes WebSocket handshakes only, this is a request for"
        return Decision(
            Verdict.DENIED,
            reason,
            None,
            f"{why} {reading.path}",
            others[0].place,
            add_path(others, reading, owner, handshake=self._websocket),
            treatment=Treatment.TERMINATE,
        )


def _refused(chosen: _Seat, nearest: _Near | None, reading: Reading) -> Decision:
    endpoint = chosen.endpoint
    reason, what = Reason.PATH_NOT_ALLOWED, f"the path {reading.path}"
    if nearest is not None and nearest[0] is Fit.METHOD:
        reason, what = Reason.QUERY_NOT_ALLOWED, "the query"
    elif nearest is not None:
        reason, what = Reason.METHOD_NOT_ALLOWED, f"the method {reading.method}"
    why = ""
    if nearest is not None and nearest[0] is Fit.METHOD:
        _, seat, rule = nearest
        why = f": {missed(rule.query, reading.query)} ({_place(seat, rule)})"
    return Decision(
        Verdict.DENIED,
        reason,
        endpoint.place,
        f"{endpoint.place} does not allow {what} ({reading.method} {reading.path}){why}",
        endpoint.place,
        add_rule(endpoint, reading),
        treatment=Treatment.TERMINATE,
    )


def _judging(seats: list[_Seat], chosen: _Seat) -> list[Judging]:
    """Those that judge what is inside, as the narrowest endpoint reads it."""
    protocol = chosen.endpoint.protocol
    return [
        seat.inside
        for seat in seats
        if seat.inside is not None and seat.endpoint.protocol is protocol
    ]


def _is_enforced(seats: list[_Seat]) -> bool:
    """Whether some of those that judge what is inside do not only audit."""
    return any(not seat.endpoint.audit for seat in seats if seat.inside is not None)


def _wrong_method(endpoint: Endpoint, reading: Reading, calls: Calls | None) -> Decision | None:
    """A denial where the endpoint's protocol has no requests with this method."""
    method = reading.method
    if method in _METHODS[endpoint.protocol]:
        return None
    if endpoint.protocol is Protocol.MCP and method in _STREAM_METHODS and calls == ():
        return None
    return Decision(
        Verdict.DENIED,
        Reason.METHOD_NOT_ALLOWED,
        endpoint.place,
        f"{endpoint.place} judges {endpoint.protocol.value}, which has no {method} such as this",
        endpoint.place,
        treatment=Treatment.TERMINATE,
    )


def _denied(seats: list[_Seat], chosen: _Seat, reading: Reading) -> Decision | None:
    audited: Decision | None = None
    for seat in seats:
        for path in reading.spellings:
            for rule in seat.deny.covering(path):
                if not rule.denies(reading):
                    continue
                decision = _denied_by(seat, rule, reading)
                if not (seat.endpoint.audit and chosen.endpoint.audit):
                    return decision
                audited = audited or _audited(decision)
    return audited


def _denied_by(seat: _Seat, rule: HttpRule, reading: Reading) -> Decision:
    place = _place(seat, rule)
    return Decision(
        Verdict.DENIED,
        Reason.DENY_RULE,
        place,
        f"{place} denies {reading.method} {reading.path}, whatever else allows it",
        treatment=Treatment.TERMINATE,
    )


def _allowed(seat: _Seat, rule: HttpRule, reading: Reading) -> Decision:
    place = _place(seat, rule)
    message = f"{reading.method} {reading.path} is allowed by {place}"
    return Decision(Verdict.ALLOWED, Reason.ALLOWED, place, message, treatment=Treatment.TERMINATE)


def _malformed(seat: _Seat, why: str) -> Decision:
    """A denial that no audit softens: what has two readings cannot be judged."""
    return Decision(
        Verdict.DENIED,
        Reason.MALFORMED_REQUEST,
        seat.endpoint.place,
        f"the request target: {why}",
        treatment=Treatment.TERMINATE,
    )


def _audited(decision: Decision) -> Decision:
    return Decision(
        Verdict.AUDITED,
        decision.reason,
        decision.rule,
        f"{decision.message}; let through under audit",
        decision.nearest,
        decision.remedy_args,
        decision.treatment,
    )


def _place(seat: _Seat, rule: HttpRule) -> str:
    return f"{seat.endpoint.place}.{rule.place}"


def _authority(seat: _Seat) -> tuple[int, bool, bool, bool]:
    """The narrower wins; of equally narrow ones (for different programs) the stricter."""
    endpoint = seat.endpoint
    inside = seat.inside is not None
    return endpoint.specificity, inside, not endpoint.audit, not endpoint.encoded_slash


def _reach(endpoint: Endpoint) -> StarText | None:
    """What the endpoint's path would cover if `*` crossed `/`; None where that is the same."""
    glob = endpoint.path
    if glob is None or not glob.stars_within:
        return None
    return parse_star_text(glob.text.replace("**", "*").split("*"))
