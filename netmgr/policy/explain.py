"""Owns: `policy explain`: the decision on a target that a person typed, and where it was made.

Asks the same `Policy` that enforces; judges nothing itself but netmgr's own name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit

from netmgr.errors import BadInput
from netmgr.guard import NOWHERE, Surroundings, objection_beforehand
from netmgr.model import INFERENCE_NAME, parse_dns_name
from netmgr.policy.calls.call import (
    GRAPHQL_FORM,
    RPC_FORM,
    parse_graphql_call,
    parse_rpc_call,
)
from netmgr.policy.decision import Decision, Reader, Request, Target, Treatment
from netmgr.policy.http_rules import WEBSOCKET_TEXT
from netmgr.policy.match import is_method
from netmgr.policy.owner import ANYONE, MAX_CHAIN, Owner, Program
from netmgr.policy.path import MalformedTarget, canonical_path
from netmgr.reasons import Reason, Verdict

if TYPE_CHECKING:
    from netmgr.policy.policy import Policy

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_FORMS: Final = "expected https://host/path, http://host/path (or wss, ws) or host:port"
INFERENCE_PORTS: Final = frozenset(_PORTS.values())


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: a connection, and a request on it where the target was a URL.

    Attributes:
        target_text: the request target (`/path?query`), or None.
        websocket: the URL was ws:// or wss://, or the method WEBSOCKET_TEXT.
    """

    target: Target
    method: str | None = None
    target_text: str | None = None
    websocket: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and the stage at which it fell.

    Attributes:
        asked: the target as it was understood.
        stage: `name`, `connection`, `address`, `request`, or, for what no policy decides,
            `inference`.
        hint: what the policy tells whoever is denied; None where it is not.
        source: where the deciding entry came from, as its author noted.
        expires: when the entry that decided ends, or has ended.
        middlewares: the stages that look at requests there, in their order.
    """

    asked: str
    stage: str
    decision: Decision
    hint: str | None = None
    source: dict[str, Any] = field(default_factory=dict)
    expires: str | None = None
    middlewares: tuple[str, ...] = ()

    def to_doc(self, scope: str | None, revision: int | None = None) -> dict[str, Any]:
        """As JSON values.

        Args:
            scope: for the remedy's command line; None where a file was asked.
        """
        decision = self.decision
        return {
            "target": self.asked,
            "stage": self.stage,
            "verdict": decision.verdict.value,
            "reason": decision.reason.value,
            "rule": decision.rule,
            "nearest": decision.nearest,
            "message": decision.message,
            "remedy": decision.remedy(scope) if scope else decision.remedy_args,
            "hint": self.hint,
            "source": self.source or None,
            "treatment": decision.treatment.value if decision.permits else None,
            "expires": self.expires,
            "middlewares": list(self.middlewares),
            "policy_revision": revision,
        }


def explain(
    policy: "Policy",
    target_text: str,
    method: str | None = None,
    binaries: Sequence[str] = (),
    operation: str | None = None,
    around: Surroundings = NOWHERE,
) -> Explanation:
    """Why a target is allowed or denied.

    Args:
        target_text: `https://host/path`, `http://host/path` or `host:port`.
        method: of the request; only judged where the target is a URL. GET unless given, POST
            where there is an operation.
        binaries: executable of the program that connects, then of its ancestors, nearest first;
            none: whatever program the policy would let through.
        operation: what the request asks for inside (netmgr.policy.calls.call), where the policy
            judges that.
        around: the host that would dial, as far as it is known.

    Raises:
        BadInput: the target has none of these forms, or the operation is none that is judged.
    """
    if method is None:
        method = "POST" if operation else "GET"
    question = parse_question(target_text, method)
    told = _explain(policy, question, _owner(binaries), operation, around)
    hint, rule = None if told.decision.permits else policy.hint, told.decision.rule
    expiry = policy.expiry_of(rule)
    return replace(
        told,
        hint=hint,
        source=policy.source_of(rule),
        expires=expiry.text if expiry else None,
        middlewares=tuple(s.key for s in policy.middlewares.chain(question.target))
        if told.decision.permits
        else (),
    )


def _explain(
    policy: "Policy",
    question: Question,
    owner: Owner,
    operation: str | None,
    around: Surroundings,
) -> Explanation:
    target = question.target
    asked = str(target)
    if target.name == INFERENCE_NAME:
        return Explanation(asked, "inference", judge_inference(target))
    if target.name is not None:
        named = policy.judge_name(target.name).decision
        if not named.permits:
            return Explanation(asked, "name", policy.judge_connection(target, owner))
    connection = policy.judge_connection(target, owner)
    if owner.anyone and policy.asks_who(target):
        connection = _for_some(policy, connection)
    blocked = _blocked(policy, target, owner, connection, around)
    if blocked is not None:
        return Explanation(asked, "address", blocked)
    if (
        question.target_text is None
        or not connection.permits
        or connection.treatment is not Treatment.TERMINATE
    ):
        return Explanation(asked, "connection", connection)
    request = _judge_request(policy, question, owner, operation)
    doing = f", {operation}" if operation else ""
    asked = f"{question.method} {asked}{question.target_text}{doing}"
    return Explanation(asked, "request", request)


def _blocked(
    policy: "Policy", target: Target, owner: Owner, connection: Decision, around: Surroundings
) -> Decision | None:
    """What the dialer would say of an allowed destination, where it is known before it dials."""
    plan = policy.destination_plan(target, owner) if connection.permits else None
    if plan is None:
        return None
    ip = None if target.ip is None else ip_address(target.ip)
    why = objection_beforehand(ip, target.port, plan, around)
    if why is None:
        return None
    message = f"{target} is allowed by {connection.rule}, but is never dialled: {why}"
    return Decision(Verdict.DENIED, Reason.ADDRESS_BLOCKED, connection.rule, message)


def parse_question(text: str, method: str = "GET") -> Question:
    """A target as people write it.

    Raises:
        BadInput: it has none of the forms, or no valid host or port, or the method is none.
    """
    has_scheme = "://" in text
    try:
        parts = urlsplit(text if has_scheme else f"//{text}")
        port = parts.port
    except ValueError as error:
        raise BadInput(f"target {text!r}: {error}; {_FORMS}") from None
    if has_scheme:
        if parts.scheme not in _PORTS:
            raise BadInput(f"target {text!r}: scheme {parts.scheme!r}; {_FORMS}")
        port = _PORTS[parts.scheme] if port is None else port
    elif port is None or parts.path or parts.query or parts.fragment:
        raise BadInput(f"target {text!r}: {_FORMS}")
    if not parts.hostname or parts.username is not None or not port:
        raise BadInput(f"target {text!r}: {_FORMS}")
    target = _target(parts.hostname, port)
    if not is_method(method.upper()):
        raise BadInput(f"{method!r} is no HTTP method")
    if not has_scheme:
        return Question(target)
    websocket = parts.scheme in ("ws", "wss") or method.upper() == WEBSOCKET_TEXT
    return Question(target, method.upper(), _request_target(parts), websocket)


def _target(host: str, port: int) -> Target:
    try:
        return Target(None, str(ip_address(host)), port)
    except ValueError:
        return Target(parse_dns_name(host), None, port)


def _request_target(parts: SplitResult) -> str:
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def _for_some(policy: "Policy", decision: Decision) -> Decision:
    """Say for whom it is, where no program was named."""
    patterns = ", ".join(str(pattern) for pattern in policy.program_patterns()[:8])
    hint = f"; it depends on the program, ask with --binary (named are {patterns})"
    return replace(decision, message=decision.message + hint)


def _owner(binaries: Sequence[str]) -> Owner:
    if not binaries:
        return ANYONE
    for path in binaries:
        if not path.startswith("/"):
            raise BadInput(f"--binary {path!r}: expected an absolute path")
    return Owner((tuple(Program(path) for path in binaries[:MAX_CHAIN]),))


def _judge_request(
    policy: "Policy", question: Question, owner: Owner, operation: str | None
) -> Decision:
    try:
        path, query = canonical_path(question.target_text or "/", allow_encoded_slash=True)
    except MalformedTarget as error:
        return Decision(
            Verdict.DENIED, Reason.MALFORMED_REQUEST, message=f"the request target: {error}"
        )
    target = question.target
    request = Request(question.method or "GET", path, query, question.websocket)
    inspection = policy.inspection(target, request, owner)
    if operation is None:
        decision = policy.judge_request(target, request, owner)
        if inspection is None or not decision.final:
            return decision
        form = GRAPHQL_FORM if inspection.reader is Reader.GRAPHQL else RPC_FORM
        return replace(
            decision, message=f"{decision.message}; ask with --method POST --operation {form}"
        )
    if inspection is None:
        raise BadInput(f"operation {operation!r}: nothing is judged inside of this request")
    graphql = inspection.reader is Reader.GRAPHQL
    call = parse_graphql_call(operation) if graphql else parse_rpc_call(operation)
    return policy.judge_request(target, replace(request, calls=(call,)), owner)


def judge_inference(target: Target) -> Decision:
    """What no policy decides: a connection to netmgr's own name."""
    if target.port in INFERENCE_PORTS:
        return Decision(
            Verdict.ALLOWED,
            Reason.ALLOWED,
            message=f"{target.name} is open to every sandbox; the inference router decides",
            treatment=Treatment.TERMINATE,
        )
    return Decision(
        Verdict.DENIED,
        Reason.PORT_NOT_ALLOWED,
        message=f"{target.name} has ports 80 and 443 only",
    )
