"""Owns: reading the `tests` of a routing file.

Knows nothing of what a generation says to them (netmgr.routing.cases).
"""

from typing import Any, Final

from netmgr.inference.protocols import Protocol
from netmgr.middleware.contract import Finding, Level, Mitigation, StageResult, Status
from netmgr.policy.fields import Fields
from netmgr.policy.problems import Report
from netmgr.policy.tree import Node
from netmgr.routing.language import CONFIDENCES, Case
from netmgr.routing.rule_schema import MAX_TOKENS, Vocabulary
from netmgr.routing.words import Words, read_count, word_of

MAX_CASES: Final = 1000
MAX_NAME: Final = 200
CODES: Final = ("allowed", "no_permitted_endpoint", "budget_exceeded")
_GIVEN: Final = (
    "tenant",
    "sandbox",
    "workload",
    "route",
    "protocol",
    "request",
    "stages",
    "exceeded",
)
_REQUEST: Final = ("tokens", "tokens_out", "stream", "needs")


class CaseReader:
    """Reads tests with the words of one file.

    Args:
        stages: names under `metadata`.
        removers: ids of all that can reject an endpoint.
        budgets: ids of budgets.
    """

    def __init__(
        self,
        known: Vocabulary,
        stages: frozenset[str],
        removers: frozenset[str],
        budgets: frozenset[str],
        report: Report,
    ) -> None:
        self._known = known
        self._stages = stages
        self._removers = removers
        self._budgets = budgets
        self._report = report
        self._words = Words(report)

    def read(self, top: Fields) -> tuple[Case, ...]:
        """Every test."""
        found: list[Case] = []
        for place, node in top.items("tests"):
            if len(found) >= MAX_CASES:
                top.problem("tests", f"more than {MAX_CASES} tests")
                break
            found.append(self._case(node, place))
        return tuple(found)

    def _case(self, node: Node, place: str) -> Case:
        fields = Fields(node, place, ("name", "given", "expect"), self._report)
        name = fields.text("name") or ""
        if not 0 < len(name) <= MAX_NAME:
            fields.missing(f"'name' is missing: what is tested, in {MAX_NAME} characters at most")
        given = fields.section("given", _GIVEN)
        stages = self._said(given) if given is not None else ()
        facts = self._facts(given) if given is not None else {}
        case = Case(name, fields.line, facts, stages)
        expect = fields.section("expect", ("permitted", "order", "rejected", "label", "code"))
        if expect is None:
            fields.missing("'expect' is missing: {permitted: [...]}")
            return case
        return self._expected(case, expect)

    def _expected(self, case: Case, fields: Fields) -> Case:
        known = self._known
        label, code = fields.text("label"), fields.text("code")
        if label is not None and label not in known.sensitivity.order:
            fields.problem("label", self._words.unknown(label, known.sensitivity.order))
        if code is not None and code not in CODES:
            fields.problem("code", self._words.unknown(code, CODES))
        rejected: dict[str, str] = {}
        for endpoint, line, node in fields.entries("rejected"):
            place = f"{fields.where('rejected')}.{endpoint}"
            if endpoint not in known.endpoints:
                self._report.problem(line, place, self._words.unknown(endpoint, known.endpoints))
            rejected[endpoint] = "".join(self._words.list(node, place, line, self._removers))
        order = self._ids(fields, "order")
        permitted = self._ids(fields, "permitted")
        if not fields.given(("permitted", "order", "rejected", "label", "code")):
            fields.missing("expects nothing")
        return Case(
            case.name,
            case.line,
            case.given,
            case.stages,
            None if permitted is None else frozenset(permitted),
            order,
            rejected,
            label,
            code,
        )

    def _ids(self, fields: Fields, key: str) -> tuple[str, ...] | None:
        if key not in fields:
            return None
        if fields.is_empty_list(key):
            return ()
        place, line = fields.where(key), fields.line_of(key)
        return self._words.list(fields.node(key), place, line, self._known.endpoints)

    def _facts(self, fields: Fields) -> dict[str, Any]:
        """The arguments of a netmgr.routing.contract.Request, and `exceeded`."""
        facts: dict[str, Any] = {}
        for key, name in (("tenant", "tenant"), ("sandbox", "sandbox"), ("route", "model")):
            if (text := fields.text(key)) is not None:
                facts[name] = text
        if "route" in fields and facts.get("model") not in self._known.routes:
            unknown = self._words.unknown(str(facts.get("model")), self._known.routes)
            fields.problem("route", unknown)
        if "protocol" in fields:
            known = [each.value for each in Protocol]
            facts["protocol"] = fields.choice("protocol", known, default=Protocol.CHAT.value)
        labels = {name: word_of(node) for name, _, node in fields.entries("workload")}
        if None in labels.values():
            fields.problem("workload", "expected labels and their values: {tier: batch}")
        if labels:
            facts["workload"] = labels
        if "exceeded" in fields:
            place, line = fields.where("exceeded"), fields.line_of("exceeded")
            node = fields.node("exceeded")
            facts["exceeded"] = frozenset(self._words.list(node, place, line, self._budgets))
        request = fields.section("request", _REQUEST)
        return facts | (self._request(request) if request is not None else {})

    def _request(self, fields: Fields) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for key, name in (("tokens", "tokens_in"), ("tokens_out", "tokens_out_max")):
            if (number := read_count(fields, key, 0, MAX_TOKENS)) is not None:
                facts[name] = number
        if (stream := fields.flag("stream")) is not None:
            facts["stream"] = stream
        if "needs" in fields:
            place, line = fields.where("needs"), fields.line_of("needs")
            facts["needs"] = frozenset(
                self._words.list(fields.node("needs"), place, line, self._known.needs)
            )
        return facts

    def _said(self, given: Fields) -> tuple[StageResult, ...]:
        stages: list[StageResult] = []
        for name, line, node in given.entries("stages"):
            place = f"{given.where('stages')}.{name}"
            if name not in self._stages:
                self._report.problem(line, place, self._words.unknown(name, self._stages))
            keys = ("status", "metadata", "findings", "body_changed")
            fields = Fields(node, place, keys, self._report)
            status = fields.choice("status", [each.value for each in Status], default="ok")
            metadata = {key: word_of(each) or "" for key, _, each in fields.entries("metadata")}
            findings = tuple(self._finding(each, at) for at, each in fields.items("findings"))
            changed = b"" if fields.flag("body_changed") is True else None
            stages.append(
                StageResult(
                    name,
                    name,
                    Status(status),
                    body=changed,
                    findings=findings,
                    metadata=metadata,
                )
            )
        return tuple(stages)

    def _finding(self, node: Node, place: str) -> Finding:
        fields = Fields(node, place, ("type", "confidence", "mitigation"), self._report)
        kind = fields.text("type") or ""
        mitigations = [each.value for each in Mitigation]
        return Finding(
            kind,
            kind,
            confidence=Level(fields.choice("confidence", CONFIDENCES, default="high")),
            mitigation=Mitigation(fields.choice("mitigation", mitigations, default="none")),
        )
