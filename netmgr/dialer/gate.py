"""Owns: how many connections may be under way, in all and for one sandbox. Pure.

One sandbox may have as many as are still free, up to its own bound. So one alone gets plenty, many
greedy ones share evenly, and whoever comes last still finds room (dynamic thresholds, as switches
share packet memory: Choudhury and Hahne, 1998).
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from netmgr.errors import LimitExceeded

MAX_DIALS: Final = 512  # each has at most three sockets (A, AAAA, or the connection)
MAX_DIALS_PER_CALLER: Final = 128  # a page with a hundred origins; an idle flow does not count


class DialGate:
    """Counts dials under way."""

    def __init__(self, in_all: int = MAX_DIALS, per_caller: int = MAX_DIALS_PER_CALLER) -> None:
        self._in_all = in_all
        self._per_caller = per_caller
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def enter(self, caller: str) -> Iterator[None]:
        """Hold one place for `caller`.

        Raises:
            LimitExceeded: it has its share already.
        """
        mine = self._under_way[caller]
        free = self._in_all - self._under_way.total()
        if mine >= min(self._per_caller, free):
            raise LimitExceeded(f"{mine} connections are being set up already; wait for one")
        self._under_way[caller] += 1
        try:
            yield
        finally:
            self._under_way[caller] -= 1
            if not self._under_way[caller]:
                del self._under_way[caller]

    @property
    def under_way(self) -> int:
        """Dials under way."""
        return self._under_way.total()
