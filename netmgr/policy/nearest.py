"""Owns: which known host a mistyped one is nearest to, at a bounded cost per question.

A sandbox may ask for any number of unknown names, so the careful comparison is made for a few
candidates only: those that share most pairs of letters with the name, found by counting bits.
"""

from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Final

MAX_KNOWN: Final = 1000  # hosts that are considered; 0.1 µs each
_FINALISTS: Final = 3  # compared letter by letter; 30 µs each
_LIKE: Final = 0.6  # what difflib calls a close match
_BITS: Final = 256


class Nearest:
    """The hosts of a policy, ready to be searched."""

    __slots__ = ("_known",)

    def __init__(self, hosts: Iterable[str]) -> None:
        self._known: list[tuple[int, str]] = []
        for host in hosts:
            if len(self._known) == MAX_KNOWN:
                break
            self._known.append((_letter_pairs(host), host))

    def find(self, name: str) -> str | None:
        """The host most like `name`; None where none is."""
        pairs = _letter_pairs(name)
        ranked = sorted(self._known, key=lambda known: -_likeness(pairs, known[0]))[:_FINALISTS]
        best, best_ratio = None, _LIKE
        for _, host in ranked:
            ratio = SequenceMatcher(None, name, host, autojunk=False).ratio()
            if ratio >= best_ratio:
                best, best_ratio = host, ratio
        return best


def _letter_pairs(text: str) -> int:
    mask = 0
    for one, two in pairwise(text):
        mask |= 1 << ((ord(one) * 31 + ord(two)) % _BITS)
    return mask


def _likeness(one: int, other: int) -> float:
    every = (one | other).bit_count()
    return (one & other).bit_count() / every if every else 0.0
