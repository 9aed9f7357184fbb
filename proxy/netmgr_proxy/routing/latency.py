"""Owns: how fast an endpoint has been lately. Pure.

The mean follows what is new (an exponentially weighted moving average); the 95th percentile is that
of the last WINDOW answers, computed when it is asked for and not with every call.
"""

from collections import deque
from typing import Final

WINDOW: Final = 128  # answers; 95 % of them leave out the six slowest
WEIGHT: Final = 0.2  # of a new answer in the mean: the last ten make up nine tenths of it


class Latency:
    """Seconds to the first byte of the last answers."""

    __slots__ = ("_last", "_mean", "_p95")

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=WINDOW)
        self._mean: float | None = None
        self._p95: float | None = None

    def note(self, seconds: float) -> None:
        """An answer has begun."""
        mean = self._mean
        self._mean = seconds if mean is None else mean + WEIGHT * (seconds - mean)
        self._last.append(seconds)
        self._p95 = None

    @property
    def mean(self) -> float | None:
        """The moving average; None before the first answer."""
        return self._mean

    @property
    def p95(self) -> float | None:
        """The 95th percentile (nearest rank) of the last answers; None before the first."""
        if self._p95 is None and self._last:
            ordered = sorted(self._last)
            self._p95 = ordered[-(-95 * len(ordered) // 100) - 1]
        return self._p95
