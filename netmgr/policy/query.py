"""Owns: the query of a request as rules see it, and the matchers that a rule puts on its keys.

Knows nothing of paths, methods or policies. Keys and values are decoded as forms are
(application/x-www-form-urlencoded, WHATWG URL §5.1: `+` is a space), and only where a rule looks at
them: what is sent on is never rewritten. What two servers could read differently is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from netmgr.policy.match import BadPattern, StarText, parse_star_text
from netmgr.policy.path import MalformedTarget

MAX_PAIRS: Final = 1000  # of one query; a head of 16 KiB can hold 8,000 empty ones
MAX_KEY: Final = 256  # characters of a matcher's key
MAX_KEYS: Final = 64  # keys of one rule
MAX_ALTERNATIVES: Final = 256  # patterns of one `any`

_NO_GLOB: Final = frozenset("?[]{}\\")  # glob syntax of other systems

Query = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class TextGlob:
    """A pattern for decoded text: `*` stands for anything, also nothing."""

    text: str
    _body: str | StarText

    @property
    def starred(self) -> bool:
        """Whether more than one text fits."""
        return not isinstance(self._body, str)

    def matches(self, value: str) -> bool:
        """Whether the whole of `value` fits."""
        body = self._body
        return value == body if isinstance(body, str) else body.matches(value)


@dataclass(frozen=True, slots=True)
class QueryTest:
    """What one key of a query has to be.

    Attributes:
        globs: a value fits where one of them does.
        listed: written as `any`, though it may have one pattern only.
    """

    key: str
    globs: tuple[TextGlob, ...]
    listed: bool = False

    def all_fit(self, query: Query) -> bool:
        """Whether the key is there and every value of it fits."""
        values = query.get(self.key)
        return values is not None and all(map(self._fits, values))

    def any_fits(self, query: Query) -> bool:
        """Whether the key is there and some value of it fits."""
        return any(map(self._fits, query.get(self.key, ())))

    def _fits(self, value: str) -> bool:
        return any(glob.matches(value) for glob in self.globs)

    def to_doc(self) -> Any:
        """As it stands in a document."""
        texts = [glob.text for glob in self.globs]
        return {"any": texts} if self.listed else texts[0]


def parse_query(query: str) -> Query:
    """Keys and their values in order, decoded.

    Args:
        query: without '?', as it is sent; its escapes are known to be whole.

    Raises:
        MalformedTarget: a raw `;` (a separator to some servers), bytes that are no UTF-8, an
            escaped NUL (the end of the text to some), or too many pairs.
    """
    if ";" in query:
        raise MalformedTarget("a raw ';' in a query that a rule looks at; write %3B")
    found: Query = {}
    pairs = query.split("&", MAX_PAIRS)
    if len(pairs) > MAX_PAIRS:
        raise MalformedTarget(f"a query of more than {MAX_PAIRS} pairs")
    for pair in pairs:
        if pair:
            key, _, value = pair.partition("=")
            found.setdefault(_decode(key), []).append(_decode(value))
    return found


def parse_text_glob(text: str) -> TextGlob:
    """A pattern for a query's value.

    Raises:
        BadPattern: glob syntax that we do not have.
    """
    for char in text:
        if char in _NO_GLOB:
            raise BadPattern(f"{text!r}: {char!r} has no meaning here; only '*' does")
    pieces = text.split("*")
    return TextGlob(text, text if len(pieces) == 1 else parse_star_text(pieces))


ANYTHING: Final = parse_text_glob("*")


def missed(tests: Sequence[QueryTest], query: Query) -> str:
    """What an allow rule's tests find wrong with a query, as a clause for a person."""
    for test in tests:
        if test.key not in query:
            return f"the query has no {test.key!r}"
        if not test.all_fit(query):
            return f"the query's {test.key!r} has another value"
    return ""


def _decode(text: str) -> str:
    if "%" not in text:
        return text.replace("+", " ") if "+" in text else text
    try:
        decoded = unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedTarget("escapes in the query that are no UTF-8") from None
    if "\0" in decoded:
        raise MalformedTarget("escaped NUL in the query")
    return decoded
