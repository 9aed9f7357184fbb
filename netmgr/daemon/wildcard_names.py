"""Owns: a private address for a name that a policy's wildcard allows, at its first query.

The dns worker asks; the answer leaves only when the set entry stands, the choice is stored and
every worker has acknowledged it. So the first packet to the new address already finds its way.
"""

import time
from ipaddress import IPv4Address

from netmgr.daemon.core import Core
from netmgr.daemon.residents import Resident
from netmgr.errors import LimitExceeded, NetmgrError
from netmgr.kernel.facts import AllowEntry
from netmgr.model import parse_dns_name
from netmgr.process.ipc import Answer, Body, PeerRefused
from netmgr.reasons import Reason


class WildcardNames:
    """Answers `name` questions."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def on_name(self, body: Body) -> Answer:
        """{address, name} -> {ip, ttl}.

        Raises:
            PeerRefused: unknown sandbox, a name that no rule allows, or a bound that is full.
        """
        core = self._core
        async with core.changing:
            resident = self.resident_at(body["address"])
            try:
                ip = await self._address(resident, parse_dns_name(body["name"]))
            except LimitExceeded as full:
                raise PeerRefused(Reason.LIMIT_EXCEEDED, full.message) from full
            except NetmgrError as failure:
                raise PeerRefused(failure.code, failure.message) from failure
        return Answer({"ip": str(ip), "ttl": core.settings.dns_answer_ttl_s})

    def resident_at(self, address: str) -> Resident:
        """The sandbox with that source address.

        Raises:
            PeerRefused: there is none.
        """
        resident = self._core.residents.at(address)
        if resident is None:
            raise PeerRefused(Reason.UNKNOWN_CALLER, f"no sandbox has {address}")
        return resident

    async def _address(self, resident: Resident, name: str) -> IPv4Address:
        core = self._core
        known = resident.names.get(name)
        if known is not None:
            return known
        policy, _ = core.effective(resident)
        answer = policy.judge_name(name)
        if not answer.decision.permits:
            raise PeerRefused(answer.decision.reason, answer.decision.message)
        row = resident.names.choose(name, time.time(), wildcard=True)
        entries = [
            AllowEntry.single(resident.row.address, port, row.ip) for port in sorted(answer.ports)
        ]
        await core.on_store(core.store.names.put, resident.row.id, (row,))
        resident.names.take(row)
        await core.on_kernel(core.kernel.add_allow, entries)
        await core.announce(core.roster.add_names(resident.row.name, {name: str(row.ip)}))
        return row.ip
