"""Owns: the shape of a record that comes from a worker. A worker reads hostile bytes and may be
hijacked: what it tells is parsed here, once, before anything is believed of it. Pure.
"""

import json
from typing import Any, Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.reasons import Kind, Reason, Verdict

MAX_RECORD: Final = 64 * 1024  # of UTF-8; netmgr.shown keeps every honest one below it
MAX_COUNT: Final = 2**53  # what JSON's numbers hold exactly

_WORDS: Final[dict[str, frozenset[str]]] = {
    "kind": frozenset(Kind),
    "verdict": frozenset(Verdict),
    "reason": frozenset(Reason),
}
_TEXTS: Final = ("sandbox", "tenant", "rule", "message", "remedy")
_COUNTS: Final = ("policy_revision", "bytes_in", "bytes_out", "count")
_PARTS: Final = ("destination", "process", "http", "inference")
_LISTS: Final = ("ancestors", "attempts")  # of a process, of an inference request
_FIELDS: Final = frozenset({"time", "duration_ms", *_WORDS, *_TEXTS, *_COUNTS, *_PARTS})
_REQUIRED: Final = frozenset({"time", "sandbox", "kind", "verdict", "reason", "message", "count"})


def parse_record(body: dict[str, Any]) -> dict[str, Any]:
    """The record that a message between processes holds (`Record.to_wire()`).

    Raises:
        BadInput: it has another shape, or is longer than any honest record.
    """
    for name in body:
        if name not in _FIELDS:
            raise BadInput(f"record: unknown field {name!r}{did_you_mean(name, _FIELDS)}")
    missing = _REQUIRED - body.keys()
    if missing:
        raise BadInput(f"record: lacks {', '.join(sorted(missing))}")
    if _size(body) > MAX_RECORD:
        raise BadInput(f"record: longer than {MAX_RECORD} bytes")
    for name, value in body.items():
        if not _fits(name, value):
            raise BadInput(f"record: {name} is {value!r:.100}")
    return body


def _size(body: dict[str, Any]) -> int:
    try:
        return len(json.dumps(body, ensure_ascii=False).encode())
    except (ValueError, RecursionError):  # half a surrogate pair could be neither stored nor shown
        raise BadInput("record: not to be written as JSON in UTF-8") from None


def _fits(name: str, value: Any) -> bool:
    if name in _WORDS:
        return isinstance(value, str) and value in _WORDS[name]
    if name == "time":
        return _is_number(value) and 0 <= value < 2**33  # until the year 2242
    if name == "count":
        return _is_count(value) and value >= 1
    if value is None:
        return name != "message"
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _COUNTS:
        return _is_count(value)
    if name == "duration_ms":
        return _is_number(value) and value >= 0
    return isinstance(value, dict) and all(
        _is_leaf(item) or (key in _LISTS and _is_list(item)) for key, item in value.items()
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(_is_leaf(item) or _is_flat(item) for item in value)


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_leaf, value.values()))


def _is_leaf(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or _is_number(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= MAX_COUNT  # false for what is no number, too


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
