"""Owns: which programs hold a sandbox's connection, as a policy and a record are told it.

The kernel's room finds processes, files and hashes; here they become a `Owner`, and a program that
is not what its name first stood for in this sandbox is marked (trust on first use).
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from netmgr.daemon.core import Core
from netmgr.daemon.residents import Resident
from netmgr.errors import NetmgrError
from netmgr.kernel.facts import Ancestor, Flow, Netns, NetnsId, Owners, Process, Wants
from netmgr.policy.owner import MAX_OWNERS, UNKNOWN, Fault, Owner, Program
from netmgr.policy.programs import ProgramPattern

log = logging.getLogger(__name__)

RECORD_WAIT_S: Final = 0.060  # reads 30 MB of a cached file; a flow's record waits 150 ms at most
DECISION_WAIT_S: Final = 2.0  # a connection waits for all its programs; 300 MB take a second
MAX_TRUSTED: Final = 4096  # programs of one sandbox that a policy names, by path
MAX_DOC: Final = 24 * 1024  # characters; the dialer takes no question above 64 KiB

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Identified:
    """Who holds a connection.

    Attributes:
        process: for records; None where nobody was found.
        owner: for decisions.
    """

    process: JsonObject | None = None
    owner: Owner = UNKNOWN

    def to_doc(self) -> JsonObject:
        """The answer to a worker."""
        owner = self.owner.to_doc() if self.owner.known else None
        if owner is not None and len(json.dumps(owner)) > MAX_DOC:
            owner = None  # paths that long are no program's that a policy means
        return {"process": self.process, "owner": owner}


async def find_process(core: Core, resident: Resident, flow: Flow) -> JsonObject | None:
    """The process that holds the sandbox's end of a flow, for a record."""
    owners = await _find(core, resident, flow, Wants())
    if owners is None or not owners.processes:
        return None
    return await _describe(core, resident, owners.processes[0])


async def identify(core: Core, resident: Resident, flow: Flow) -> Identified:
    """All that hold the sandbox's end of a flow, for a decision."""
    policy, _ = core.effective(resident)
    patterns = policy.program_patterns()
    links = tuple(p.path.text for p in patterns if p.path.exact)
    scripts = any(pattern.script is not None for pattern in patterns)
    owners = await _find(core, resident, flow, Wants(links, scripts))
    if owners is None or not owners.processes:
        return Identified()
    judge = _Trust(core, resident, patterns)
    chains = [await judge.chain(each) for each in owners.processes[:MAX_OWNERS]]
    process = await _describe(core, resident, owners.processes[0])
    whole = owners.complete and len(owners.processes) <= MAX_OWNERS
    return Identified(process, Owner(tuple(chains)) if whole else UNKNOWN)


class _Trust:
    """Turns processes into programs, by what one sandbox has run before."""

    def __init__(self, core: Core, resident: Resident, patterns: Sequence[ProgramPattern]) -> None:
        self._core = core
        self._resident = resident
        self._patterns = patterns
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
    row = resident.row
    identity = NetnsId(row.netns_dev, row.netns_ino)
    netns = Netns(row.name, core.settings.netns_path(row.name), identity)
    try:
        return await core.on_identity(core.kernel.find_owners, netns, flow, wants)
    except NetmgrError:  # the sandbox is going
        return None


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
