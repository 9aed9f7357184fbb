"""Owns: the list of what is live in this worker: who may be cut, who has waited too long, how many.

One sweep checks every flow's deadline, so that a flow costs no timer. Knows nothing of protocols.
"""

import asyncio
from collections.abc import Iterator
from typing import Final, Protocol

from netmgr_proxy.peer import Caller

SWEEP_S: Final = 0.25  # how exact deadlines are; all of them are seconds
FOREVER: Final = float("inf")


class Flow(Protocol):
    """One accepted connection of a sandbox."""

    @property
    def caller(self) -> Caller:
        """Whose it is and where it goes."""

    async def run(self) -> None:
        """Serve it to its end. Owns the connection's socket."""

    def tick(self, now: float) -> None:
        """Look at the deadlines; `now` is the loop's time."""

    def judge_again(self) -> None:
        """The policy has changed: end if it would not be allowed any more."""

    def end(self, *, at_once: bool) -> None:
        """The sandbox is gone (at once), or the worker stops (after the exchange under way)."""


class Flows:
    """Live flows by sandbox address.

    Args:
        per_sandbox: flows that one sandbox may have.
        total: flows of this worker.
    """

    def __init__(self, per_sandbox: int, total: int) -> None:
        self._per_sandbox = per_sandbox
        self._total = total
        self._live: dict[str, set[Flow]] = {}
        self.count = 0
        self.none_left = asyncio.Event()
        self.none_left.set()
        self.refused = 0

    def has_room(self, address: str) -> bool:
        """Whether one more flow of that sandbox may begin; a no is counted."""
        if self.count < self._total and len(self._live.get(address, ())) < self._per_sandbox:
            return True
        self.refused += 1
        return False

    def add(self, flow: Flow) -> None:
        """It has begun."""
        self._live.setdefault(flow.caller.address, set()).add(flow)
        self.count += 1
        self.none_left.clear()

    def remove(self, flow: Flow) -> None:
        """It has ended. Twice is once."""
        flows = self._live.get(flow.caller.address, set())
        if flow not in flows:
            return
        flows.remove(flow)
        self.count -= 1
        if not self.count:
            self.none_left.set()
        if not flows:
            del self._live[flow.caller.address]

    def of(self, address: str) -> tuple[Flow, ...]:
        """Live flows of one sandbox; may be gone through while flows end."""
        return tuple(self._live.get(address, ()))

    def __iter__(self) -> Iterator[Flow]:
        return iter([flow for flows in self._live.values() for flow in flows])

    def counts(self) -> dict[str, int]:
        """Live flows by sandbox address."""
        return {address: len(flows) for address, flows in self._live.items()}
