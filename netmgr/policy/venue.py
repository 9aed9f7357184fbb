"""Owns: judging requests by the endpoints that cover their target and look inside.

Which endpoints have a say on a request is told by their `path`. The narrowest of them says how the
request is read (its protocol, whether `%2F` may stand in it, whether it is audited): endpoints of
another protocol cannot allow it. Every endpoint that has a say can deny it. Knows nothing of names.
"""

import shlex
from collections.abc import Iterable

from netmgr.policy.decision import Decision, Request, Target, Treatment
from netmgr.policy.http_rules import EVERY_PATH, Fit, HttpRule, Reading
from netmgr.policy.match import StarText, is_method, literal_glob, parse_star_text
from netmgr.policy.path import MalformedTarget
from netmgr.policy.path_table import PathTable
from netmgr.policy.query import missed
from netmgr.policy.rules import Endpoint
from netmgr.reasons import Reason, Verdict


class _Seat:
    """An endpoint, its rules ready to be searched."""

    __slots__ = ("allow", "deny", "endpoint", "reach")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.allow = PathTable((rule.path, rule) for rule in endpoint.allow)
        self.deny = PathTable((rule.path, rule) for rule in endpoint.deny)
        self.reach = _reach(endpoint)


_Near = tuple[Fit, _Seat, HttpRule]


class Venue:
    """Endpoints that judge the same targets, ready for many requests."""

    __slots__ = ("_reaching", "_seats")

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        seats = [_Seat(endpoint) for endpoint in endpoints]
        self._seats = PathTable((seat.endpoint.path or EVERY_PATH, seat) for seat in seats)
        self._reaching = tuple(seat for seat in seats if seat.reach is not None)

    def judge(self, target: Target, request: Request) -> Decision:
        """Whether the request may go to the target."""
        reading = Reading(target, request)
        seats = self._covering(reading)
        if not seats:
            return _nobodys(reading)
        chosen = max(seats, key=_authority)
        if reading.slashed is not None and not chosen.endpoint.encoded_slash:
            return _malformed(chosen, "escaped separator %2F")
        try:
            denied = _denied(seats, chosen, reading)
            return denied or self._shadowed(chosen, reading) or self._ask(seats, chosen, reading)
        except MalformedTarget as fault:
            return _malformed(chosen, str(fault))

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

    def _ask(self, seats: list[_Seat], chosen: _Seat, reading: Reading) -> Decision:
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
        _add_allow(endpoint, reading),
        treatment=Treatment.TERMINATE,
    )


def _nobodys(reading: Reading) -> Decision:
    return Decision(
        Verdict.DENIED,
        Reason.PATH_NOT_ALLOWED,
        None,
        f"no endpoint for {reading.target} covers the path {reading.path}",
        treatment=Treatment.TERMINATE,
    )


def _add_allow(endpoint: Endpoint, reading: Reading) -> str | None:
    """The arguments that would allow the request, or None where no rule can name it."""
    if not is_method(reading.method) or not endpoint.host.text:
        return None
    host, port = endpoint.host.text, reading.target.port
    wording = f"{host}:{port}:{reading.method}:{literal_glob(reading.path)}"
    return f"--add-allow {shlex.quote(wording)} --rule-name {shlex.quote(endpoint.entry)}"


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


def _authority(seat: _Seat) -> tuple[int, bool, bool]:
    """The narrower wins; of equally narrow ones (for different programs) the stricter."""
    endpoint = seat.endpoint
    return endpoint.specificity, not endpoint.audit, not endpoint.encoded_slash


def _reach(endpoint: Endpoint) -> StarText | None:
    """What the endpoint's path would cover if `*` crossed `/`; None where that is the same."""
    glob = endpoint.path
    if glob is None or not glob.stars_within:
        return None
    return parse_star_text(glob.text.replace("**", "*").split("*"))
