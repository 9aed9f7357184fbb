"""Owns: putting policies in force in live sandboxes: kernel entries, names, workers, live flows.

    plan (new entries stand, harmless until workers know) -> store -> carry out (revoked entries
    out, workers acknowledge and judge live flows again, revoked sockets destroyed)
What fails before the store has it is undone there; what fails later is taken back. Knows nothing of
revisions, and of files.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netmgr.addresses import NameAddress
from netmgr.daemon.core import Core
from netmgr.daemon.fence import EntryChange, Side, entry_change
from netmgr.daemon.residents import Resident
from netmgr.daemon.roster import Op
from netmgr.errors import NetmgrError
from netmgr.kernel.facts import AllowEntry
from netmgr.model import HOST_NAME
from netmgr.policy.policy import Policy

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Move:
    """What a policy means for one sandbox, compared with what holds there.

    Attributes:
        policy: the one that will be in force in it.
        moment: epoch seconds at which the new side was judged.
        added: names that get a private address.
        dropped: names that no rule names any more, with their addresses.
    """

    resident: Resident
    policy: Policy
    moment: float
    entries: EntryChange
    added: list[NameAddress]
    dropped: list[NameAddress]

    def reversed(self, policy: Policy) -> "Move":
        """The way back, to what held before."""
        return Move(
            self.resident,
            policy,
            self.resident.judged_at,
            self.entries.reversed(),
            self.dropped,
            self.added,
        )


class PolicyMoves:
    """Moves sandboxes from one policy to the next. The caller holds the lock of changes."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def plan(self, wanted: Sequence[tuple[Resident, Policy]]) -> list[Move]:
        """Plan every sandbox's part and add what is new to the kernel.

        Raises:
            NetmgrError: an entry or a name finds no room; everything is as before.
        """
        core, moves = self._core, list[Move]()
        try:
            for resident, policy in wanted:
                moves.append(self._plan(resident, policy))
            await core.on_kernel(core.kernel.add_allow, _added(moves))
        except NetmgrError:
            await self._undo_plan(moves)
            raise
        return moves

    def _plan(self, resident: Resident, policy: Policy) -> Move:
        core, names, now = self._core, resident.names, time.time()
        before = core.side(resident)
        dropped = [row for row in names if not policy.covers(row.name)]
        gone = {row.name for row in dropped}
        added: list[NameAddress] = []
        for name in sorted(policy.exact_names()):
            if name != HOST_NAME and names.get(name) is None:
                chosen = names.choose(name, now, wildcard=False)
                names.take(chosen)
                added.append(chosen)
        kept = {name: ip for name, ip in names.shown().items() if name not in gone}
        entries = entry_change(resident.row.address, before, Side(kept, policy.at(now)))
        return Move(resident, policy, now, entries, added, dropped)

    async def _undo_plan(self, moves: Sequence[Move]) -> None:
        core = self._core
        await core.on_kernel(core.kernel.del_allow, _added(moves))
        for move in moves:
            for row in move.added:
                move.resident.names.release(row.name, time.time())

    def store_names(self, moves: Sequence[Move]) -> None:
        """Keep which addresses stand and which rest; on the store's thread, in its transaction."""
        now = time.time()
        for move in moves:
            names = move.resident.names
            rests = [rest for row in move.dropped if (rest := names.release(row.name, now))]
            self._core.store.names.put(move.resident.row.id, move.added + rests)

    async def carry_out(self, moves: Sequence[Move]) -> None:
        """Revoked entries out, workers told, and only then the sockets of what was revoked.

        Raises:
            HostFailed, TryLater: the kernel refused, or a worker did not come up again.
        """
        core = self._core
        revoked = [entry for move in moves for entry in move.entries.revoked]
        for move in moves:
            move.resident.judged_at = move.moment
        await core.on_kernel(core.kernel.del_allow, revoked)
        await core.announce(self._ops(moves))
        spared = [entry for move in moves for entry in (*move.entries.spared, *move.entries.added)]
        await core.on_kernel(core.kernel.destroy_flows, revoked, spared)

    async def take_back(
        self,
        moves: Sequence[Move],
        policies: Sequence[Policy],
        moments: Sequence[float],
        store: Callable[[Sequence[Move]], None],
    ) -> None:
        """Have in force again what was before `carry_out` failed, as far as kernel and workers go
        along; a worker that does not come up gets it when it does.

        Args:
            policies: what held in each sandbox before, and `moments` when that was judged.
            store: on the store's thread, with the names as they were.
        """
        core = self._core
        back = [move.reversed(policy) for move, policy in zip(moves, policies, strict=True)]
        for move, moment in zip(back, moments, strict=True):
            move.moment = moment
            for row in move.added:
                move.resident.names.take(row)
        await core.on_store(store, back)
        try:
            await core.on_kernel(core.kernel.add_allow, _added(back))
            await self.carry_out(back)
        except NetmgrError as failure:
            log.error("taking a policy back: %s", failure.message)

    def _ops(self, moves: Sequence[Move]) -> list[Op]:
        core, ops = self._core, list[Op]()
        for move in moves:
            ops += core.roster.put(core.member(move.resident))
            ops.append({"op": "flow.judge", "address": str(move.resident.row.address)})
        return ops


def _added(moves: Sequence[Move]) -> list[AllowEntry]:
    return [entry for move in moves for entry in move.entries.added]
