"""Owns: what middleware said of a request -> one label, flags and sets.

Merging is monotone: labels by the maximum, flags by OR, sets by union. So the order of the stages
cannot change the route, and no stage lowers what another one raised. Knows nothing of endpoints.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from netmgr.middleware.contract import Finding, Mitigation, StageResult, Status
from netmgr.routing.language import CONFIDENCES, Promotion, Sensitivity, StageRule

MAX_SET: Final = 256  # members of one promoted set
_MEMBER: Final = re.compile(r"[A-Za-z0-9_./:-]{1,64}")
_BOOL: Final = {"true": True, "false": False}


class _Unparsable(Exception):
    """A promoted value that is not of its type."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a request's content.

    Attributes:
        unscanned: required stages that did not do their work, sorted.
    """

    label: str
    flags: frozenset[str] = frozenset()
    sets: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    unscanned: tuple[str, ...] = ()


@dataclass(slots=True)
class _Merge:
    """Gathers; everything in it only ever grows.

    Attributes:
        said: labels that stages gave the request.
        raised: labels that findings and stages which failed lead to: they never lower.
    """

    said: set[str]
    raised: set[str]
    flags: set[str]
    sets: dict[str, frozenset[str]]


class Promoter:
    """The one door from middleware into routing.

    Args:
        stages: what is promoted; whatever is not named here is for records only.
    """

    def __init__(self, sensitivity: Sensitivity, stages: Iterable[StageRule]) -> None:
        self._sensitivity = sensitivity
        self._stages = {stage.name: stage for stage in stages}
        self._required = frozenset(s.name for s in self._stages.values() if s.required)
        self._at_rest = self._derive(())

    def evidence(self, results: Iterable[StageResult], at_least: str | None = None) -> Evidence:
        """What the stages' results come to.

        Args:
            at_least: a label of earlier calls that this one may not fall below.
        """
        given = tuple(results)
        found = self._derive(given) if given else self._at_rest
        if at_least is None or at_least == found.label:
            return found
        label = self._sensitivity.highest(found.label, at_least)
        return Evidence(label, found.flags, found.sets, found.unscanned)

    def _derive(self, results: tuple[StageResult, ...]) -> Evidence:
        merge = _Merge(set(), set(), set(), {})
        looked: dict[str, bool] = {}
        for result in results:
            stage = self._stages.get(result.stage)
            if stage is not None:
                well = self._take(stage, result, merge)
                looked[stage.name] = looked.get(stage.name, True) and well
        unscanned = tuple(sorted(n for n in self._required if not looked.get(n, False)))
        known = self._sensitivity
        labels = [*merge.raised, *(merge.said or {known.unlabelled})]
        if unscanned:
            labels.append(known.unscanned)
        sets = MappingProxyType(merge.sets)
        return Evidence(known.highest(*labels), frozenset(merge.flags), sets, unscanned)

    def _take(self, stage: StageRule, result: StageResult, merge: _Merge) -> bool:
        """Take one result; whether the stage did its work. What one says that did not counts all
        the same where it makes the request more sensitive."""
        well = result.status is Status.OK
        for promotion in stage.promotions:
            text = result.metadata.get(promotion.key)
            if text is not None:
                try:
                    self._promote(promotion, text, merge, well)
                except _Unparsable:
                    well = False
        for rule in stage.findings:
            least = CONFIDENCES.index(rule.min_confidence)
            for finding in result.findings:
                if finding.type == rule.type and _counts(finding, result, least):
                    merge.raised.add(rule.raises)
        return well

    def _promote(self, promotion: Promotion, text: str, merge: _Merge, well: bool) -> None:
        match promotion.type:
            case "label":
                if text not in self._sensitivity.order:
                    raise _Unparsable(text)
                if well:
                    merge.said.add(text)
                else:
                    merge.raised.add(text)
            case "bool":
                if text not in _BOOL:
                    raise _Unparsable(text)
                if _BOOL[text]:
                    merge.flags.add(promotion.name)
            case _:
                members = _members(text)
                merge.sets[promotion.name] = merge.sets.get(promotion.name, frozenset()) | members


def _counts(finding: Finding, result: StageResult, least: int) -> bool:
    """Whether a finding raises the label. One that was removed does not, if the same stage did
    give back another body; that the policy let that pass is why the request came here."""
    removed = finding.mitigation is Mitigation.REMOVED
    if removed and result.status is Status.OK and result.body is not None:
        return False
    level = finding.confidence.value
    return level not in CONFIDENCES or CONFIDENCES.index(level) >= least


def _members(text: str) -> frozenset[str]:
    """A set as a stage writes it: a JSON list of words, or words between commas."""
    if text.startswith("["):
        try:
            items = json.loads(text)
        except (ValueError, RecursionError):
            raise _Unparsable(text) from None
    else:
        items = [word.strip() for word in text.split(",") if word.strip()]
    if not isinstance(items, list) or len(items) > MAX_SET:
        raise _Unparsable(text)
    if not all(isinstance(item, str) and _MEMBER.fullmatch(item) for item in items):
        raise _Unparsable(text)
    return frozenset(items)
