"""Owns: what the daemon knows of the host around it: its addresses, DNS servers and CA roots.

Looked at again every few seconds, because a laptop changes its network while sandboxes run.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from netmgr.daemon.core import Core
from netmgr.errors import NetmgrError
from netmgr.keys.trust import system_bundle
from netmgr.settings.file import upstream_nameservers

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0


class Surroundings:
    """The host as the dialer and the proxies need to know it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.ca_roots = system_bundle(core.settings.ca_roots).read_text("utf-8", "replace")
        self._addresses: tuple[str, ...] = ()
        self._servers: tuple[tuple[str, int], ...] = ()

    async def look(self) -> bool:
        """Look again; whether anything is different.

        Raises:
            NetmgrError: the kernel or resolv.conf could not be read; what was known stays.
        """
        core = self._core
        addresses = tuple(sorted(await core.on_kernel(core.kernel.host_addresses)))
        found = await asyncio.to_thread(upstream_nameservers, core.settings)
        servers = tuple((server.ip, server.port) for server in found)
        changed = (addresses, servers) != (self._addresses, self._servers)
        self._addresses, self._servers = addresses, servers
        return changed

    def for_dialer(self) -> dict[str, Any]:
        """The dialer's settings."""
        settings = self._core.settings
        return {
            "servers": [list(server) for server in self._servers],
            "host_addresses": list(self._addresses),
            "control_plane_ports": list(settings.control_plane_ports),
            "treat_as_public": [str(network) for network in settings.treat_as_public],
            "dns_try_s": settings.dns_try_s,
            "dns_total_s": settings.dns_total_s,
        }

    async def keep_looking(self, tell: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        """Look every few seconds, for ever; tell what is different."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                if await self.look():
                    await tell(self.for_dialer())
            except (NetmgrError, ConnectionError, TimeoutError) as failure:
                log.warning("the host's surroundings could not be read: %s", failure)
