"""Owns: how fast an endpoint has been lately. Pure.

The mean follows what is new (an exponentially weighted moving average); the 95th percentile is that
of the last WINDOW answers. Both are computed when they are asked for and not with every call, from
this worker's answers and the other ones'.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

WINDOW: Final = 128  # answers of all workers; 95 % of them leave out the six slowest
WEIGHT: Final = 0.2  # of a new answer in the mean: the last ten make up nine tenths of it

Sample = tuple[float, float]  # when an answer began, and seconds to its first byte


class Latency:
    """Seconds to the first byte of this worker's last answers."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: deque[Sample] = deque(maxlen=WINDOW)

    def note(self, now: float, seconds: float) -> None:
        """An answer has begun."""
        self.last.append((now, seconds))

    def summed_up(self, others: Iterable[Sample] = ()) -> tuple[float | None, float | None]:
        """(mean, 95th percentile) of the last answers of all; None before the first."""
        both = sorted([*self.last, *others])[-WINDOW:]
        seconds = [each for _, each in both]
        return mean(seconds), p95(seconds)


def mean(seconds: Sequence[float]) -> float | None:
    """The moving average of answers in their order; None of none."""
    if not seconds:
        return None
    found = seconds[0]
    for each in seconds:
        found += WEIGHT * (each - found)
    return found


def p95(seconds: Sequence[float]) -> float | None:
    """The 95th percentile (nearest rank); None of none."""
    if not seconds:
        return None
    return sorted(seconds)[-(-95 * len(seconds) // 100) - 1]
