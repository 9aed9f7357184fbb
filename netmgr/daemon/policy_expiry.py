"""Owns: making the end of an entry effective without any traffic: the timer of expiring policies.

Workers judge every decision by the clock themselves. What cannot judge is put right here: set
entries of the kernel go, live flows are judged again, and it is recorded. Knows nothing of files.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

from netmgr.daemon.core import Core
from netmgr.daemon.policy_moves import Move, PolicyMoves
from netmgr.daemon.residents import Resident
from netmgr.errors import NetmgrError
from netmgr.policy.policy import Policy
from netmgr.reasons import Kind

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # a clock that was set forward or back is noticed within this time
_AFTER_S: Final = 0.002  # a timer may fire a little early; then it would find nothing to do


class PolicyExpiry:
    """Watches the wall clock for every policy in force that has something to expire."""

    def __init__(self, core: Core, moves: PolicyMoves) -> None:
        self._core = core
        self._moves = moves

    async def keep_watching(self) -> None:
        """For ever: look at the next deadline, and at least once a second."""
        while True:
            await asyncio.sleep(self._pause(time.time()))
            try:
                await self.look()
            except NetmgrError as failure:
                log.error("an expired policy entry: %s", failure.message)

    async def look(self) -> None:
        """Put right what has expired, or holds again, since it was judged last.

        Raises:
            NetmgrError: the kernel or a worker did not go along; the next look tries again.
        """
        if not self._due(time.time()):
            return
        core = self._core
        async with core.changing:  # with a full disk too: an end must come when it is due
            due = self._due(time.time())
            since = [resident.judged_at for resident, _ in due]
            moves = await self._moves.plan(due)
            await core.on_store(self._store, moves)
            await self._moves.carry_out(moves)
        for (resident, policy), before in zip(due, since, strict=True):
            self._record(resident, policy, before)

    def _store(self, moves: Sequence[Move]) -> None:
        with self._core.store.transaction():
            self._moves.store_names(moves)

    def _pause(self, now: float) -> float:
        pause = LOOK_S
        for policy in self._timed().values():
            assert policy.timed is not None
            deadline = policy.timed.next_deadline(now)
            if deadline is not None:
                pause = min(pause, max(0.0, deadline - now) + _AFTER_S)
        return pause

    def _timed(self) -> dict[str, Policy]:
        """The policies in force that have something to expire, by digest."""
        core = self._core
        if core.global_policy is not None:
            found = [core.global_policy[0]]
        else:
            found = [resident.policy for resident in core.residents.values()]
        return {policy.digest: policy for policy in found if policy.timed is not None}

    def _due(self, now: float) -> list[tuple[Resident, Policy]]:
        due = []
        for resident in self._core.residents.values():
            policy, _ = self._core.effective(resident)
            timed = policy.timed
            if timed is not None and timed.phase(now) != timed.phase(resident.judged_at):
                due.append((resident, policy))
        return due

    def _record(self, resident: Resident, policy: Policy, before: float) -> None:
        assert policy.timed is not None
        now = resident.judged_at
        first, last = min(before, now), max(before, now)
        for key, expiry in policy.timed.expiries.items():
            if first < expiry.at <= last:
                what = "has expired" if before < now else "holds again: the clock was set back"
                message = f"policy entry {key!r}, until {expiry.text}, {what}"
                self._core.record(Kind.CONFIG, message, resident=resident)
