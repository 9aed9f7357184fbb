"""Owns: the shape of a record that comes from a worker. A worker reads hostile bytes and may be
hijacked: what it tells is parsed here, once, before anything is believed of it. Pure.
"""

import json
import marshal
import re
from collections.abc import Callable
from typing import Any, Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.model import RECORDS_PER_MESSAGE
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
_PARTS: Final = ("destination", "process", "http", "inference", "middleware")
# Of a process, of a model call, of middlewares.
_LISTS: Final = ("ancestors", "tried", "plan", "unscanned", "stages", "findings")
# Of a model call: which endpoint was left out, and why; what was decided by. Of middlewares: what
# they said.
_TREES: Final = ("rejected", "facts", "declared", "shadow", "metadata")
_TREE_DEPTH: Final = 4
_FIELDS: Final = frozenset({"time", "duration_ms", *_WORDS, *_TEXTS, *_COUNTS, *_PARTS})
_REQUIRED: Final = frozenset({"time", "sandbox", "kind", "verdict", "reason", "message", "count"})


def parse_record(body: dict[str, Any]) -> dict[str, Any]:
    """The record that a message between processes holds (`Record.to_wire()`).

    Raises:
        BadInput: it has another shape, or is longer than any honest record.
    """
    if not body.keys() <= _FIELDS:
        name = min(body.keys() - _FIELDS)
        raise BadInput(f"record: unknown field {name!r}{did_you_mean(name, _FIELDS)}")
    if not body.keys() >= _REQUIRED:
        raise BadInput(f"record: lacks {', '.join(sorted(_REQUIRED - body.keys()))}")
    if not _is_small(body) and _size(body) > MAX_RECORD:
        raise BadInput(f"record: longer than {MAX_RECORD} bytes")
    for name, value in body.items():
        if value is None and name in _MAY_BE_NULL:
            continue
        if not _CHECKS[name](value):
            raise BadInput(f"record: {name} is {value!r:.100}")
    return body


def parse_records(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of a `records` message: {records: [...]}. One bad record spoils them all.

    Raises:
        BadInput: it has another shape.
    """
    records = body.get("records")
    if len(body) != 1 or not isinstance(records, list) or len(records) > RECORDS_PER_MESSAGE:
        raise BadInput(f"records: expected a list of {RECORDS_PER_MESSAGE} at most, no more")
    if not all(type(record) is dict for record in records):
        raise BadInput("records: not every one is an object")
    return [parse_record(record) for record in records]


def _is_small(body: dict[str, Any]) -> bool:
    """Whether JSON in UTF-8 can hold it in MAX_RECORD bytes, told much faster than by writing it.

    marshal writes texts as UTF-8 as well, halves of surrogate pairs included; of one byte of its
    JSON makes seven at most (`\\u0000`, `false, `). False means: not known.
    """
    try:
        data = marshal.dumps(body, _MARSHAL_PLAIN)
    except ValueError:  # too deep
        return False
    return len(data) * _JSON_GROWTH <= MAX_RECORD and not _SURROGATE.search(data)


_MARSHAL_PLAIN: Final = 2  # the last format in which equal texts are written out each time
_JSON_GROWTH: Final = 7
_SURROGATE: Final = re.compile(rb"\xed[\xa0-\xbf]")


def _size(body: dict[str, Any]) -> int:
    try:
        return len(json.dumps(body, ensure_ascii=False).encode())
    except (ValueError, RecursionError):  # half a surrogate pair could be neither stored nor shown
        raise BadInput("record: not to be written as JSON in UTF-8") from None


def _is_word_of(words: frozenset[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in words


def _is_time(value: Any) -> bool:
    return _is_number(value) and 0 <= value < 2**33  # until the year 2242


def _is_optional_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_optional_count(value: Any) -> bool:
    return value is None or _is_count(value)


def _is_optional_duration(value: Any) -> bool:
    return value is None or (_is_number(value) and value >= 0)


def _is_optional_part(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict):
        return False
    for key, item in value.items():  # most of a record is here: leaves are passed by at once
        kind = type(item)
        if kind in _WORDLIKE or (kind in _NUMBERS and -MAX_COUNT <= item <= MAX_COUNT):
            continue
        if key in _TREES and _is_tree(item, _TREE_DEPTH):
            continue
        if key not in _LISTS or not _is_list(item):
            return False
    return True


def _is_tree(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind is dict:
        items = value.values()
    elif kind is list:
        items = value
    else:
        return _is_leaf(value)
    if depth == 0:
        return False
    for item in items:
        if type(item) not in _WORDLIKE and not _is_tree(item, depth - 1):
            return False
    return True


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(_is_leaf(item) or _is_flat(item) for item in value)


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_leaf, value.values()))


def _is_leaf(value: Any) -> bool:
    return type(value) in _WORDLIKE or _is_number(value)


def _is_number(value: Any) -> bool:
    if type(value) not in _NUMBERS:
        return False
    return bool(abs(value) <= MAX_COUNT)  # false for what is no number, too


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


# JSON makes these very types and none derived from them.
_WORDLIKE: Final = frozenset({str, bool, type(None)})
_NUMBERS: Final = frozenset({int, float})

_MAY_BE_NULL: Final = _FIELDS - _REQUIRED | {"sandbox"}
_CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    **{name: _is_word_of(words) for name, words in _WORDS.items()},
    **dict.fromkeys(_TEXTS, _is_optional_text),
    **dict.fromkeys(_COUNTS, _is_optional_count),
    **dict.fromkeys(_PARTS, _is_optional_part),
    "time": _is_time,
    "message": lambda value: isinstance(value, str),
    "count": lambda value: _is_count(value) and value >= 1,
    "duration_ms": _is_optional_duration,
}
