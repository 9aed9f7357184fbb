"""Owns: a record's text with holes in it, for records that differ from others in numbers only.

An agent's calls over one connection make nearly the same record again and again. To write the
numbers into the text of the one before costs a tenth of making the record anew. Knows nothing of
what records mean.
"""

import secrets
from collections.abc import Sequence
from operator import is_
from typing import Any, Final, NamedTuple

from netmgr.process.frames import encode_body

Path = tuple[str | int, ...]
Number = int | float | str | None  # of texts only what needs no escape: ids of our own making

# Of a model call's record: what differs from one call to the next like it.
CALL_HOLES: Final[tuple[Path, ...]] = (
    ("time",),
    ("inference", "request_id"),
    ("inference", "facts", "tokens_in"),
    ("inference", "ttfb_ms"),
    ("inference", "tokens_in"),
    ("inference", "tokens_out"),
    ("inference", "tokens_cache_read"),
    ("inference", "tokens_cache_write"),
    ("inference", "tried", 0, "ms"),
    ("inference", "tried", 0, "cost"),
    ("bytes_in",),
    ("bytes_out",),
    ("duration_ms",),
)
_MARK_BITS: Final = 62  # drawn anew for each form: no text that a sandbox chose can hold one


class Like(NamedTuple):
    """What the record of a model call depends on.

    Attributes:
        same: values that make equal records only where they are the very same.
        equal: words and facts.
        numbers: for the holes of CALL_HOLES, without the record's time.
    """

    same: tuple[object, ...]
    equal: tuple[object, ...]
    numbers: tuple[Number, ...]

    def is_like(self, other: "Like") -> bool:
        """Whether both make the same record, but for the numbers."""
        return all(map(is_, self.same, other.same)) and self.equal == other.equal


class Form:
    """One record's text. `fill` writes another record that is equal but in its holes."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def fill(self, values: Sequence[Number]) -> str:
        """The record with these values, in the order of the holes."""
        return self._text % tuple(["null" if value is None else value for value in values])


def form_of(record: dict[str, Any], holes: Sequence[Path]) -> Form:
    """The form of a record on its way to the daemon.

    Args:
        record: JSON values of its own, in which marks are put.
        holes: where the values stand that will differ, in the order of the text.

    Raises:
        ValueError, LookupError: the record has no such places; a fault of ours.
    """
    marks = [str((1 << _MARK_BITS) + secrets.randbits(_MARK_BITS)) for _ in holes]
    for path, mark in zip(holes, marks, strict=True):
        place: Any = record
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = mark if isinstance(place[path[-1]], str) else int(mark)
    text = encode_body(record).replace("%", "%%")
    where = [text.index(mark) for mark in marks]
    if where != sorted(where):
        raise ValueError("the holes are not in the order of the text")
    for mark in marks:
        text = text.replace(mark, "%s")
    return Form(text)
