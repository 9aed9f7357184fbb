"""Owns: noticing that routing or set entries of the hub were taken away, and putting them back.

Fail closed meanwhile: what is missing lets nobody through. Only what is missing is looked for; what
somebody adds leads to workers that decide again. Under the lock of changes, so that nothing that is
under way is taken for missing. Rules of packet filters are rules_watch.py's.
"""

import asyncio
import logging

from netmgr.daemon.core import Core
from netmgr.daemon.residents import Resident
from netmgr.errors import NetmgrError
from netmgr.kernel.facts import Survey
from netmgr.reasons import Kind, Reason, Verdict

log = logging.getLogger(__name__)

_REMEDY = "find out who changes the hub's namespace"


class HubWatch:
    """Compares what stands in the hub with what the daemon put there, again and again."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def keep_looking(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._core.settings.rules_check_s)
            await self.look()

    async def look(self) -> None:
        """Look once; put right what is missing. Each time is a finding."""
        core = self._core
        async with core.changing:
            try:
                mended = await core.on_kernel(core.kernel.mend_routing)
                if mended:
                    self._record(f"the hub's routing was changed by hand ({', '.join(mended)})")
                mended_of: list[tuple[Resident, str]] = []
                try:
                    await core.on_kernel(_mend_sandboxes, core, mended_of)
                finally:  # what was put right before a failure is told all the same
                    for resident, told in mended_of:
                        self._record(told, resident)
            except NetmgrError as failure:
                log.error("the hub cannot be put right: %s", failure.message)
                told = f"the hub was changed by hand and cannot be put right: {failure.message}"
                outcome = (Verdict.FAILED, Reason.NOT_CONFIGURED)
                core.record(Kind.FINDING, told, outcome=outcome, remedy=_REMEDY)

    def _record(self, told: str, resident: Resident | None = None) -> None:
        log.warning("%s; put right", told)
        message = f"{told}; put right"
        self._core.record(Kind.FINDING, message, resident=resident, remedy=_REMEDY)


def _mend_sandboxes(core: Core, mended: list[tuple[Resident, str]]) -> None:
    """Put back what is missing, and add whose it was and what to `mended`. On the kernel's thread:
    with a thousand sandboxes comparing takes longer than the daemon's loop may stand still."""
    survey = core.kernel.survey()
    for resident in core.residents.values():
        told = _mend(core, resident, survey)
        if told is not None:
            mended.append((resident, told))


def _mend(core: Core, resident: Resident, survey: Survey) -> str | None:
    lease = resident.lease
    if lease.link not in survey.links:
        return None  # nothing of it can work: the next start builds it again
    lost = core.entries(resident) - survey.allow
    unbound, unrouted = lease not in survey.binds, lease not in survey.routes
    missing = [
        what
        for what, is_missing in (
            ("its binding", unbound),
            (f"{len(lost)} destinations", bool(lost)),
            ("its route", unrouted),
        )
        if is_missing
    ]
    if not missing:
        return None
    core.kernel.add_bind(lease)
    core.kernel.add_allow(lost)
    if unrouted:
        core.kernel.link_up(lease)
    return f"{', '.join(missing)} in the hub had been removed by hand"
