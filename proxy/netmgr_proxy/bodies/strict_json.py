"""Owns: JSON whose every reader sees the same: what two parsers could read differently is refused.

Stricter than `json`: a key may stand once in an object, numbers are finite, text is UTF-8 without a
byte order mark and without half a surrogate pair, depth and number of values are bounded. Readers
that ignore the case of keys (Go's encoding/json) are met by `check_keys`. Source: RFC 8259 §4, §8.
"""

import json
from collections.abc import Iterable, Mapping
from math import isinf
from typing import Any, Final, NoReturn

from netmgr.reasons import Reason

MAX_DEPTH: Final = 64  # of arrays and objects; calls in use stay below 20
# Brackets and commas, an upper bound of the values. Each takes 50 to 200 bytes once it is read: the
# 8 MiB that a body may have would otherwise become 500.
MAX_STRUCTURE: Final = 200_000
_SHOWN: Final = 60  # characters of a key that a message repeats


class BadBody(ValueError):
    """A body that cannot be judged, and therefore is not sent on.

    Attributes:
        status: of the answer.
        reason: the code that is shown.
    """

    def __init__(
        self, why: str, status: int = 400, reason: Reason = Reason.MALFORMED_REQUEST
    ) -> None:
        super().__init__(why)
        self.status = status
        self.reason = reason


def read_json(body: bytes) -> Any:
    """The one JSON value that `body` is.

    Raises:
        BadBody: it is none, or one that could be read in two ways.
    """
    if body.startswith(b"\xef\xbb\xbf"):
        raise BadBody("the body begins with a byte order mark (RFC 8259 §8.1)")
    if body.count(b",") + body.count(b"{") + body.count(b"[") > MAX_STRUCTURE:
        why = f"the body has more than {MAX_STRUCTURE} commas and brackets"
        raise BadBody(why, 413, Reason.LIMIT_EXCEEDED)
    try:
        text = body.decode("utf-8")
        value = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise BadBody(f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise BadBody(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _too_deep() from None
    except BadBody:
        raise
    except ValueError:  # an integer beyond sys.get_int_max_str_digits()
        raise BadBody("a number in the body is too long") from None
    _check_depth(value)
    if "\\u" in text:
        _check_surrogates(value)
    return value


def check_keys(value: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse keys that a reader without regard to case takes for one of `known`, or for each other.

    Raises:
        BadBody: there is one.
    """
    folded: dict[str, str] = {key.casefold(): key for key in known}
    seen: set[str] = set()
    for key in value:
        plain = key.casefold()
        meant = folded.get(plain)
        if meant is not None and meant != key:
            raise BadBody(f"{where} has the key {show(key)}, which some read as {meant!r}")
        if plain in seen:
            raise BadBody(f"{where} has the key {show(key)} twice, in different case")
        seen.add(plain)


def show(text: str) -> str:
    """A word of a hostile body, as a message may repeat it."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadBody(f"the key {show(key)} stands twice in one object")
            seen.add(key)
    return found


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise BadBody("the body has a number beyond all bounds")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise BadBody(f"the body has {name}, which is no JSON (RFC 8259 §6)")


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [item for item in level if type(item) in (dict, list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        inner: list[Any] = []
        for item in level:
            inner += item.values() if type(item) is dict else item
        level = inner


def _check_surrogates(value: Any) -> None:
    level = [value]
    while level:
        inner: list[Any] = []
        for item in level:
            if type(item) is dict:
                inner += item.keys()
                inner += item.values()
            elif type(item) is list:
                inner += item
            elif type(item) is str and not _is_text(item):
                raise BadBody("the body has half of a surrogate pair")
        level = inner


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep() -> BadBody:
    return BadBody(f"the body is nested deeper than {MAX_DEPTH} levels")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant
)
