"""Owns: what was found out about a key of a body, remembered: nearly all bodies have the same few.

Knows nothing of what is asked of a key.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

KEPT: Final = 1024  # keys; the largest API has some two hundred
LONGEST: Final = 64  # characters of a key that is kept: who sends others fills no memory
_Found = TypeVar("_Found")


def remembered(judge: Callable[[str], _Found]) -> Callable[[str], _Found]:
    """`judge`, which depends on the key alone, asked once for each of the keys that are usual."""
    kept = lru_cache(KEPT)(judge)

    def asked(key: str) -> _Found:
        return kept(key) if len(key) <= LONGEST else judge(key)

    return asked
