"""Owns: token buckets. Pure: the caller brings the time."""


class Budget:
    """So many things per second, with room for a burst.

    Args:
        rate: tokens that grow back per second.
        burst: tokens that it holds at most, and at the beginning.
    """

    __slots__ = ("_at", "_left", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._left = burst
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Use one token at monotonic time `now`, in seconds; False where none is left."""
        left = self._left + (now - self._at) * self.rate if now > self._at else self._left
        self._at = max(now, self._at)
        if left > self.burst:
            left = self.burst
        if left < 1.0:
            self._left = left
            return False
        self._left = left - 1.0
        return True
