"""Owns: reading `sensitivity` and `metadata`: the labels, and what middleware may say to routing.

Knows nothing of stages' results.
"""

from typing import Final

from netmgr.policy.fields import Fields
from netmgr.policy.problems import Report
from netmgr.policy.tree import Node
from netmgr.routing.language import (
    CONFIDENCES,
    PROMOTED_TYPES,
    FindingRule,
    Promotion,
    Sensitivity,
    StageRule,
)
from netmgr.routing.words import MAX_WORD, Words, is_id

MAX_LABELS: Final = 32
MAX_STAGES: Final = 64
MAX_PROMOTIONS: Final = 64  # of one stage
_FALLBACK: Final = Sensitivity(("unlabelled",), "unlabelled", "unlabelled")


def read_sensitivity(top: Fields, report: Report) -> Sensitivity:
    """The labels. A file without the section has one label, and every endpoint is cleared for
    it."""
    if "sensitivity" not in top:
        return _FALLBACK
    fields = top.section("sensitivity", ("order", "unlabelled", "unscanned"))
    if fields is None:
        return _FALLBACK
    words = Words(report)
    order = words.list(fields.node("order"), fields.where("order"), fields.line_of("order"))
    if not order or len(order) > MAX_LABELS:
        fields.problem("order", f"expected 1 to {MAX_LABELS} labels, the least sensitive first")
        return _FALLBACK

    def one(key: str) -> str:
        label = fields.text(key)
        if label is None:
            fields.missing(f"{key!r} is missing: a label of 'order'")
        elif label in order:
            return label
        else:
            fields.problem(key, words.unknown(label, order))
        return order[-1]

    found = Sensitivity(order, one("unlabelled"), one("unscanned"))
    if found.rank(found.unscanned) < found.rank(found.unlabelled):
        fields.problem("unscanned", "expected a label that is no less sensitive than 'unlabelled'")
    return found


def read_stages(
    top: Fields, sensitivity: Sensitivity, taken: frozenset[str], report: Report
) -> tuple[StageRule, ...]:
    """What routing takes from each stage.

    Args:
        taken: names that conditions have already; a promoted name must be another.
    """
    found: list[StageRule] = []
    types: dict[str, str] = {}
    for name, line, node in top.entries("metadata"):
        place = f"metadata.{name}"
        if len(found) >= MAX_STAGES:
            report.problem(line, "metadata", f"more than {MAX_STAGES} stages")
            break
        stage = _stage(name, node, place, (sensitivity, taken), report)
        for promotion in stage.promotions:
            where = f"{place}.promote.{promotion.name}"
            if types.setdefault(promotion.name, promotion.type) != promotion.type:
                other = types[promotion.name]
                report.problem(line, where, f"another stage promotes that name as {other}")
        found.append(stage)
    return tuple(found)


def _stage(
    name: str,
    node: Node,
    place: str,
    words: tuple[Sensitivity, frozenset[str]],
    report: Report,
) -> StageRule:
    sensitivity, taken = words
    fields = Fields(node, place, ("required", "promote", "findings"), report)
    if not is_id(name):
        fields.missing("a stage is named by letters, digits, '_', '.', '-'")
    promotions = [
        _promotion(key, item, f"{place}.promote.{key}", taken, report)
        for key, _, item in fields.entries("promote")
    ]
    findings = [
        _finding(key, item, f"{place}.findings.{key}", sensitivity, report)
        for key, _, item in fields.entries("findings")
    ]
    if len(promotions) > MAX_PROMOTIONS or len(findings) > MAX_PROMOTIONS:
        fields.missing(f"more than {MAX_PROMOTIONS} keys or findings")
    return StageRule(name, fields.flag("required") is True, tuple(promotions), tuple(findings))


def _promotion(
    name: str, node: Node, place: str, taken: frozenset[str], report: Report
) -> Promotion:
    fields = Fields(node, place, ("key", "type"), report)
    if not is_id(name):
        fields.missing("a promoted name has letters, digits, '_', '.', '-' only")
    kind = fields.choice("type", ("", *PROMOTED_TYPES), default="")
    if not kind:
        fields.missing(f"'type' is missing: one of {', '.join(PROMOTED_TYPES)}")
    if kind != "label" and name in taken:
        fields.missing("conditions have a fact of that name already")
    key = fields.text("key") or name
    if len(key) > MAX_WORD:
        fields.problem("key", f"expected {MAX_WORD} characters at most")
    return Promotion(name, key, kind or "label")


def _finding(
    kind: str, node: Node, place: str, sensitivity: Sensitivity, report: Report
) -> FindingRule:
    fields = Fields(node, place, ("raises", "min_confidence"), report)
    label = fields.text("raises")
    if label is None:
        fields.missing("'raises' is missing: the label that such a finding leads to")
    elif label not in sensitivity.order:
        fields.problem("raises", Words(report).unknown(label, sensitivity.order))
        label = None
    least = fields.choice("min_confidence", CONFIDENCES, default=CONFIDENCES[0])
    return FindingRule(kind, label or sensitivity.order[-1], least)
