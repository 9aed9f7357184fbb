"""Owns: reading a whole routing file. Every key is known, or an error that names the nearest.

Knows nothing of files on disk and of decisions. Sections are read in the order in which later ones
need the words of earlier ones.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from netmgr.policy.fields import Fields
from netmgr.policy.problems import Report
from netmgr.policy.tree import Mapping as Table
from netmgr.policy.tree import Node, Scalar, from_value, parse_yaml, to_value
from netmgr.routing.case_schema import CaseReader
from netmgr.routing.contract import DEFAULT_ROUTE, EndpointId
from netmgr.routing.execution_schema import (
    read_affinity,
    read_budgets,
    read_dial,
    read_failure,
    read_observe,
)
from netmgr.routing.facts_schema import read_endpoints
from netmgr.routing.language import MODES, Endpoint, RoutingFile
from netmgr.routing.metadata_schema import read_sensitivity, read_stages
from netmgr.routing.rule_schema import REQUEST_FACTS, RuleReader, Vocabulary
from netmgr.routing.words import Words, is_id

VERSION: Final = 1
MAX_ROUTES: Final = 1000
ALWAYS_ON: Final = ("disabled", "credential", "protocol", "capability", "context", "clearance")
ROUTERS: Final = ("single", "ordered", "weighted")
_KEYS: Final = (
    "version",
    "router",
    "sensitivity",
    "metadata",
    "endpoints",
    "routes",
    "rules",
    "prefer",
    "failure",
    "affinity",
    "budgets",
    "dial",
    "observe",
    "mode",
    "tests",
)


def parse_routing(text: str, source: str) -> RoutingFile:
    """Read a routing file's text.

    Raises:
        PolicyError: every problem as `source:line: key: message`.
    """
    report = Report()
    root = parse_yaml(text, report)
    found = _read(root, report) if root is not None else None
    report.raise_if_any(source)
    assert found is not None  # without a root there is a problem
    return found


def routing_from_doc(doc: object, source: str = "<routing>") -> RoutingFile:
    """Read what `RoutingFile.doc` says.

    Raises:
        PolicyError: it is none.
    """
    report = Report()
    found = _read(from_value(doc, report), report)
    report.raise_if_any(source)
    return found


def _read(root: Node, report: Report) -> RoutingFile:
    top = Fields(root, "", _KEYS, report)
    if top.integer("version") != VERSION:
        top.problem("version", f"expected {VERSION}")
    sensitivity = read_sensitivity(top, report)
    stages = read_stages(top, sensitivity, frozenset(REQUEST_FACTS), report)
    endpoints = read_endpoints(top, sensitivity, report)
    ids = frozenset(each.id for each in endpoints)
    routes = _routes(top, endpoints, report)
    known = Vocabulary.of(sensitivity, stages, endpoints, frozenset(routes))
    reader = RuleReader(known, report)
    budgets = read_budgets(top, reader, report)
    if budgets:
        _require_prices(endpoints, report)
    reserved = frozenset((*ALWAYS_ON, *(b.id for b in budgets)))
    rules = reader.rules(top, reserved)
    router, config = _router(top, report)
    budget_ids = frozenset(b.id for b in budgets)
    removers = reserved | {rule.id for rule in rules}
    stage_names = frozenset(stage.name for stage in stages)
    doc = to_value(root)
    return RoutingFile(
        doc=doc if isinstance(doc, dict) else {},
        digest=_digest(doc),
        router=router,
        router_config=config,
        sensitivity=sensitivity,
        stages=stages,
        endpoints=endpoints,
        routes=routes,
        rules=rules,
        prefer=reader.preferences(top),
        failure=read_failure(top, report),
        affinity=read_affinity(top),
        budgets=budgets,
        dial=read_dial(top, ids, report),
        observe=read_observe(top),
        mode=top.choice("mode", MODES, default="enforce"),
        cases=CaseReader(known, stage_names, removers, budget_ids, report).read(top),
        warnings=tuple(report.warnings),
    )


def _require_prices(endpoints: Sequence[Endpoint], report: Report) -> None:
    """What has no known price cannot be counted against a budget."""
    for each in endpoints:
        if each.facts.price_in is None or each.facts.price_out is None:
            why = "expected a price, {in: ..., out: ...}: the file has budgets"
            report.problem(each.line, f"endpoints.{each.id}.facts.price", why)


def _routes(
    top: Fields, endpoints: tuple[Endpoint, ...], report: Report
) -> dict[str, tuple[EndpointId, ...]]:
    """The names that a client may ask for. Without the section, every endpoint is the default."""
    ids = tuple(each.id for each in endpoints)
    if "routes" not in top:
        return {DEFAULT_ROUTE: ids}
    words, found = Words(report), dict[str, tuple[EndpointId, ...]]()
    for name, line, node in top.entries("routes"):
        place = f"routes.{name}"
        if len(found) >= MAX_ROUTES:
            report.problem(line, "routes", f"more than {MAX_ROUTES} routes")
            break
        if not is_id(name.replace("/", "-")):
            report.problem(line, place, "expected letters, digits, '_', '.', '-', '/'")
        found[name] = words.list(node, place, line, ids)
    if DEFAULT_ROUTE not in found:
        top.problem("routes", "'default' is missing: what holds for every other name")
        found[DEFAULT_ROUTE] = ids
    return found


def _router(top: Fields, report: Report) -> tuple[str, dict[str, Any]]:
    """The router's name, and its settings."""
    node = top.node("router")
    if node is None:
        return "ordered", {}
    if isinstance(node, Scalar):
        name, config = top.text("router") or "", Table(node.line)
    else:
        fields = Fields(node, "router", ("name", "config"), report)
        name = fields.text("name") or ""
        found = fields.node("config")
        config = found if isinstance(found, Table) else Table(node.line)
        if found is not None and not isinstance(found, Table):
            fields.problem("config", "expected keys and values")
    if not is_id(name):
        top.problem("router", f"expected a router's name: {', '.join(ROUTERS)}, or a plug-in's")
    value = to_value(config)
    return name, value if isinstance(value, dict) else {}


def _digest(doc: object) -> str:
    text = json.dumps(doc, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
