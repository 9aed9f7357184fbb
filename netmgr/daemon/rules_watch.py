"""Owns: noticing that somebody changed the hub's rules by hand, and having them stand again.

Fail closed meanwhile: a hub without rules leads nothing to the proxies, has no way out, and workers
decide again whatever reaches them. Knows nothing of rules; the rules helper verifies and installs.
"""

import asyncio
import logging

from netmgr.daemon.core import Core
from netmgr.daemon.status import Status
from netmgr.errors import NetmgrError
from netmgr.process.ipc import PeerClosed, PeerRefused
from netmgr.reasons import Kind, Reason, Verdict

log = logging.getLogger(__name__)


class RulesWatch:
    """Compares the rules that stand with those that were installed, again and again."""

    def __init__(self, core: Core, status: Status) -> None:
        self._core = core
        self._status = status

    async def keep_looking(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._core.settings.rules_check_s)
            await self.look()

    async def look(self) -> None:
        """Look once; install again where something differs. Each time is a finding."""
        found = (await self._status.rules("verify")).get("differences")
        if not found:
            return
        told = f"the hub's rules were changed by hand ({len(found)} differences: {found[0]})"
        try:
            await self._install()
        except (PeerClosed, PeerRefused, TimeoutError, NetmgrError) as failure:
            log.error("%s; they cannot be installed again: %s", told, failure)
            message = f"{told}; they could not be installed again: {failure}"
            self._record(message, (Verdict.FAILED, Reason.NOT_CONFIGURED))
        else:
            log.warning("%s; installed again", told)
            self._record(f"{told}; installed again", (Verdict.ALLOWED, Reason.ALLOWED))

    async def _install(self) -> None:
        async with self._core.changing:
            (worker,) = self._core.supervisor.of_kind("rules")
            await worker.peer.ask("install")

    def _record(self, message: str, outcome: tuple[Verdict, Reason]) -> None:
        self._core.record(
            Kind.FINDING,
            message,
            outcome=outcome,
            remedy="find out who changes packet filter rules in the hub's namespace",
        )
