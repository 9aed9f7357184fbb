"""Owns: telling ahead that a credential ends: one record when that is near, one when it has.

Knows nothing of renewing one (netmgr.daemon.refresher) or of refusing calls (the proxy does).
"""

import asyncio
import time
from typing import Final

from netmgr.daemon.core import Core
from netmgr.inference.expiry import Notice, Outlook, notices
from netmgr.reasons import Kind, Reason, Verdict

LOOK_S: Final = 15.0  # how late a record may be; the proxy refuses an ended key to the second

_OUTCOMES: Final = {
    Outlook.EXPIRING: (Verdict.AUDITED, Reason.CREDENTIAL_EXPIRED),
    Outlook.EXPIRED: (Verdict.FAILED, Reason.CREDENTIAL_EXPIRED),
}


class CredentialWatch:
    """Looks at every credential's end again and again."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._told: set[Notice] = set()

    async def keep_looking(self) -> None:
        """Never ends by itself."""
        while True:
            await self.look(time.time())
            await asyncio.sleep(LOOK_S)

    async def look(self, now: float) -> None:
        """Record what is new since the last look."""
        found = await outlooks(self._core, now)
        renewed_alone = await self._renewed_alone()
        for notice in found:
            if notice in self._told:
                continue
            if (
                notice.outlook is Outlook.EXPIRING
                and (notice.provider, notice.key) in renewed_alone
            ):
                continue  # it always ends soon; its refresher tells when it cannot go on
            self._core.record(
                Kind.FINDING,
                notice.message,
                outcome=_OUTCOMES[notice.outlook],
                remedy=notice.remedy,
            )
        self._told = set(found)

    async def _renewed_alone(self) -> set[tuple[str, str]]:
        core = self._core
        return {(r.provider, r.key) for r in await core.on_store(core.store.refreshes.all)}


async def outlooks(core: Core, now: float) -> tuple[Notice, ...]:
    """What is to be said of all credentials; nothing while all is well."""
    warn_s = core.settings.credential_warning_s
    rows = await core.on_store(core.store.providers.all)
    return tuple(notice for row in rows for notice in notices(row.name, row.expires, now, warn_s))
