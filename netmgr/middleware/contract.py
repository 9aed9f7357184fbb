"""Owns: what one stage of a chain answers: `StageResult`, and how it is parsed from a stranger.

Whoever answers may be wrong or hijacked: every bound is checked before a value is made, and what
breaks one is no answer at all. Text that a stage matched has no place in a result: a finding is a
type, a label, a number. Pure.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from netmgr.errors import BadInput, did_you_mean
from netmgr.middleware.bounds import (
    MAX_FINDING,
    MAX_FINDINGS,
    MAX_METADATA,
    MAX_METADATA_BYTES,
    MAX_MUTATIONS,
)

WRITABLE: Final = "x-openshell-middleware-"  # the only header fields that a stage may write
_REASON_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,256}")  # RFC 9110 §5.6.2, lower case
_MAX_VALUE: Final = 8 * 1024
_KEYS: Final = frozenset(("decision", "headers", "reason_code", "findings", "metadata"))
_FINDING_KEYS: Final = frozenset(("type", "label", "count", "confidence", "severity", "mitigation"))

_Word = TypeVar("_Word", bound=StrEnum)


class Status(StrEnum):
    """What became of a stage."""

    OK = "ok"  # it answered
    FAILED = "failed"  # it did not, or not in time, or not well
    BYPASSED = "bypassed"  # it failed where that opens (`on_error: fail_open`)
    SKIPPED = "skipped"  # an earlier stage ended the chain
    OVER_LIMIT = "over_limit"  # the request is larger than a stage is shown


class Action(StrEnum):
    """What a stage says of a request."""

    ALLOW = "allow"
    DENY = "deny"
    TRANSFORM = "transform"  # it goes on, changed


class Level(StrEnum):
    """How sure, or how grave."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Mitigation(StrEnum):
    """What the stage did about a finding."""

    NONE = "none"
    REMOVED = "removed"  # it is not in the body that the stage gave back


class Existing(StrEnum):
    """What a written header field does to one of its name."""

    APPEND = "append"
    OVERWRITE = "overwrite"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something of one kind that a stage found.

    Attributes:
        type: what (`secret`, `pii`, ...), for rules.
        label: which kind of it (`aws_key`, `iban`), never what was matched.
        count: how often.
        confidence: how sure the stage is; LOW, MEDIUM or HIGH.
    """

    type: str
    label: str
    count: int = 1
    confidence: Level = Level.MEDIUM
    severity: Level = Level.MEDIUM
    mitigation: Mitigation = Mitigation.NONE

    def to_doc(self) -> dict[str, Any]:
        """As JSON values: of a record, and between processes."""
        return {
            "type": self.type,
            "label": self.label,
            "count": self.count,
            "confidence": self.confidence.value,
            "severity": self.severity.value,
            "mitigation": self.mitigation.value,
        }


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """One header field to write, or to take away.

    Attributes:
        name: in lower case.
        value: None takes every field of the name away.
    """

    name: str
    value: str | None = None
    existing: Existing = Existing.OVERWRITE

    def to_doc(self) -> dict[str, Any]:
        """As JSON values."""
        if self.value is None:
            return {"remove": self.name}
        return {"write": self.name, "value": self.value, "existing": self.existing.value}


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one stage answered, or why it did not.

    Attributes:
        stage: the key of its configuration in the policy: the namespace of its metadata.
        middleware: which middleware it is.
        decision: only meaningful where `status` is ok; ALLOW else.
        body: the one that replaces the request's; None: as it was.
        reason_code: `[a-z][a-z0-9_]{0,63}`, or ''.
        trouble: why it failed, in netmgr's words.
        metadata: what it says of the request, for routing and records.
    """

    stage: str
    middleware: str
    status: Status = Status.OK
    decision: Action = Action.ALLOW
    body: bytes | None = None
    headers: tuple[HeaderChange, ...] = ()
    reason_code: str = ""
    trouble: str = ""
    findings: tuple[Finding, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def denies(self) -> bool:
        """Whether the stage answered no."""
        return self.status is Status.OK and self.decision is Action.DENY

    @property
    def failed(self) -> bool:
        """Whether nobody has looked, and that counts."""
        return self.status in (Status.FAILED, Status.OVER_LIMIT)

    def bypassed(self) -> "StageResult":
        """The same failure where it opens."""
        return replace(self, status=Status.BYPASSED, trouble=self.trouble or self.status.value)

    def to_doc(self) -> dict[str, Any]:
        """As a stage answers, without the body."""
        doc: dict[str, Any] = {"decision": self.decision.value}
        if self.headers:
            doc["headers"] = [change.to_doc() for change in self.headers]
        if self.reason_code:
            doc["reason_code"] = self.reason_code
        if self.findings:
            doc["findings"] = [finding.to_doc() for finding in self.findings]
        if self.metadata:
            doc["metadata"] = dict(self.metadata)
        return doc

    def to_record(self) -> dict[str, Any]:
        """As a decision record tells it: types, counts and labels."""
        doc = {"stage": self.stage, "middleware": self.middleware, "status": self.status.value}
        doc |= {key: value for key, value in self.to_doc().items() if key != "headers"}
        return doc | ({"trouble": self.trouble} if self.trouble else {})


def parse_result(
    doc: object, stage: str, middleware: str, body: bytes | None = None
) -> StageResult:
    """An answer, as `StageResult.to_doc` writes it.

    Args:
        body: the one that came with it.

    Raises:
        BadInput: it breaks the contract; which part of it, and how.
    """
    fields = _mapping(doc, "the answer", _KEYS)
    decision = _word(fields.get("decision"), Action, "decision")
    result = StageResult(
        stage=stage,
        middleware=middleware,
        decision=decision,
        body=body,
        headers=_list(fields, "headers", MAX_MUTATIONS, _parse_change),
        reason_code=_reason_code(fields.get("reason_code", "")),
        findings=_list(fields, "findings", MAX_FINDINGS, _parse_finding),
        metadata=_metadata(fields.get("metadata", {})),
    )
    if (decision is Action.TRANSFORM) is not (body is not None or bool(result.headers)):
        raise BadInput("decision: 'transform' comes with a body or with headers, no other does")
    return result


def _parse_finding(doc: object) -> Finding:
    fields = _mapping(doc, "a finding", _FINDING_KEYS)
    count = fields.get("count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 2**31:
        raise BadInput("findings: count: expected a whole number from 1 on")
    finding = Finding(
        type=_text(fields.get("type"), "findings: type"),
        label=_text(fields.get("label"), "findings: label"),
        count=count,
        confidence=_word(fields.get("confidence", "medium"), Level, "findings: confidence"),
        severity=_word(fields.get("severity", "medium"), Level, "findings: severity"),
        mitigation=_word(fields.get("mitigation", "none"), Mitigation, "findings: mitigation"),
    )
    if len(finding.type) + len(finding.label) > MAX_FINDING:
        raise BadInput(f"findings: one is longer than {MAX_FINDING} characters")
    return finding


def _parse_change(doc: object) -> HeaderChange:
    fields = _mapping(doc, "a header", frozenset(("write", "value", "existing", "remove")))
    name = fields.get("remove", fields.get("write"))
    if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name.lower()):
        raise BadInput("headers: expected 'write' or 'remove' with the name of a header field")
    if "remove" in fields:
        return HeaderChange(name.lower())
    value = fields.get("value")
    if not name.lower().startswith(WRITABLE):
        raise BadInput(f"headers: only fields that begin with {WRITABLE!r} can be written")
    if not isinstance(value, str) or len(value) > _MAX_VALUE or not _is_field_value(value):
        raise BadInput(f"headers: value: expected at most {_MAX_VALUE} printable ASCII characters")
    existing = _word(fields.get("existing", "overwrite"), Existing, "headers: existing")
    return HeaderChange(name.lower(), value, existing)


def _metadata(doc: object) -> dict[str, str]:
    if not isinstance(doc, dict) or len(doc) > MAX_METADATA:
        raise BadInput(f"metadata: expected at most {MAX_METADATA} keys with texts")
    found = {
        _text(key, "metadata: a key"): _text(value, "metadata", empty=True)
        for key, value in doc.items()
    }
    if sum(len(key) + len(value) for key, value in found.items()) > MAX_METADATA_BYTES:
        raise BadInput(f"metadata: more than {MAX_METADATA_BYTES} characters")
    return found


def _mapping(doc: object, what: str, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(doc, dict):
        raise BadInput(f"{what}: expected keys and values")
    for key in doc:
        if key not in known:
            raise BadInput(f"{what}: unknown key {str(key)[:64]!r}{did_you_mean(str(key), known)}")
    return doc


def _list(
    fields: dict[str, Any], key: str, most: int, parse: Callable[[object], Any]
) -> tuple[Any, ...]:
    value = fields.get(key, [])
    if not isinstance(value, list) or len(value) > most:
        raise BadInput(f"{key}: expected a list of at most {most}")
    return tuple(parse(item) for item in value)


def _word(value: object, words: type[_Word], what: str) -> _Word:
    try:
        return words(str(value))
    except ValueError:
        known = [word.value for word in words]
        raise BadInput(
            f"{what}: expected {', '.join(known)}, got {str(value)[:64]!r}"
            f"{did_you_mean(str(value)[:64], known)}"
        ) from None


def _reason_code(value: object) -> str:
    if value == "":
        return ""
    if not isinstance(value, str) or not _REASON_CODE.fullmatch(value):
        raise BadInput("reason_code: expected [a-z][a-z0-9_]{0,63}")
    return value


def _text(value: object, what: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty) or not value.isprintable():
        raise BadInput(f"{what}: expected a printable text")
    if len(value) > MAX_METADATA_BYTES:
        raise BadInput(f"{what}: longer than {MAX_METADATA_BYTES} characters")
    return value


def _is_field_value(value: str) -> bool:
    """Visible ASCII and inner spaces (RFC 9110 §5.5, without obs-text)."""
    return value.isascii() and value.isprintable() and value == value.strip(" ")
