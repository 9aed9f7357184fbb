"""Owns: the stages that netmgr brings: detectors and the tagger. A request in, a result out.

What is found in a request's target cannot be taken out there: a stage that takes out denies then.
Pure, and takes time in proportion to the body.
"""

from collections import Counter
from typing import Final

from netmgr.middleware.bounds import MAX_FINDINGS
from netmgr.middleware.catalogue import PERSONAL, SECRETS, TAGGER, Do, detection_of
from netmgr.middleware.chain import Stage
from netmgr.middleware.contract import Action, Finding, Level, Mitigation, StageResult
from netmgr.middleware.request import StageRequest
from netmgr_proxy.scan.finder import Finder, Found, Kind, TooMuch, decoded, finder_of
from netmgr_proxy.scan.modalities import modalities_of

_GRAVE: Final = frozenset((*SECRETS, "card"))
_CHECKED: Final = frozenset(("card", "iban", "phone"))  # by a check digit or a numbering plan
_FORM: Final = "application/x-www-form-urlencoded"


def run_built_in(stage: Stage, request: StageRequest) -> StageResult:
    """What a stage says of a request."""
    if stage.middleware == TAGGER:
        return _tag(stage, request)
    detection = detection_of(stage)
    assert detection is not None, "every other built-in detects"
    finder = finder_of(detection)
    try:
        found = finder.look(request.body, kind_of(request)) if request.body else Found()
        in_target = finder.count(decoded(request.target.encode("latin-1", "replace")))
        if detection.do is Do.REDACT:
            return _redact(stage, finder, found, in_target, request)
        counts = found.counts + in_target
    except TooMuch as much:
        counts = much.counts
        if detection.do is Do.REDACT or not counts:
            return stage.failed("more places have the shape than can be looked at")
    denies = detection.do is Do.DENY and bool(counts)
    return StageResult(
        stage.key,
        stage.middleware,
        decision=Action.DENY if denies else Action.ALLOW,
        reason_code=f"{_what(counts)}_found" if denies else "",
        findings=_findings(counts),
        metadata=_metadata(counts),
    )


def kind_of(request: StageRequest) -> Kind:
    """How the body is written."""
    media = request.header("content-type").partition(";")[0].strip().lower()
    if media == _FORM and request.body.lstrip()[:1] not in (b"{", b"["):
        return Kind.FORM
    if media.endswith("json") or request.body.lstrip()[:1] in (b"{", b"["):
        return Kind.JSON
    return Kind.PLAIN


def _redact(
    stage: Stage, finder: Finder, found: Found, in_target: Counter[str], request: StageRequest
) -> StageResult:
    body = found.body
    left = finder.look(body, kind_of(request)).counts if body is not None else found.counts
    if in_target or left:
        remain = _findings(found.counts + in_target)
        code = f"{_what(in_target or left)}_not_removable"
        return StageResult(
            stage.key,
            stage.middleware,
            decision=Action.DENY,
            reason_code=code,
            findings=remain,
            metadata=_metadata(found.counts + in_target),
        )
    if body is None:
        return StageResult(stage.key, stage.middleware, metadata=_metadata(found.counts))
    return StageResult(
        stage.key,
        stage.middleware,
        decision=Action.TRANSFORM,
        body=body,
        reason_code=f"{_what(found.counts)}_removed",
        findings=_findings(found.counts, Mitigation.REMOVED),
        metadata=_metadata(found.counts),
    )


def _findings(
    counts: Counter[str], mitigation: Mitigation = Mitigation.NONE
) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            type=_type(label),
            label=label,
            count=count,
            confidence=Level.HIGH if label in _CHECKED else Level.MEDIUM,
            severity=Level.HIGH if label in _GRAVE else Level.MEDIUM,
            mitigation=mitigation,
        )
        for label, count in sorted(counts.items())[:MAX_FINDINGS]
    )


def _metadata(counts: Counter[str]) -> dict[str, str]:
    return {"found": ",".join(sorted(counts)) or "nothing"}


def _type(label: str) -> str:
    return "pii" if label in PERSONAL else "secret"


def _what(counts: Counter[str]) -> str:
    """The graver kind."""
    return "secret" if any(label in SECRETS for label in counts) else "pii"


def _tag(stage: Stage, request: StageRequest) -> StageResult:
    size = len(request.body)
    metadata = {
        "bytes": str(size),
        "size": "small" if size < _SMALL else "medium" if size < _LARGE else "large",
        "modalities": ",".join(modalities_of(request)),
    }
    return StageResult(stage.key, stage.middleware, metadata=metadata)


_SMALL: Final = 16 * 1024  # some four thousand tokens of a prompt
_LARGE: Final = 256 * 1024
