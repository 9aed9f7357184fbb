"""Owns: which programs hold a sandbox's connection, as a policy and a record are told it.

The kernel's room finds processes, files and hashes; here they become a `Owner`, and a program that
is not what its name first stood for in this sandbox is marked (trust on first use).
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from netmgr.daemon.core import Core
from netmgr.daemon.identified import Identified, JsonObject, Remembered
from netmgr.daemon.residents import Resident
from netmgr.errors import NetmgrError
from netmgr.kernel.facts import Ancestor, Flow, Netns, NetnsId, Owners, Process, Wants
from netmgr.policy.owner import MAX_OWNERS, UNKNOWN, Fault, Owner, Program
from netmgr.policy.programs import ProgramPattern

log = logging.getLogger(__name__)

RECORD_WAIT_S: Final = 0.060  # reads 30 MB of a cached file; a flow's record waits 150 ms at most
DECISION_WAIT_S: Final = 2.0  # a connection waits for all its programs; 300 MB take a second
MAX_TRUSTED: Final = 4096  # programs of one sandbox that a policy names, by path


async def find_process(core: Core, resident: Resident, flow: Flow) -> JsonObject | None:
    """The process that holds the sandbox's end of a flow, for a record."""
    owners = await _find(core, resident, flow, Wants())
    if owners is None or not owners.processes:
        return None
    return await _describe(core, resident, owners.processes[0])


async def identify(core: Core, resident: Resident, flow: Flow) -> Identified:
    """All that hold the sandbox's end of a flow, for a decision."""
    policy, _ = core.effective(resident)
    known = resident.identified
    if known is None or known.policy is not policy:
        known = resident.identified = Remembered.of(policy)
    owners = await _find(core, resident, flow, known.wants)
    if owners is None or not owners.processes:
        return Identified()
    if known.told is not None and known.owners is owners:
        return known.told
    trust = _Trust(core, resident, known.patterns)
    chains = [await trust.chain(each) for each in owners.processes[:MAX_OWNERS]]
    process = await _describe(core, resident, owners.processes[0])
    whole = owners.complete and len(owners.processes) <= MAX_OWNERS
    told = Identified(process, Owner(tuple(chains)) if whole else UNKNOWN)
    if not trust.lacking and process["sha256"] is not None and resident.identified is known:
        resident.identified = replace(known, owners=owners, told=told)
    return told


class _Trust:
    """Turns processes into programs, by what one sandbox has run before.

    Attributes:
        lacking: some content was not known in time, and may be the next time.
    """

    def __init__(self, core: Core, resident: Resident, patterns: Sequence[ProgramPattern]) -> None:
        self._core = core
        self._resident = resident
        self._patterns = patterns
        self.lacking = False
        self._until = asyncio.get_running_loop().time() + DECISION_WAIT_S

    async def chain(self, process: Process) -> tuple[Program, ...]:
        return tuple([await self._program(each) for each in process.chain])

    async def _program(self, found: Ancestor) -> Program:
        program = Program(found.exe, None, found.links, found.script)
        if not any(pattern.names(program) for pattern in self._patterns):
            # Its content makes no difference, under this policy: the next one must not rely on it.
            return replace(program, fault=Fault.UNREAD)
        if not found.genuine:
            return replace(program, fault=Fault.IMPOSTOR)
        left = self._until - asyncio.get_running_loop().time()
        digest = await _hash(self._core, self._resident, found, left)
        fault = await self._fault(found.exe, digest)
        return replace(program, sha256=digest, fault=fault)

    async def _fault(self, path: str, digest: str | None) -> Fault | None:
        known = self._resident.trusted
        if digest is None or (path not in known and len(known) >= MAX_TRUSTED):
            self.lacking = True
            return Fault.UNREAD
        if path not in known:
            known[path] = digest
            await self._keep(path, digest)
        return None if known[path] == digest else Fault.CHANGED

    async def _keep(self, path: str, digest: str) -> None:
        """For the daemon's next life. Where that fails the program is what it is in this one."""
        core, row = self._core, self._resident.row
        try:
            await core.on_store(core.store.programs.add, row.id, path, digest)
        except NetmgrError as failure:
            log.error("what %s is in %s is not kept: %s", path, row.name, failure.message)


async def _find(core: Core, resident: Resident, flow: Flow, wants: Wants) -> Owners | None:
    netns = resident.netns
    if netns is None:
        row = resident.row
        identity = NetnsId(row.netns_dev, row.netns_ino)
        netns = Netns(row.name, core.settings.netns_path(row.name), identity)
        resident.netns = netns
    try:
        # The same program again is known in less than it takes to ask another thread.
        found = core.kernel.find_owners_again(netns, flow, wants)
        if found is None:
            found = await core.on_identity(core.kernel.find_owners, netns, flow, wants)
    except NetmgrError:  # the sandbox is going
        return None
    return found


async def _describe(core: Core, resident: Resident, process: Process) -> JsonObject:
    return {
        "pid": process.pid,
        "exe": process.exe,
        "ancestors": [ancestor.exe for ancestor in process.ancestors],
        "sha256": await _hash(core, resident, process, RECORD_WAIT_S),
    }


async def _hash(core: Core, resident: Resident, found: Ancestor, wait_s: float) -> str | None:
    if found.content is None:
        return None
    row = resident.row
    netns = NetnsId(row.netns_dev, row.netns_ino)
    answer = core.kernel.hash_program(netns, found.pid, found.content)
    if answer.done():
        return answer.result()
    waiting = asyncio.wrap_future(answer)
    try:
        # Shielded: the answer that comes later is kept for whoever asks next.
        return await asyncio.wait_for(asyncio.shield(waiting), wait_s)
    except TimeoutError:
        return None
