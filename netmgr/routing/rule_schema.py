"""Owns: reading conditions (`when`), requirements (`require`) and orders (`by`).

Knows nothing of how they are compared. A condition on what middleware says can only ask for more of
it (`at_least`, `true`, `any`, `all`): so no stage can make a rule fail that held without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from netmgr.inference.declared import OPERATORS
from netmgr.inference.protocols import Protocol
from netmgr.policy.fields import Fields
from netmgr.policy.problems import Report
from netmgr.policy.tree import Mapping as Table
from netmgr.policy.tree import Node
from netmgr.routing.language import (
    Condition,
    Criterion,
    Endpoint,
    Preference,
    Requirement,
    Rule,
    Sensitivity,
    StageRule,
)
from netmgr.routing.needs import NEEDS
from netmgr.routing.words import Words, is_id, read_amount, read_count, read_duration

MAX_RULES: Final = 1000
MAX_PREFERENCES: Final = 100
MAX_CRITERIA: Final = 16  # of one preference
MAX_TOKENS: Final = 10**9

REQUEST_FACTS: Final = (
    "tenant",
    "sandbox",
    "workload",
    "protocol",
    "route",
    "stream",
    "needs",
    "tokens",
    "sensitivity",
)
PROTOCOLS: Final = frozenset(each.value for each in Protocol)
_REQUIREMENTS: Final = (
    "residency",
    "operated_by",
    "retention",
    "clearance",
    "capabilities",
    "context",
    "price_in",
    "price_out",
    "endpoint",
    "provider",
)
_NUMBERS: Final = ("price_in", "price_out", "latency_p95", "context")
_HAVING: Final = ("capability", "operated_by", "residency", "endpoint", "provider")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Every word that a rule may use: what the rest of the file declares.

    Attributes:
        flags, sets: promoted names, by their type.
    """

    sensitivity: Sensitivity
    flags: frozenset[str]
    sets: frozenset[str]
    endpoints: frozenset[str]
    providers: frozenset[str]
    residencies: frozenset[str]
    capabilities: frozenset[str]
    routes: frozenset[str]

    @property
    def needs(self) -> frozenset[str]:
        """What a request may be said to need: what is read off bodies, and what endpoints have."""
        return NEEDS | self.capabilities

    @classmethod
    def of(
        cls,
        sensitivity: Sensitivity,
        stages: tuple[StageRule, ...],
        endpoints: tuple[Endpoint, ...],
        routes: frozenset[str],
    ) -> "Vocabulary":
        """The words of one file."""
        promoted = [each for stage in stages for each in stage.promotions]
        return cls(
            sensitivity,
            flags=frozenset(p.name for p in promoted if p.type == "bool"),
            sets=frozenset(p.name for p in promoted if p.type == "set"),
            endpoints=frozenset(e.id for e in endpoints),
            providers=frozenset(e.provider for e in endpoints),
            residencies=frozenset(r for e in endpoints for r in e.facts.residency),
            capabilities=frozenset(c for e in endpoints for c in e.facts.capabilities),
            routes=routes,
        )


class RuleReader:
    """Reads rules and preferences with the words of one file."""

    def __init__(self, vocabulary: Vocabulary, report: Report) -> None:
        self._known = vocabulary
        self._report = report
        self._words = Words(report)

    # -- rules and preferences -----------------------------------------------------------------

    def rules(self, top: Fields, reserved: frozenset[str]) -> tuple[Rule, ...]:
        """Every rule.

        Args:
            reserved: ids that no rule may have.
        """
        found: list[Rule] = []
        ids: set[str] = set(reserved)
        for place, node in top.items("rules"):
            if len(found) >= MAX_RULES:
                top.problem("rules", f"more than {MAX_RULES} rules")
                break
            fields = Fields(node, place, ("id", "when", "require"), self._report)
            name = fields.text("id") or ""
            if not is_id(name):
                fields.problem("id", "expected an id of letters, digits, '_', '.', '-'")
            elif name in ids:
                what = "is netmgr's own or a budget's" if name in reserved else "stands twice"
                fields.problem("id", f"{name!r} {what}; every rule has an id of its own")
            ids.add(name)
            found.append(Rule(name, self.when(fields), self.require(fields)))
        return tuple(found)

    def preferences(self, top: Fields) -> tuple[Preference, ...]:
        """Every order."""
        found: list[Preference] = []
        for place, node in top.items("prefer"):
            if len(found) >= MAX_PREFERENCES:
                top.problem("prefer", f"more than {MAX_PREFERENCES} orders")
                break
            fields = Fields(node, place, ("when", "by"), self._report)
            if found and not found[-1].when:
                fields.missing("is never reached: the order before it has no 'when'")
            criteria = [self._criterion(fields, item, at) for at, item in fields.items("by")]
            if not criteria or len(criteria) > MAX_CRITERIA:
                fields.problem("by", f"expected 1 to {MAX_CRITERIA} criteria")
            found.append(Preference(self.when(fields), tuple(c for c in criteria if c)))
        return tuple(found)

    # -- conditions --------------------------------------------------------------------------

    def when(self, fields: Fields) -> tuple[Condition, ...]:
        """What has to hold of a request; nothing: always."""
        known = self._known
        names = (*REQUEST_FACTS, *known.flags, *known.sets)
        section = fields.section("when", names)
        if section is None:
            return ()
        found: list[Condition] = []
        for name in section.given(names):
            found += self._condition(section, name)
        return tuple(found)

    def _condition(self, fields: Fields, name: str) -> list[Condition]:
        known = self._known
        match name:
            case "tenant" | "sandbox":
                return self._membership(fields, name, None)
            case "protocol":
                return self._membership(fields, name, PROTOCOLS)
            case "route":
                return self._membership(fields, name, known.routes)
            case "workload":
                return self._workload(fields)
            case "sensitivity":
                return self._at_least(fields)
            case "tokens":
                section = fields.section("tokens", ("at_least",))
                least = read_count(section, "at_least", 0, MAX_TOKENS) if section else None
                return [] if least is None else [Condition("tokens", "at_least", (least,))]
            case "stream":
                flag = fields.flag("stream")
                return [] if flag is None else [Condition("stream", "is", (flag,))]
            case _ if name in known.flags:
                if fields.flag(name) is not True:
                    fields.problem(name, "expected true: a rule may not hold because a flag is off")
                return [Condition(name, "raised")]
        return self._amount(fields, name)

    def _membership(
        self, fields: Fields, name: str, options: frozenset[str] | None, key: str = ""
    ) -> list[Condition]:
        """A word, a list of words, {in: [...]} or {not_in: [...]}."""
        node, kind = fields.node(key or name), "in"
        place, line = fields.where(key or name), fields.line_of(key or name)
        if isinstance(node, Table):
            section = Fields(node, place, ("in", "not_in"), self._report)
            given = section.given(("in", "not_in"))
            if len(given) != 1:
                section.missing("expected one of 'in' and 'not_in'")
                return []
            kind, node, place = given[0], section.node(given[0]), section.where(given[0])
        values = self._words.list(node, place, line, options)
        return [Condition(name, kind, values, key)] if values else []

    def _workload(self, fields: Fields) -> list[Condition]:
        found: list[Condition] = []
        keys = [key for key, _, _ in fields.entries("workload")]
        section = fields.section("workload", keys)
        if section is None or not keys:
            fields.problem("workload", "expected labels and their values: {tier: [batch]}")
            return []
        for key in keys:
            found += self._membership(section, "workload", None, key)
        return found

    def _at_least(self, fields: Fields) -> list[Condition]:
        section = fields.section("sensitivity", ("at_least",))
        label = section.text("at_least") if section is not None else None
        if section is None or label is None:
            fields.problem("sensitivity", "expected {at_least: LABEL}")
            return []
        if label not in self._known.sensitivity.order:
            unknown = self._words.unknown(label, self._known.sensitivity.order)
            section.problem("at_least", unknown)
            return []
        return [Condition("sensitivity", "at_least", (label,))]

    def _amount(self, fields: Fields, name: str) -> list[Condition]:
        """`needs` and promoted sets: {any: [...]} or {all: [...]}; a bare list is `any`."""
        options = self._known.needs if name == "needs" else None
        node, kind, place = fields.node(name), "any", fields.where(name)
        if isinstance(node, Table):
            section = Fields(node, place, ("any", "all"), self._report)
            given = section.given(("any", "all"))
            if len(given) != 1:
                section.missing("expected one of 'any' and 'all'")
                return []
            kind, node = given[0], section.node(given[0])
        values = self._words.list(node, place, fields.line_of(name), options)
        return [Condition(name, kind, values)] if values else []

    # -- requirements ------------------------------------------------------------------------

    def require(self, fields: Fields, key: str = "require") -> tuple[Requirement, ...]:
        """What has to hold of an endpoint; there is at least one."""
        section = fields.section(key, _REQUIREMENTS)
        if section is None:
            fields.missing(f"{key!r} is missing: what an endpoint must have")
            return ()
        given = section.given(_REQUIREMENTS)
        if not given:
            fields.problem(key, "expected at least one requirement")
        found = [self._requirement(section, name) for name in given]
        return tuple(each for each in found if each is not None)

    def _requirement(self, fields: Fields, name: str) -> Requirement | None:
        known = self._known
        match name:
            case "residency":
                return self._listed(fields, name, "within", known.residencies)
            case "operated_by":
                return self._chosen(fields, name, frozenset(OPERATORS))
            case "endpoint":
                return self._chosen(fields, name, known.endpoints)
            case "provider":
                return self._chosen(fields, name, known.providers)
            case "capabilities":
                return self._listed(fields, name, "all", known.capabilities)
            case "clearance":
                section = fields.section(name, ("at_least",))
                label = section.text("at_least") if section is not None else None
                if section is None or label not in known.sensitivity.order:
                    unknown = self._words.unknown(str(label), known.sensitivity.order)
                    fields.problem(name, f"expected {{at_least: LABEL}}; {unknown}")
                    return None
                return Requirement(name, "at_least", (label,))
            case "context":
                return self._bound(fields, name, "min", lambda f: read_count(f, "min", 1, 10**9))
            case "retention":
                return self._bound(fields, name, "max", _retention)
            case _:
                return self._bound(fields, name, "max", lambda f: read_amount(f, "max"))

    def _listed(
        self, fields: Fields, name: str, kind: str, options: frozenset[str]
    ) -> Requirement | None:
        node, place, line = fields.node(name), fields.where(name), fields.line_of(name)
        if isinstance(node, Table):
            section = Fields(node, place, (kind,), self._report)
            node, place = section.node(kind), section.where(kind)
        values = self._words.list(node, place, line, options)
        return Requirement(name, kind, values) if values else None

    def _chosen(self, fields: Fields, name: str, options: frozenset[str]) -> Requirement | None:
        found = self._membership(fields, name, options)
        return Requirement(name, found[0].kind, found[0].values) if found else None

    def _bound(
        self, fields: Fields, name: str, kind: str, read: Callable[[Fields], Any]
    ) -> Requirement | None:
        section = fields.section(name, (kind,))
        value = read(section) if section is not None else None
        if value is None:
            fields.problem(name, f"expected {{{kind}: ...}}")
            return None
        return Requirement(name, kind, (value,))

    # -- criteria ----------------------------------------------------------------------------

    def _criterion(self, fields: Fields, node: Node, place: str) -> Criterion | None:
        known = self._known
        if not isinstance(node, Table):
            words = self._words.list(node, place, fields.line_of("by"), _NUMBERS)
            return Criterion(words[0]) if words else None
        section = Fields(node, place, _HAVING, self._report)
        given = section.given(_HAVING)
        if len(given) != 1:
            section.missing(f"expected one of {', '.join((*_NUMBERS, *_HAVING))}")
            return None
        options = {
            "capability": known.capabilities,
            "operated_by": frozenset(OPERATORS),
            "residency": known.residencies,
            "endpoint": known.endpoints,
            "provider": known.providers,
        }[given[0]]
        words = self._words.list(
            section.node(given[0]), section.where(given[0]), section.line_of(given[0]), options
        )
        return Criterion(given[0], words[0]) if words else None


def _retention(fields: Fields) -> float | None:
    if fields.node("max") is not None and fields.text("max") == "none":
        return 0.0
    return read_duration(fields, "max")
