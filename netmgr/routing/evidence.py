"""Owns: what middleware said of a request -> one label, flags and sets.

Merging is monotone: labels by the maximum, flags by OR, sets by union. So the order of the stages
cannot change the route, and no stage lowers what another one raised. Knows nothing of endpoints.
"""

import json
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from netmgr.middleware.contract import Finding, Level, Mitigation, StageResult, Status
from netmgr.routing.language import CONFIDENCES, Promotion, Sensitivity, StageRule

MAX_SET: Final = 256  # members of one promoted set
_MEMBER: Final = re.compile(r"[A-Za-z0-9_./:-]{1,64}")
_TRUE: Final = "true"
_FALSE: Final = "false"


class Evidence(NamedTuple):
    """What is known of a request's content.

    Attributes:
        unscanned: required stages that did not do their work, sorted.
    """

    label: str
    flags: frozenset[str] = frozenset()
    sets: Mapping[str, frozenset[str]] = MappingProxyType({})
    unscanned: tuple[str, ...] = ()


class _Merge:
    """Gathers; everything in it only ever grows. Labels are ranks here, -1 for none.

    Attributes:
        said: the highest label that stages gave the request.
        raised: the highest that findings, and stages which failed, lead to: they never lower.
        well: names of stages that did their work, `failed` of those that did not.
    """

    __slots__ = ("failed", "flags", "raised", "said", "sets", "well")

    def __init__(self) -> None:
        self.said = -1
        self.raised = -1
        self.flags: set[str] = set()
        self.sets: dict[str, frozenset[str]] = {}
        self.well: set[str] = set()
        self.failed: set[str] = set()


class _Stage:
    """What one stage may say, ready for looking up."""

    __slots__ = ("findings", "name", "promotions")

    def __init__(self, rule: StageRule, sensitivity: Sensitivity) -> None:
        self.name = rule.name
        self.promotions = rule.promotions
        # type -> (rank of the label, the least confidence)
        self.findings = {
            each.type: (sensitivity.rank(each.raises), CONFIDENCES.index(each.min_confidence))
            for each in rule.findings
        }


class Promoter:
    """The one door from middleware into routing.

    Args:
        stages: what is promoted; whatever is not named here is for records only.
    """

    def __init__(self, sensitivity: Sensitivity, stages: Iterable[StageRule]) -> None:
        rules = tuple(stages)
        self._order = sensitivity.order
        self._ranks = {label: rank for rank, label in enumerate(sensitivity.order)}
        self._unlabelled = sensitivity.rank(sensitivity.unlabelled)
        self._unscanned = sensitivity.rank(sensitivity.unscanned)
        self._stages = {rule.name: _Stage(rule, sensitivity) for rule in rules}
        self._required = frozenset(rule.name for rule in rules if rule.required)
        self._at_rest = self._derive(())

    def evidence(self, results: Iterable[StageResult], at_least: str | None = None) -> Evidence:
        """What the stages' results come to.

        Args:
            at_least: a label of earlier calls that this one may not fall below.
        """
        given = tuple(results)
        found = self._derive(given) if given else self._at_rest
        if at_least is None or self._ranks[at_least] <= self._ranks[found.label]:
            return found
        return found._replace(label=at_least)

    def _derive(self, results: tuple[StageResult, ...]) -> Evidence:
        merge = _Merge()
        for result in results:
            stage = self._stages.get(result.stage)
            if stage is not None:
                looked = merge.well if self._take(stage, result, merge) else merge.failed
                looked.add(stage.name)
        rank = max(merge.raised, merge.said if merge.said >= 0 else self._unlabelled)
        unscanned: tuple[str, ...] = ()
        if not self._required <= merge.well - merge.failed:
            unscanned = tuple(sorted(self._required - (merge.well - merge.failed)))
            rank = max(rank, self._unscanned)
        return Evidence(self._order[rank], frozenset(merge.flags), merge.sets, unscanned)

    def _take(self, stage: _Stage, result: StageResult, merge: _Merge) -> bool:
        """Take one result; whether the stage did its work. What one says that did not counts all
        the same where it makes the request more sensitive."""
        well = result.status is Status.OK
        if result.metadata:
            for promotion in stage.promotions:
                text = result.metadata.get(promotion.key)
                if text is not None and not self._promote(promotion, text, merge, well):
                    well = False
        for finding in result.findings:
            raises = stage.findings.get(finding.type)
            if raises is not None and _counts(finding, result, raises[1]):
                merge.raised = max(merge.raised, raises[0])
        return well

    def _promote(self, promotion: Promotion, text: str, merge: _Merge, well: bool) -> bool:
        """Take one promoted value; False where it is not of its type."""
        name = promotion.name
        match promotion.type:
            case "label":
                rank = self._ranks.get(text)
                if rank is None:
                    return False
                if well:
                    merge.said = max(merge.said, rank)
                else:
                    merge.raised = max(merge.raised, rank)
            case "bool":
                if text == _TRUE:
                    merge.flags.add(name)
                return text in (_TRUE, _FALSE)
            case _:
                members = _members(text)
                if members is None:
                    return False
                merge.sets[name] = merge.sets.get(name, frozenset()) | members
        return True


def _counts(finding: Finding, result: StageResult, least: int) -> bool:
    """Whether a finding raises the label. One that was removed does not, if the same stage did
    give back another body; that the policy let that pass is why the request came here."""
    if (
        finding.mitigation is Mitigation.REMOVED
        and result.status is Status.OK
        and result.body is not None
    ):
        return False
    if not least:
        return True
    confidence = finding.confidence  # by identity: an enumeration's hash and value are slow
    return confidence is not Level.LOW and (least == 1 or confidence is not Level.MEDIUM)


def _members(text: str) -> frozenset[str] | None:
    """A set as a stage writes it: a JSON list of words, or words between commas; None where it is
    neither."""
    if text.startswith("["):
        try:
            items = json.loads(text)
        except (ValueError, RecursionError):
            return None
    else:
        items = [word.strip() for word in text.split(",") if word.strip()]
    if not isinstance(items, list) or len(items) > MAX_SET:
        return None
    if not all(isinstance(item, str) and _MEMBER.fullmatch(item) for item in items):
        return None
    return frozenset(items)
