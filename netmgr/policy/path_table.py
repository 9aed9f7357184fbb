"""Owns: finding what is filed under path patterns, at a cost that hardly grows with their number.

A pattern is filed under its fixed segments up to the first star. A path is looked up under each of
its own beginnings that some pattern has, so patterns that cannot fit are never tried. Knows nothing
of what is filed.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

from netmgr.policy.match import PathGlob

T = TypeVar("T")
_Filed = tuple[int, PathGlob, T]


class PathTable(Generic[T]):
    """Things by path pattern, in the order in which they were given."""

    __slots__ = ("_by_prefix", "_depths")

    def __init__(self, things: Iterable[tuple[PathGlob, T]]) -> None:
        by_prefix: dict[str, list[_Filed[T]]] = {}
        depths: set[int] = set()
        for number, (glob, thing) in enumerate(things):
            fixed = glob.fixed_segments
            depths.add(len(fixed))
            by_prefix.setdefault("/".join(fixed), []).append((number, glob, thing))
        self._by_prefix = by_prefix
        self._depths = tuple(sorted(depths))

    def covering(self, path: str) -> list[T]:
        """Everything whose pattern fits the canonical `path`, in order."""
        found: list[_Filed[T]] = []
        segments = path[1:].split("/")
        for depth in self._depths:
            if depth > len(segments):
                break
            for filed in self._by_prefix.get("/".join(segments[:depth]), ()):
                if filed[1].matches(path):
                    found.append(filed)
        if len(found) > 1:
            found.sort(key=_number)
        return [thing for _, _, thing in found]


def _number(filed: _Filed[T]) -> int:
    return filed[0]
