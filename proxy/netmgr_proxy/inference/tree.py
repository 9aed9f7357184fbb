"""Owns: what is asked of every value of a body: its keys while it is read, then depth and strings.

An object is a dict, an array is a list. Strings are in Latin-1 clothes: one character per byte of
UTF-8, and whatever an escape named. Knows nothing of models and of places in the text.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, compress, filterfalse, repeat
from operator import is_
from typing import Any, Final

from netmgr.inference.protocols import Shape
from netmgr.reasons import Reason
from netmgr_proxy.inference.errors import Refusal

MAX_DEPTH: Final = 128  # serde_json's bound; tool schemas in use stay below 30

Object = dict[str, Any]


class MalformedBody(ValueError):
    """A request body that is not sent on.

    Attributes:
        status: 400, or 413 where a bound is exceeded.
        message: what is wrong and where; at most one key of the body is repeated.
    """

    def __init__(
        self, message: str, status: int = 400, reason: Reason = Reason.MALFORMED_REQUEST
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason

    def refusal(self, shape: Shape) -> Refusal:
        """As an answer in the protocol's shape. The body was read: the connection may stay."""
        return Refusal(self.status, self.reason, self.message, close=False, shape=shape)


def object_of(pairs: list[tuple[str, Any]]) -> Object:
    """An object of which each member was just read.

    Raises:
        MalformedBody: a key stands twice in it.
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise key_twice(key)
            seen.add(key)
    return members


def survey(values: Iterable[Any], *, escapes: bool) -> frozenset[str]:
    """Look at every value once, level by level; nearly all of it runs in C.

    Args:
        values: what stands at the top of the document.
        escapes: whether the body has any; only an escape can name half a surrogate pair.

    Returns:
        Every key below the top.

    Raises:
        MalformedBody: nested too deep, half a surrogate pair.
    """
    level = list(values)
    depth = 1  # the document itself
    found: set[str] = set()
    while level:
        kinds = list(map(type, level))
        if escapes:
            check_strings(_of_type(str, level, kinds))
        objects: list[Object] = list(_of_type(dict, level, kinds))
        arrays = list(_of_type(list, level, kinds))
        if not objects and not arrays:
            break
        depth += 1
        if depth > MAX_DEPTH:
            raise too_deep()
        found.update(*objects)
        level = list(chain.from_iterable(arrays))
        level += chain.from_iterable(map(dict.values, objects))
    if escapes:
        check_strings(found)
    return frozenset(found)


def check_strings(strings: Iterable[str]) -> None:
    """Refuse half a surrogate pair.

    Raises:
        MalformedBody: some string has one.
    """
    for text in filterfalse(str.isascii, strings):
        try:
            text.encode("latin-1")  # by far the quickest way to see that no escape is in it
        except UnicodeEncodeError:
            _check_string(text)


def _check_string(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MalformedBody("the request body has half of a surrogate pair") from None


def _of_type(kind: type, level: list[Any], kinds: list[type]) -> Iterator[Any]:
    return compress(level, map(is_, kinds, repeat(kind)))


def too_deep() -> MalformedBody:
    """The refusal of a body that is nested too deep."""
    return MalformedBody(f"the request body is nested deeper than {MAX_DEPTH} levels")


def key_twice(key: str) -> MalformedBody:
    """The refusal of an object that has `key` twice: readers differ in which one they believe."""
    return MalformedBody(f"the request body has the key {key[:20]!r} more than once in one object")
