"""Owns: noticing that routing or set entries of the hub were taken away, and putting them back.

Fail closed meanwhile: what is missing lets nobody through. Only what is missing is looked for; what
somebody adds leads to workers that decide again. Under the lock of changes, so that nothing that is
under way is taken for missing; and in parts, so that its cost does not grow with the number of
sandboxes. Rules of packet filters are rules_watch.py's.
"""

import asyncio
import logging
from bisect import bisect_right
from typing import Final

from netmgr.daemon.core import Core
from netmgr.daemon.residents import Resident
from netmgr.errors import NetmgrError
from netmgr.kernel.facts import AllowEntry
from netmgr.reasons import Kind, Reason, Verdict

log = logging.getLogger(__name__)

# Questions to the kernel at one time: 20 ms, for which no sandbox is made and no policy changed.
# With more sandboxes a look is at the next ones; an emptied set is missed by each of them.
MAX_ASKED: Final = 1000
_OWN_QUESTIONS: Final = 5  # link, route, neighbour, binding; and what it costs to ask
_REMEDY = "find out who changes the hub's namespace"


class HubWatch:
    """Compares what stands in the hub with what the daemon put there, again and again."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._last = 0  # number of the sandbox that was looked at last

    async def keep_looking(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._core.settings.rules_check_s)
            await self.look()

    async def look(self) -> None:
        """Look at a part once, and at everything where something of it is missing; put right what
        is. Each time is a finding."""
        core = self._core
        try:
            async with core.changing:
                mended = await core.on_kernel(core.kernel.mend_routing)
                if mended:
                    self._record(f"the hub's routing was changed by hand ({', '.join(mended)})")
            left = len(core.residents)
            while left > 0:
                async with core.changing:
                    looked, spoiled = await self._look_at_part()
                left = left - looked if spoiled and looked else 0
        except NetmgrError as failure:
            log.error("the hub cannot be put right: %s", failure.message)
            told = f"the hub was changed by hand and cannot be put right: {failure.message}"
            outcome = (Verdict.FAILED, Reason.NOT_CONFIGURED)
            core.record(Kind.FINDING, told, outcome=outcome, remedy=_REMEDY)

    async def _look_at_part(self) -> tuple[int, bool]:
        """(how many sandboxes were looked at, whether something was missing)."""
        mended: list[tuple[Resident, str]] = []
        try:
            self._last, looked = await self._core.on_kernel(
                _mend_part, self._core, self._last, mended
            )
        finally:  # what was put right before a failure is told all the same
            for resident, told in mended:
                self._record(told, resident)
        return looked, bool(mended)

    def _record(self, told: str, resident: Resident | None = None) -> None:
        log.warning("%s; put right", told)
        message = f"{told}; put right"
        self._core.record(Kind.FINDING, message, resident=resident, remedy=_REMEDY)


def _mend_part(core: Core, last: int, mended: list[tuple[Resident, str]]) -> tuple[int, int]:
    """Put back what is missing of the sandboxes after number `last`, and add whose it was and what
    to `mended`. On the kernel's thread. Gives the last one's number, and how many they were."""
    order = sorted(core.residents.values(), key=_number)
    start = bisect_right(order, last, key=_number)
    asked = looked = 0
    for resident in (*order[start:], *order[:start]):
        if asked >= MAX_ASKED:
            break
        entries = core.entries(resident)
        told = _mend(core, resident, entries)
        if told is not None:
            mended.append((resident, told))
        asked += _OWN_QUESTIONS + len(entries)
        looked, last = looked + 1, _number(resident)
    return last, looked


def _number(resident: Resident) -> int:
    return resident.row.id


def _mend(core: Core, resident: Resident, entries: frozenset[AllowEntry]) -> str | None:
    lease = resident.lease
    found = core.kernel.standing(lease, entries)
    if not found.link:
        return None  # nothing of it can work: the next start builds it again
    missing = [
        what
        for what, is_missing in (
            ("its binding", not found.bound),
            (f"{len(found.lost)} destinations", bool(found.lost)),
            ("its route", not found.routed),
        )
        if is_missing
    ]
    if not missing:
        return None
    core.kernel.add_bind(lease)
    core.kernel.add_allow(found.lost)
    if not found.routed:
        core.kernel.link_up(lease)
    return f"{', '.join(missing)} in the hub had been removed by hand"
