"""Owns: finding and taking out: a body in, what is in it and the body without it out.

A body in JSON stays the same JSON: only inside of strings, and in place of whole numbers, anything
is replaced, and every other byte is as it was. What is written with escapes is read as it is meant.
Pure.
"""

import json
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import takewhile
from typing import Final
from urllib.parse import unquote_to_bytes

from netmgr.middleware.catalogue import Detection
from netmgr_proxy.scan.confirm import confirm
from netmgr_proxy.scan.shapes import ALL_SHAPES, LOCAL_PHONE, Sieve

MAX_CONFIRMED: Final = 5000  # of one text: half a second's work for the slowest of the libraries
MAX_SPANS: Final = 20_000  # of one text, with those that nobody has to confirm: a quarter second
MAX_ESCAPED: Final = 20_000  # strings with escapes that are read one by one
_FREE: Final = frozenset({"email"})  # nobody has to confirm it

# The more telling name of two for one place: shapes stand in this order.
_RANK: Final = {shape.label: -rank for rank, shape in enumerate(reversed(ALL_SHAPES))}

# A JSON text's strings and numbers; what is between them has nothing to find. Linear: each
# alternative begins with a character of its own.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9][0-9.eE+-]*', re.DOTALL)


class Kind(StrEnum):
    """How a body is written."""

    PLAIN = "plain"
    JSON = "json"
    FORM = "form"


class TooMuch(Exception):
    """So many places have a shape that nobody can look at each.

    Attributes:
        counts: what was found before.
    """

    def __init__(self, counts: Counter[str] | None = None) -> None:
        super().__init__("too many places have the shape")
        self.counts = counts or Counter()


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes that are to go."""

    start: int
    end: int
    label: str


@dataclass(slots=True)
class Found:
    """What a body holds.

    Attributes:
        counts: by label.
        body: without it; None: it is as it was.
    """

    counts: Counter[str] = field(default_factory=Counter)
    body: bytes | None = None


class Finder:
    """Looks for what one configuration names."""

    __slots__ = ("_detection", "_sieve")

    def __init__(self, detection: Detection) -> None:
        self._detection = detection
        shapes = [shape for shape in ALL_SHAPES if shape.label in detection.labels]
        if detection.region and "phone" in detection.labels:
            shapes.append(LOCAL_PHONE)
        self._sieve = Sieve(shapes)

    def spans(self, text: bytes) -> list[Span]:
        """What is there, from the left, none over another.

        Raises:
            TooMuch: see MAX_CONFIRMED, MAX_SPANS.
        """
        looked, found = 0, list[Span]()
        for match in self._sieve.matches(text):
            if match.shape.label not in _FREE:
                looked += 1
            if looked > MAX_CONFIRMED or len(found) >= MAX_SPANS:
                raise TooMuch(Counter(span.label for span in found))
            if confirm(text, match, self._detection.region):
                found.append(Span(match.start, match.end, match.shape.label))
        return _apart(found)

    def count(self, text: bytes) -> Counter[str]:
        """How much of what is there."""
        return Counter(span.label for span in self.spans(text))

    def look(self, body: bytes, kind: Kind) -> Found:
        """What a body holds, and the body without it."""
        if kind is Kind.JSON:
            return self._look_at_json(body)
        spans = self.spans(body)
        found = Found(Counter(span.label for span in spans))
        if spans:
            found.body = _without(body, spans)
        if kind is Kind.FORM:
            found.counts |= self.count(decoded(body))
        return found

    def _look_at_json(self, body: bytes) -> Found:
        raw = self.spans(body)
        found = Found(Counter(span.label for span in raw))
        meant = b"\\" in body and bool(self._sieve.occurring(_roughly_meant(body)))
        if not raw and not meant:
            return found
        pieces, at, counts = list[bytes](), 0, Counter[str]()
        for start, new, labels in self._rewritten(body, raw, escapes=meant):
            counts.update(labels)
            pieces += (body[at:start], new[0])
            at = new[1]
        found.counts |= counts  # what spans several strings was counted above, and stays
        found.body = b"".join((*pieces, body[at:])) if pieces else None
        return found

    def _rewritten(
        self, body: bytes, raw: list[Span], *, escapes: bool
    ) -> Iterator[tuple[int, tuple[bytes, int], list[str]]]:
        """Strings and numbers that hold something: where each begins, what takes its place up to
        where, and what it held."""
        ahead, read = deque(raw), 0
        for found in _TOKEN.finditer(body):
            start, end = found.span()
            while ahead and ahead[0].end <= start:
                ahead.popleft()
            spans = [] if not ahead or ahead[0].start >= end else _reaching(ahead, end)
            escaped = escapes and body.find(b"\\", start, end) >= 0
            if not (spans or escaped):
                continue
            said = body[start:end]
            new = _clipped(said, spans, start)
            if escaped:
                read += 1
                if read > MAX_ESCAPED:
                    raise TooMuch(Counter(span.label for span in raw))
                meant = _meant(said)
                if not (spans := self.spans(said if meant is None else meant)):
                    continue
                if meant is None:
                    new = _without(said, spans)
                else:
                    new = _escaped_again(_without(meant, spans), said)
            yield start, (new, end), [span.label for span in spans]


@lru_cache(maxsize=64)  # making one compiles patterns
def finder_of(detection: Detection) -> Finder:
    """A finder for one configuration."""
    return Finder(detection)


def decoded(text: bytes) -> bytes:
    """A URL, or a form's body, as it is meant."""
    return unquote_to_bytes(text.replace(b"+", b" "))


def _apart(spans: list[Span]) -> list[Span]:
    """From the left, none over another: those that overlap go as one, under the graver name."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, _RANK[span.label])):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
            continue
        last = kept[-1]
        label = min(last.label, span.label, key=_RANK.__getitem__)
        kept[-1] = Span(last.start, max(last.end, span.end), label)
    return kept


def _without(text: bytes, spans: list[Span]) -> bytes:
    pieces, at = list[bytes](), 0
    for span in spans:
        pieces += (text[at : span.start], _mark(span))
        at = span.end
    return b"".join((*pieces, text[at:]))


def _mark(span: Span) -> bytes:
    return f"[{span.label} removed]".encode()


def _reaching(ahead: Iterable[Span], end: int) -> list[Span]:
    """The spans that begin before `end`; all of them reach into the token that ends there."""
    return list(takewhile(lambda span: span.start < end, ahead))


def _clipped(said: bytes, spans: list[Span], start: int) -> bytes:
    """A string without escapes, or a number, without what reaches into it."""
    if not said.startswith(b'"'):
        return b'"%b"' % _mark(spans[0]) if spans else said
    last = len(said) - 1
    inside = [
        Span(max(span.start - start, 1), min(span.end - start, last), span.label) for span in spans
    ]
    return _without(said, inside)


def _roughly_meant(body: bytes) -> bytes:
    """A JSON text with its escapes read, as far as a pattern may need it; fast."""
    for escape, byte in _ESCAPES:
        body = body.replace(escape, byte)
    return _UNICODE.sub(lambda found: bytes((int(found[1], 16),)), body)


_ESCAPES: Final = (
    (b"\\n", b"\n"),
    (b"\\r", b"\r"),
    (b"\\t", b"\t"),
    (b"\\/", b"/"),
    (b'\\"', b'"'),
)
_UNICODE: Final = re.compile(rb"\\u00([0-7][0-9a-fA-F])")


def _meant(said: bytes) -> bytes | None:
    """What a JSON string means; None where it is none."""
    try:
        return str(json.loads(said)).encode("utf-8", "surrogatepass")
    except ValueError:
        return None


def _escaped_again(text: bytes, before: bytes) -> bytes:
    meant = text.decode("utf-8", "surrogatepass")
    plain = before.isascii() or not meant.isprintable()
    return json.dumps(meant, ensure_ascii=plain).encode()
