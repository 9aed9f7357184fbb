"""Owns: reading a request body as one strict JSON object, with the place of each top-level value.

Knows nothing of models. Stricter than most servers on purpose: what one parser refuses and another
one reads (RFC 8259 §4, §6, §8, §9) is refused, so that what is judged here is what the provider
reads. A key twice in one object is such a thing, at any depth.

The text is scanned as Latin-1: one character per byte, so every offset is a byte offset; that it
is UTF-8 is checked apart. The scanning itself is json's C scanner. All else here is arranged so
that a long body costs little more than that scan: only passes that run in C, and no cycles for the
garbage collector to look for.
"""

import codecs
import gc
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isinf
from typing import Any, Final, NamedTuple, NoReturn, cast

from netmgr.reasons import Reason
from netmgr_proxy.inference.tree import (
    MAX_DEPTH,
    MalformedBody,
    check_strings,
    key_twice,
    object_of,
    survey,
    too_deep,
)

__all__ = ["MAX_DEPTH", "MAX_MEMBERS", "Document", "MalformedBody", "Member", "read_document"]

MAX_MEMBERS: Final = 256  # top-level keys, read one by one; the largest API has about 40
# Brackets and commas, an upper bound of the values that a body can hold. Each becomes an object
# of 50 to 200 bytes here: 32 MiB of `[]` would be 700 MB. Prose has about 20,000 in a MiB.
MAX_STRUCTURE: Final = 1_250_000

# Bytes decoded at a time, only to see that they can be: little enough to be put into the memory of
# the block before.
_BLOCK: Final = 64 * 1024
_LITTLE: Final = 64 * 1024  # bytes of a body whose values do not set the collector off
_NESTED: Final = frozenset((dict, list))
_TEXTS_TOO: Final = _NESTED | {str}
_NO_KEYS: Final[frozenset[str]] = frozenset()
_BLANK: Final = re.compile(r"[ \t\n\r]*")
# What nearly every member has, taken in one step; the rest is read, and refused, bit by bit.
_COMMA: Final = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_PLAIN_KEY: Final = re.compile(r'"([a-z_]+)"[ \t\n\r]*:[ \t\n\r]*')


class Member(NamedTuple):
    """One top-level value.

    Attributes:
        value: as `tree` says: strings in Latin-1 clothes (see `text`).
        start: offset of the value's first byte.
        end: offset behind its last byte.
    """

    key: str
    value: Any
    start: int
    end: int


class Document(NamedTuple):
    """A body that is one JSON object.

    Attributes:
        opening: offset of the '{'.
        members: in their order; no key stands twice.
        keys: of each member, every key below it.
    """

    body: bytes
    opening: int
    members: tuple[Member, ...]
    keys: tuple[frozenset[str], ...] = ()

    def text(self, member: Member) -> str | None:
        """The member's value where it is a string, properly decoded."""
        if not isinstance(member.value, str):
            return None
        if member.value.isascii():
            return member.value
        decoded: str = json.loads(self.body[member.start : member.end])
        return decoded


def read_document(body: bytes) -> Document:
    """Read `body` strictly.

    Raises:
        MalformedBody: it is not one well-formed, bounded JSON object in UTF-8.
    """
    if not body.isascii():
        _check_encoding(body)
    _check_structure(body)
    if len(body) <= _LITTLE:
        return _read(body)
    with _no_collector():
        return _read(body)


def _read(body: bytes) -> Document:
    try:
        document = _Reader(body).read()
    except RecursionError:
        raise too_deep() from None
    return document._replace(keys=_check_values(document, escapes=b"\\" in body))


def _check_values(document: Document, *, escapes: bool) -> tuple[frozenset[str], ...]:
    """Refuse what is nested too deep, keys that stand twice in one object, and half characters."""
    names = [member.key for member in document.members]
    if escapes:
        check_strings(names)
    if len(set(names)) != len(names):
        raise key_twice(next(name for name in names if names.count(name) > 1))
    deep = _TEXTS_TOO if escapes else _NESTED
    return tuple(
        survey((member.value,), escapes=escapes) if type(member.value) in deep else _NO_KEYS
        for member in document.members
    )


@contextmanager
def _no_collector() -> Iterator[None]:
    """A tree of plain values has no cycles: looking for them would cost a third of the reading."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._text = body.decode("latin-1")

    def read(self) -> Document:
        opening = self._skip(0)
        if self._at(opening) != "{":
            what = (
                "body is not a JSON object"
                if self._body
                else "has no body, but needs a JSON object"
            )
            raise MalformedBody(f"the request {what}")
        members: list[Member] = []
        here = self._skip(opening + 1)
        if self._at(here) == "}":
            return self._finish(opening, members, here)
        while True:
            member = self._member(here)
            members.append(member)
            if len(members) > MAX_MEMBERS:
                raise MalformedBody(
                    f"the request body has more than {MAX_MEMBERS} top-level keys",
                    413,
                    Reason.LIMIT_EXCEEDED,
                )
            comma = _COMMA.match(self._text, member.end)
            if comma is not None:
                here = comma.end()
                continue
            here = self._skip(member.end)
            if self._at(here) == "}":
                return self._finish(opening, members, here)
            raise _broken("expected ','", here)

    def _member(self, here: int) -> Member:
        plain = _PLAIN_KEY.match(self._text, here)
        if plain is not None:
            value, end = self._value(plain.end())
            return Member(plain[1], value, plain.end(), end)
        if self._at(here) != '"':
            raise _broken("expected a key in double quotes", here)
        key, here = self._value(here)
        here = self._skip(here)
        self._expect(":", here)
        start = self._skip(here + 1)
        value, end = self._value(start)
        return Member(key, value, start, end)

    def _value(self, here: int) -> tuple[Any, int]:
        try:
            return _SCAN(self._text, here)
        except StopIteration as end:
            raise _broken("Expecting value", end.value) from None
        except json.JSONDecodeError as error:
            raise _broken(error.msg.removesuffix(" at"), error.pos) from None
        except MalformedBody:
            raise
        except ValueError:  # an integer beyond sys.get_int_max_str_digits()
            raise _broken("a number is too long", here) from None

    def _finish(self, opening: int, members: list[Member], closing: int) -> Document:
        end = self._skip(closing + 1)
        if end != len(self._text):
            raise _broken("something follows the JSON object", end)
        return Document(self._body, opening, tuple(members))

    def _skip(self, here: int) -> int:
        found = _BLANK.match(self._text, here)
        return found.end() if found is not None else here

    def _at(self, here: int) -> str:
        return self._text[here : here + 1]

    def _expect(self, char: str, here: int) -> None:
        if self._at(here) != char:
            raise _broken(f"expected {char!r}", here)


def _check_encoding(body: bytes) -> None:
    if body.startswith(b"\xef\xbb\xbf"):
        raise MalformedBody("the request body begins with a byte order mark (RFC 8259 §8.1)")
    # Block by block: one emoji would make the decoded whole four times as large.
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _BLOCK):
        block = body[start : start + _BLOCK]
        try:
            decoder.decode(block, final=start + _BLOCK >= len(body))
        except UnicodeDecodeError:
            raise MalformedBody(
                f"the request body is not UTF-8 between byte {max(start - 3, 0)} "
                f"and {start + len(block)}"
            ) from None


def _check_structure(body: bytes) -> None:
    if len(body) <= MAX_STRUCTURE:
        return
    count = body.count(b",") + body.count(b"{") + body.count(b"[")
    if count > MAX_STRUCTURE:
        raise MalformedBody(
            f"the request body has more than {MAX_STRUCTURE} commas and brackets",
            413,
            Reason.LIMIT_EXCEEDED,
        )


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise MalformedBody(f"the request body has a number beyond all bounds: {text[:20]}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBody(f"the request body has {name}, which is no JSON (RFC 8259 §6)")


def _broken(what: str, here: int) -> MalformedBody:
    return MalformedBody(f"the request body is not JSON: {what} at byte {here}")


_DECODER: Final = json.JSONDecoder(
    parse_float=_finite, parse_constant=_refuse_constant, object_pairs_hook=object_of
)
_SCAN: Final[Callable[[str, int], tuple[Any, int]]] = cast(Any, _DECODER).scan_once
