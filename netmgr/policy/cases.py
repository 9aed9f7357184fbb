"""Owns: the `tests` of a policy file: how one is written, and what the policy says to it.

    tests:
      - {connect: "git.example.com:22", expect: allow}
      - {resolve: data.attacker.example, expect: deny, reason: no_matching_rule}
      - {request: "DELETE https://api.example.com/v1", expect: deny}
The answer is `policy explain`'s, as if nothing had expired yet: a file that loads today loads
tomorrow. Knows nothing of how connections are made.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from netmgr.errors import BadInput
from netmgr.model import parse_dns_name
from netmgr.policy.decision import Decision
from netmgr.policy.explain import explain, parse_question
from netmgr.policy.fields import Fields
from netmgr.policy.problems import Problem, Report
from netmgr.policy.tree import Node
from netmgr.reasons import Reason, Verdict

if TYPE_CHECKING:
    from netmgr.policy.policy import Policy

MAX_CASES: Final = 1000  # of one policy; all run at every load
BEFORE_ANY_EXPIRY: Final = float("-inf")
_KINDS: Final = ("connect", "resolve", "request")
_KEYS: Final = frozenset((*_KINDS, "expect", "reason"))


class Expected(StrEnum):
    """What an author expects."""

    ALLOW = "allow"  # let through, audited or not
    AUDIT = "audit"  # let through because of an audit only
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a policy file.

    Attributes:
        place: `tests[3]`.
        line: where it stands; 0 where it came without lines.
        kind: `connect`, `resolve` or `request`.
        subject: `host:port`, a name, or `METHOD URL`.
        reason: the reason code that is expected too; None where any will do.
    """

    place: str
    line: int
    kind: str
    subject: str
    expect: Expected
    reason: Reason | None = None

    def to_doc(self) -> dict[str, Any]:
        """As it stands in a document."""
        doc = {self.kind: self.subject, "expect": self.expect.value}
        return doc | {"reason": self.reason.value} if self.reason else doc


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy said to one case."""

    case: Case
    decision: Decision
    passed: bool

    @property
    def message(self) -> str:
        """What was expected and what came, in one sentence."""
        case, got = self.case, self.decision
        wanted = case.expect.value + (f" ({case.reason.value})" if case.reason else "")
        told = f"{got.verdict.value} ({got.reason.value})"
        return f"{case.kind} {case.subject}: expected {wanted}, got {told}: {got.message}"

    def to_doc(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "test": self.case.place,
            "line": self.case.line,
            **self.case.to_doc(),
            "passed": self.passed,
            "verdict": self.decision.verdict.value,
            "got": self.decision.reason.value,
            "rule": self.decision.rule,
            "message": self.decision.message,
        }


def parse_cases(top: Fields, report: Report) -> tuple[Case, ...]:
    """The `tests` of a document; what is wrong with them is noted."""
    found: list[Case] = []
    for number, (path, node) in enumerate(top.items("tests")):
        if number >= MAX_CASES:
            top.problem("tests", f"more than {MAX_CASES} tests")
            break
        case = _parse_case(path, node, report)
        if case is not None:
            found.append(case)
    return tuple(found)


def run_cases(policy: "Policy") -> tuple[Outcome, ...]:
    """Put every test of a policy to it."""
    ageless = policy.at(BEFORE_ANY_EXPIRY) if policy.cases else policy
    return tuple(_run(ageless, case) for case in policy.cases)


def failures(policy: "Policy") -> list[Problem]:
    """The tests that a policy does not pass, as problems of its file."""
    return [
        Problem(outcome.case.line, outcome.case.place, outcome.message)
        for outcome in run_cases(policy)
        if not outcome.passed
    ]


def _parse_case(path: str, node: Node, report: Report) -> Case | None:
    fields = Fields(node, path, _KEYS, report)
    kinds = [kind for kind in _KINDS if kind in fields]
    if len(kinds) != 1:
        fields.missing(f"expected one of {', '.join(_KINDS)}")
        return None
    subject = fields.text(kinds[0])
    expect = fields.choice("expect", tuple(Expected), default="")
    reason = fields.choice("reason", tuple(Reason), default="")
    if not fields.says("expect"):
        fields.missing("expected 'expect: allow', 'audit' or 'deny'")
    if subject is None or not expect:
        return None
    try:
        _check_subject(kinds[0], subject)
    except BadInput as error:
        fields.problem(kinds[0], error.message)
        return None
    return Case(
        path, node.line, kinds[0], subject, Expected(expect), Reason(reason) if reason else None
    )


def _check_subject(kind: str, subject: str) -> None:
    match kind:
        case "resolve":
            parse_dns_name(subject)
        case "request":
            method, url = _split_request(subject)
            if parse_question(url, method).target_text is None:
                raise BadInput(f"request {subject!r}: expected METHOD https://host/path")
        case _:
            if parse_question(subject).target_text is not None:
                raise BadInput(f"connect {subject!r}: expected host:port")


def _split_request(subject: str) -> tuple[str, str]:
    method, _, url = subject.partition(" ")
    return (method, url) if url else ("GET", subject)


def _run(policy: "Policy", case: Case) -> Outcome:
    if case.kind == "resolve":
        decision = policy.judge_name(parse_dns_name(case.subject)).decision
    elif case.kind == "request":
        method, url = _split_request(case.subject)
        decision = explain(policy, url, method).decision
    else:
        decision = explain(policy, case.subject).decision
    return Outcome(case, decision, _fits(case, decision))


def _fits(case: Case, decision: Decision) -> bool:
    if case.reason is not None and decision.reason is not case.reason:
        return False
    match case.expect:
        case Expected.ALLOW:
            return decision.permits
        case Expected.AUDIT:
            return decision.verdict is Verdict.AUDITED
        case Expected.DENY:
            return not decision.permits
