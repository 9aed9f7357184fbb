"""Owns: how much memory bodies take that are held until they are judged, by sandbox.

Knows nothing of bodies: who holds one says so first, and says when it is gone.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from netmgr.reasons import Reason
from netmgr_proxy.wire.face import Refusal, Refused


class Holdings:
    """What is held in this worker.

    Args:
        per_sandbox: bytes that one sandbox may make us hold.
        total: bytes of all.
    """

    def __init__(self, per_sandbox: int, total: int) -> None:
        self._per_sandbox = per_sandbox
        self._total = total
        self._held: Counter[str] = Counter()
        self.bytes = 0

    def take(self, address: str, size: int) -> bool:
        """Hold `size` bytes more for a sandbox, if there is room."""
        if self._held[address] + size > self._per_sandbox or self.bytes + size > self._total:
            return False
        self._held[address] += size
        self.bytes += size
        return True

    def give_back(self, address: str, size: int) -> None:
        """They are gone."""
        self.bytes -= size
        self._held[address] -= size
        if not self._held[address]:
            del self._held[address]

    @contextmanager
    def holding(self, address: str, size: int) -> Iterator[None]:
        """Hold them for a while.

        Raises:
            Refused: limit_exceeded; too much is held already.
        """
        if not self.take(address, size):
            why = "too many bodies wait to be judged at once; try again"
            raise Refused(Refusal(Reason.LIMIT_EXCEEDED, why))
        try:
            yield
        finally:
            self.give_back(address, size)
