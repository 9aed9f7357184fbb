"""Owns: reading a request body as one strict JSON object, with the place of each top-level value.

Knows nothing of models. Stricter than most servers on purpose: what one parser refuses and another
one reads (RFC 8259 §6, §8, §9) is refused, so that what is judged here is what the provider reads.
Keys that stand twice are left to the caller at the top; below it the last one counts.

The text is scanned as Latin-1: one character per byte, so every offset is a byte offset; that it
is UTF-8 is checked apart. The scanning itself is json's C scanner. All else here is arranged so
that a long body costs little more than that scan: only passes that run in C.
"""

import codecs
import json
import re
from math import isinf
from typing import Any, Final, NamedTuple, NoReturn

from netmgr.inference.protocols import Shape
from netmgr.reasons import Reason
from netmgr_proxy.inference.errors import Refusal

MAX_DEPTH: Final = 128  # serde_json's bound; tool schemas in use stay below 30
MAX_MEMBERS: Final = 256  # top-level keys, read one by one; the largest API has about 40
# Brackets and commas, an upper bound of the values that a body can hold. Each becomes an object
# of 50 to 200 bytes here: 32 MiB of `[]` would be 700 MB. Prose has about 20,000 in a MiB.
MAX_STRUCTURE: Final = 1_250_000

_BLOCK: Final = 1024 * 1024  # bytes decoded at a time, only to see that they can be
_BLANK: Final = re.compile(r"[ \t\n\r]*")
# What nearly every member has, taken in one step; the rest is read, and refused, bit by bit.
_COMMA: Final = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_PLAIN_KEY: Final = re.compile(r'"([a-z_]+)"[ \t\n\r]*:[ \t\n\r]*')
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


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


class Member(NamedTuple):
    """One top-level value.

    Attributes:
        value: as json reads it, with every string in Latin-1 clothes (see `text`).
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
        members: in their order; a key may stand more than once.
    """

    body: bytes
    opening: int
    members: tuple[Member, ...]

    def text(self, member: Member) -> str | None:
        """The member's value where it is a string, properly decoded."""
        if not isinstance(member.value, str):
            return None
        decoded: str = json.loads(self.body[member.start : member.end])
        return decoded


def read_document(body: bytes) -> Document:
    """Read `body` strictly.

    Raises:
        MalformedBody: it is not one well-formed, bounded JSON object in UTF-8.
    """
    ascii_only = body.isascii()
    if not ascii_only:
        _check_encoding(body)
    _check_structure(body)
    try:
        document = _Reader(body).read()
    except RecursionError:
        raise _too_deep() from None
    _check_tree(document, _may_have_surrogates(body, ascii_only))
    return document


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._text = body.decode("latin-1")

    def read(self) -> Document:
        opening = self._skip(0)
        if self._at(opening) != "{":
            raise MalformedBody("the request body is not a JSON object")
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
            return _DECODER.raw_decode(self._text, here)
        except json.JSONDecodeError as error:
            raise _broken(error.msg, error.pos) from None
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


def _may_have_surrogates(body: bytes, ascii_only: bool) -> bool:
    """Whether some string may hold a surrogate. Only escapes can make one (UTF-8 has none)."""
    if b"\\" not in body:
        return False
    # In an ASCII body every string but those with such escapes is ASCII: the walk tells at once.
    return ascii_only or _SURROGATE.search(body) is not None


def _check_tree(document: Document, surrogates: bool) -> None:
    """Refuse what is nested too deep, and strings with half a surrogate pair."""
    level: list[Any] = [member.value for member in document.members]
    strings: list[str] = [member.key for member in document.members]
    depth = 1  # the document itself
    while level:
        kinds = set(map(type, level))
        if surrogates and str in kinds:
            strings += [value for value in level if type(value) is str]
        if surrogates:
            _check_strings(strings)
        if dict not in kinds and list not in kinds:
            return
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        outer, level, strings = level, [], []
        for value in outer:
            if type(value) is dict:
                level += value.values()
                strings += value
            elif type(value) is list:
                level += value


def _check_strings(strings: list[str]) -> None:
    if all(map(str.isascii, strings)):
        return
    for text in strings:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise MalformedBody("the request body has half of a surrogate pair") from None


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise MalformedBody(f"the request body has a number beyond all bounds: {text[:20]}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBody(f"the request body has {name}, which is no JSON (RFC 8259 §6)")


def _broken(what: str, here: int) -> MalformedBody:
    return MalformedBody(f"the request body is not JSON: {what} at byte {here}")


def _too_deep() -> MalformedBody:
    return MalformedBody(f"the request body is nested deeper than {MAX_DEPTH} levels")


_DECODER: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)
