"""Owns: the patterns of a policy for text, paths and methods. Host patterns are hosts.py's.

Knows nothing of rules. No regular expression is made of a pattern: text with stars is matched
by looking for its fixed pieces from left to right, which cannot blow up. The meaning of every
form stands in docs/policy.md and is checked against a naive matcher (tests/property).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from netmgr.policy.path import MalformedTarget, canonical_escapes

MAX_PATTERN_SEGMENTS: Final = 64  # bounds the cost of one match: path segments times these
MAX_KEPT_PATTERNS: Final = 4096  # at most 4 KB each; a large policy repeats a few hundred
ANY_METHOD: Final = "*"
_METHOD = re.compile(r"[A-Z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110 §5.6.2, upper case
_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_~-]+")  # spelled as it is in every canonical path
_BRACES: Final = frozenset("?[]{}\\;#")  # glob syntax of other systems, and what no path can hold


class BadPattern(ValueError):
    """A pattern that has no meaning here. The message says what to write instead."""


@dataclass(frozen=True, slots=True)
class StarText:
    """Text with `*` in it: fixed pieces with anything (also nothing) between them."""

    head: str
    middle: tuple[str, ...]
    tail: str

    def matches(self, text: str) -> bool:
        """Whether the whole of `text` fits."""
        end = len(text) - len(self.tail)
        if end < len(self.head) or not text.startswith(self.head) or not text.endswith(self.tail):
            return False
        place = len(self.head)
        for piece in self.middle:
            found = text.find(piece, place, end)
            if found < 0:
                return False
            place = found + len(piece)
        return True

    def may_meet(self, other: "StarText") -> bool:
        """Whether some text may fit both: a no is certain."""
        heads = self.head.startswith(other.head) or other.head.startswith(self.head)
        tails = self.tail.endswith(other.tail) or other.tail.endswith(self.tail)
        return heads and tails


def parse_star_text(pieces: list[str]) -> StarText:
    """From what stands between the stars (two pieces or more)."""
    return StarText(pieces[0], tuple(piece for piece in pieces[1:-1] if piece), pieces[-1])


Segment = str | StarText | None
"""One part of a pattern between slashes: a fixed one, one with stars, `**`."""


@dataclass(frozen=True, slots=True)
class PathGlob:
    """A pattern for canonical paths.

    `*` stands for anything inside one segment, `**` (always a whole segment) for any number of
    whole segments, also none: `/x/**` matches `/x`, `/x/` and `/x/y/z`.

    Attributes:
        text: the pattern in its canonical spelling.
    """

    text: str
    _segments: tuple[Segment, ...]

    @property
    def fixed_segments(self) -> list[str]:
        """The segments before the first one with a star."""
        fixed: list[str] = []
        for segment in self._segments:
            if not isinstance(segment, str):
                break
            fixed.append(segment)
        return fixed

    @property
    def specificity(self) -> int:
        """How much of it is fixed: its characters without stars; 0 for every path."""
        return 0 if self._segments == (None,) else len(self.text) - self.text.count("*")

    @property
    def stars_within(self) -> bool:
        """Whether some star stands for part of a path that is no run of whole segments."""
        return any(isinstance(segment, StarText) for segment in self._segments)

    def meets(self, other: "PathGlob") -> bool:
        """Whether some path may fit both. Errs towards yes for segments with several stars."""
        return _gaps_meet(self._segments, other._segments)

    def matches(self, path: str) -> bool:
        """Whether the canonical `path` fits."""
        segments = self._segments
        return segments == (None,) or segments_fit(segments, path[1:].split("/"))


def segments_fit(want: tuple[Segment, ...], have: list[str]) -> bool:
    """Whether the parts of a path fit a pattern's, all of them."""
    if None not in want:
        return len(have) == len(want) and _fits(want, have, 0)
    return _fits_with_gaps(want, have)


def _fits(want: tuple[Segment, ...], have: list[str], start: int) -> bool:
    for number, segment in enumerate(want):
        text = have[start + number]
        if isinstance(segment, str):
            if segment != text:
                return False
        elif segment is not None and not segment.matches(text):
            return False
    return True


def _fits_with_gaps(want: tuple[Segment, ...], have: list[str]) -> bool:
    # Blocks between the gaps have a fixed length, so the leftmost fit of each is always the best.
    blocks = _split_blocks(want)
    first, last = blocks[0], blocks[-1]
    end = len(have) - len(last)
    if end < len(first) or not _fits(first, have, 0) or not _fits(last, have, end):
        return False
    place = len(first)
    for block in blocks[1:-1]:
        while place + len(block) <= end and not _fits(block, have, place):
            place += 1
        if place + len(block) > end:
            return False
        place += len(block)
    return True


def _gaps_meet(one: tuple[Segment, ...], other: tuple[Segment, ...]) -> bool:
    # reach[j]: the first segments of `one` so far, and j of `other`, can be one beginning.
    reach = _through_gaps([True] + [False] * len(other), other)
    for segment in one:
        if segment is None:
            for place in range(1, len(reach)):
                reach[place] = reach[place] or reach[place - 1]
            continue
        after = [False] * len(reach)
        for place, facing in enumerate(other):
            if facing is None:
                after[place + 1] = reach[place + 1] or reach[place]
            elif reach[place]:
                after[place + 1] = _segments_meet(segment, facing)
        reach = _through_gaps(after, other)
    return reach[-1]


def _through_gaps(reach: list[bool], other: tuple[Segment, ...]) -> list[bool]:
    """A `**` of `other` may stand for nothing."""
    for place, facing in enumerate(other):
        if facing is None and reach[place]:
            reach[place + 1] = True
    return reach


def _segments_meet(one: str | StarText, other: str | StarText) -> bool:
    if isinstance(one, str):
        return one == other if isinstance(other, str) else other.matches(one)
    if isinstance(other, str):
        return one.matches(other)
    return one.may_meet(other)


def _split_blocks(want: tuple[Segment, ...]) -> list[tuple[Segment, ...]]:
    blocks: list[tuple[Segment, ...]] = []
    start = 0
    for number, segment in enumerate(want):
        if segment is None:
            blocks.append(want[start:number])
            start = number + 1
    blocks.append(want[start:])
    return blocks


@lru_cache(maxsize=MAX_KEPT_PATTERNS)
def parse_path_glob(text: str) -> PathGlob:
    """A path pattern. Policies repeat them, so each is read once and shared.

    Raises:
        BadPattern: not a path, glob syntax that we do not have, or what no canonical path can be.
    """
    if text == "**" or text.startswith("**/"):
        text = "/" + text
    if not text.startswith("/"):
        raise BadPattern(f"{text!r}: expected a path pattern that begins with '/' or is '**'")
    for char in text:
        if char in _BRACES:
            raise BadPattern(f"{text!r}: {char!r} has no meaning here; only '*' and '**' do")
    written = text[1:].split("/")
    if len(written) > MAX_PATTERN_SEGMENTS:
        raise BadPattern(f"more than {MAX_PATTERN_SEGMENTS} segments")
    segments: list[Segment] = []
    spelled: list[str] = []
    for number, segment in enumerate(written):
        value, spelling = _parse_segment(text, segment, last=number == len(written) - 1)
        segments.append(value)
        spelled.append(spelling)
    return PathGlob("/" + "/".join(spelled), tuple(segments))


def literal_glob(path: str) -> str:
    """The pattern that matches just this canonical path."""
    return path.replace("*", "%2A")


def _parse_segment(text: str, segment: str, *, last: bool) -> tuple[Segment, str]:
    if segment == "**":
        return None, segment
    if "**" in segment:
        raise BadPattern(f"{text!r}: '**' must stand alone between slashes; write '*' here")
    if not segment and not last:
        raise BadPattern(f"{text!r}: no canonical path has an empty segment")
    if _PLAIN_SEGMENT.fullmatch(segment):
        return segment, segment
    try:
        pieces = [canonical_escapes(part.encode()).decode() for part in segment.split("*")]
    except (MalformedTarget, UnicodeEncodeError) as error:
        raise BadPattern(f"{text!r}: {error}") from None
    if pieces in (["."], [".."]):
        raise BadPattern(f"{text!r}: no canonical path has a segment {segment!r}")
    spelling = "*".join(literal_glob(piece) for piece in pieces)
    return (pieces[0] if len(pieces) == 1 else parse_star_text(pieces)), spelling


def is_method(text: str) -> bool:
    """Whether this is an HTTP method in upper case."""
    return _METHOD.fullmatch(text) is not None


def method_matches(rule: str, method: str) -> bool:
    """Whether a rule's method covers a request's: `*` covers all, GET covers HEAD."""
    return rule in (method, ANY_METHOD) or (rule == "GET" and method == "HEAD")
