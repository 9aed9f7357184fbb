"""Owns: the decision on the calls inside of one request, by the endpoints that look into it.

Knows nothing of hosts, ports or paths: the endpoints that cover the request are the caller's. Pure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netmgr.policy.calls.call import Call, Calls, GraphqlCall, RpcAnswer, RpcCall, StoredCall
from netmgr.policy.calls.rules import STRICT_TOOL, Inside, RpcRule
from netmgr.policy.decision import Decision, Treatment
from netmgr.reasons import Reason, Verdict

Remedy = Callable[[Call], str | None]


@dataclass(frozen=True, slots=True)
class Judging:
    """One endpoint that looks into a request.

    Attributes:
        place: `web.endpoints[0]`.
        answers: whether a client may send JSON-RPC responses (MCP asks its clients things).
    """

    place: str
    inside: Inside
    answers: bool = False


class _Final(Exception):
    """What is denied although the endpoints only audit."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.message)
        self.decision = decision


def judge_calls(
    judging: Sequence[Judging], calls: Calls | None, remedy: Remedy | None = None
) -> Decision:
    """Whether all calls of one request are allowed. One that is not denies the whole.

    Args:
        judging: at least one; any of them may allow, each of them may deny.
        calls: None where nobody has looked inside; empty where there is nothing inside.
        remedy: the arguments of `policy update` that would allow one call.
    """
    first = judging[0]
    if calls is None:
        why = f"{first.place} judges what is inside of requests, and this could not be read"
        return Decision(
            Verdict.DENIED,
            Reason.OPERATION_NOT_ALLOWED,
            first.place,
            why,
            treatment=Treatment.TERMINATE,
            final=True,
        )
    try:
        known = [_resolve(judging, call) for call in calls]
    except _Final as fault:
        return fault.decision
    for call in known:
        for endpoint in judging:
            place = endpoint.inside.denying(call)
            if place is not None:
                return _denied_by(f"{endpoint.place}.{place}", call)
    by = first.place
    refused: list[Call] = []
    for call in known:
        place = _allowing(judging, call)
        if place is None:
            refused.append(call)
        by = place or by
    return _refused(judging, refused, remedy) if refused else _allowed(by, known)


def _resolve(judging: Sequence[Judging], call: Call) -> Call:
    """The call with everything that only the policy knows of it.

    Raises:
        _Final: it cannot be judged, or not by anyone's leave be sent.
    """
    first = judging[0]
    if isinstance(call, StoredCall):
        return _registered(judging, call)
    if isinstance(call, RpcAnswer) and not any(endpoint.answers for endpoint in judging):
        raise _Final(_final(first, "a JSON-RPC response sent by a client"))
    if isinstance(call, RpcCall) and call.tool is not None:
        strict = any(endpoint.inside.strict_tools for endpoint in judging)
        if strict and not STRICT_TOOL.fullmatch(call.tool):
            raise _Final(_final(first, f"the tool name in {call}: only letters, digits and _.-"))
    return call


def _registered(judging: Sequence[Judging], call: StoredCall) -> GraphqlCall:
    for endpoint in judging:
        found = endpoint.inside.registered.get(call.key)
        if found is None:
            continue
        if call.name and call.name != found.name:
            what = f"{call}: it is registered as {found}, so another operation of it is not known"
            raise _Final(_final(endpoint, what))
        return found
    what = f"{call}: send its text, or register it under 'graphql_persisted_queries'"
    raise _Final(_final(judging[0], what))


def _allowing(judging: Sequence[Judging], call: Call) -> str | None:
    for endpoint in judging:
        if isinstance(call, RpcAnswer):
            return endpoint.place
        place = endpoint.inside.allowing(call)
        if place is not None:
            return f"{endpoint.place}.{place}"
    return None


def _allowed(place: str, calls: Sequence[Call]) -> Decision:
    what = str(calls[0]) if calls else "a stream that only receives"
    more = f" and {len(calls) - 1} more" if len(calls) > 1 else ""
    return Decision(
        Verdict.ALLOWED,
        Reason.ALLOWED,
        place,
        f"{what}{more} is allowed by {place}",
        treatment=Treatment.TERMINATE,
    )


def _denied_by(place: str, call: Call) -> Decision:
    return Decision(
        Verdict.DENIED,
        Reason.DENY_RULE,
        place,
        f"{place} denies {call}, whatever else allows it",
        treatment=Treatment.TERMINATE,
    )


def _refused(
    judging: Sequence[Judging], refused: Sequence[Call], remedy: Remedy | None
) -> Decision:
    endpoint, call = judging[0], refused[0]
    mendable = remedy is not None and len(refused) == 1
    return Decision(
        Verdict.DENIED,
        Reason.OPERATION_NOT_ALLOWED,
        endpoint.place,
        f"{endpoint.place} does not allow {call}",
        endpoint.place,
        remedy(call) if remedy and mendable and _may_be_added(judging, call) else None,
        treatment=Treatment.TERMINATE,
    )


def _may_be_added(judging: Sequence[Judging], call: Call) -> bool:
    """Whether a rule for the call would undo nothing: neither a rule about its arguments, nor what
    a profile allows where no rule stands beside it."""
    for endpoint in judging:
        inside = endpoint.inside
        if inside.profile and not inside.allow:
            return False
        if any(isinstance(r, RpcRule) and r.arguments and r.is_about(call) for r in inside.allow):
            return False
    return True


def _final(endpoint: Judging, what: str) -> Decision:
    return Decision(
        Verdict.DENIED,
        Reason.OPERATION_NOT_ALLOWED,
        endpoint.place,
        f"{endpoint.place} does not take {what}",
        endpoint.place,
        treatment=Treatment.TERMINATE,
        final=True,
    )
