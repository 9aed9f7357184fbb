"""Owns: what the daemon's desks share: settings, kernel, store, roster, workers, journal, one lock.

The kernel and the store are synchronous; each has one thread of its own (pyroute2 does not run in a
loop's thread, SQLite wants one writer). Everything that changes state holds `changing`, so that a
change is seen whole or not at all.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar

from netmgr.addresses import AddressPool
from netmgr.daemon.fence import Side, allow_entries
from netmgr.daemon.refused_keys import RefusedKeys
from netmgr.daemon.residents import Resident, Residents
from netmgr.daemon.roster import Member, Op, Roster, ops_for
from netmgr.errors import BadInput, NotFound, did_you_mean
from netmgr.guard import Surroundings, parse_addresses
from netmgr.inference.catalogue import Catalogue, built_in
from netmgr.journal import Journal
from netmgr.kernel.facts import AllowEntry
from netmgr.kernel.kernel import Kernel
from netmgr.keys.trust import TrustFiles
from netmgr.keys.vault import Vault
from netmgr.middleware.catalogue import name_problem
from netmgr.model import Record, SandboxName
from netmgr.policy.decision import EVERYWHERE
from netmgr.policy.policy import Policy
from netmgr.process.supervise import Supervisor
from netmgr.reasons import Kind, Reason, Verdict
from netmgr.settings.table import Settings
from netmgr.store import Store

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Core:
    """One daemon's shared state.

    Attributes:
        changing: held by every change, from its first read to its last acknowledgement.
        types: the provider types that there are.
        refused_keys: providers that have refused the operator's credential.
        staffed: around every change: who is needed from then on stands before it, and who is
            needed no more goes after it.
        global_policy: (policy, revision) that stands over every sandbox's own, where one is set.
    """

    settings: Settings
    kernel: Kernel
    store: Store
    vault: Vault
    trust: TrustFiles
    journal: Journal
    addresses: AddressPool
    residents: Residents = field(default_factory=Residents)
    types: Catalogue = field(default_factory=built_in)
    global_policy: tuple[Policy, int] | None = None
    roster: Roster = field(default_factory=Roster)
    supervisor: Supervisor = field(default_factory=Supervisor)
    refused_keys: RefusedKeys = field(default_factory=RefusedKeys)
    staffed: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _kernel_thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="kernel")
    )
    _identity_thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="identity")
    )
    _store_thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="store")
    )

    # -- threads ---------------------------------------------------------------------------

    async def on_kernel(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a kernel call on the kernel's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._kernel_thread, lambda: call(*args, **kwargs))

    async def on_identity(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Look a connection's owners up, on a thread that no change of the kernel holds up."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._identity_thread, lambda: call(*args, **kwargs))

    async def on_store(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a store call on the store's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._store_thread, lambda: call(*args, **kwargs))

    async def surroundings(self) -> Surroundings:
        """This host, as the dialer judges destinations by it."""
        here = parse_addresses(await self.on_kernel(self.kernel.host_addresses))
        settings = self.settings
        ports = frozenset(settings.control_plane_ports)
        return Surroundings(here, ports, tuple(settings.treat_as_public))

    def close(self) -> None:
        """End the threads; calls that are under way finish first."""
        self._identity_thread.shutdown()
        self._kernel_thread.shutdown()
        self._store_thread.shutdown()

    # -- workers and records ---------------------------------------------------------------

    @asynccontextmanager
    async def change(self) -> AsyncIterator[None]:
        """Hold the lock of changes, where a change could be recorded.

        Raises:
            HostFailed: the journal's disk is full; nothing was changed.
        """
        async with self.changing:
            self.journal.require_writable()
            yield

    async def announce(self, ops: list[Op]) -> int:
        """Send operations to every worker that they concern; returns when all have acknowledged.

        Raises:
            TryLater: a worker did not come up again.
        """
        async with self.staffed():
            return await self.supervisor.change(lambda kind: ops_for(kind, ops))

    def record(
        self,
        kind: Kind,
        message: str,
        *,
        resident: Resident | None = None,
        outcome: tuple[Verdict, Reason] = (Verdict.ALLOWED, Reason.ALLOWED),
        remedy: str | None = None,
        **extra: Any,
    ) -> None:
        """Write a record of something that the daemon itself did or noticed (config, lifecycle,
        finding)."""
        row = resident.row if resident else None
        record = Record(
            time=time.time(),
            sandbox=row.name if row else None,
            tenant=row.tenant if row else None,
            kind=kind,
            verdict=outcome[0],
            reason=outcome[1],
            policy_revision=row.revision or None if row else None,
            message=message,
            remedy=remedy,
            extra=extra,
        )
        self.journal.append(record.to_wire())

    def require_middlewares(self, policy: Policy, source: str) -> None:
        """Refuse a policy that names a middleware which nobody here runs.

        Raises:
            BadInput: which one, and the nearest that there is.
        """
        for each in policy.middlewares.all:
            stage = each.stage
            problem = name_problem(stage.middleware, self.settings.registered_middlewares)
            if problem is not None:
                key = f"network_middlewares.{stage.key}.middleware"
                raise BadInput(f"{source}: {key}: {problem}")

    # -- residents -------------------------------------------------------------------------

    def resident(self, name: str) -> Resident:
        """The sandbox of that name.

        Raises:
            NotFound: names the nearest one.
        """
        found = self.residents.get(SandboxName(name))
        if found is None:
            raise NotFound(f"there is no sandbox {name!r}{did_you_mean(name, self.residents)}")
        return found

    def effective(self, resident: Resident) -> tuple[Policy, int]:
        """The policy that is in force in a sandbox, and its revision."""
        return self.global_policy or (resident.policy, resident.row.revision)

    def scope(self, resident: Resident) -> str:
        """What `netmgr policy update` is told, to change what is in force in a sandbox."""
        return EVERYWHERE if self.global_policy else resident.row.name

    def member(self, resident: Resident) -> Member:
        """A sandbox as workers shall know it."""
        policy, revision = self.effective(resident)
        return Member(
            name=resident.row.name,
            address=str(resident.row.address),
            tenant=resident.row.tenant,
            labels=dict(resident.row.labels),
            policy=policy,
            revision=revision,
            names=resident.names.shown(),
            scope=self.scope(resident),
        )

    def side(self, resident: Resident) -> Side:
        """What holds in a sandbox, as far as the kernel knows."""
        policy, _ = self.effective(resident)
        return Side(resident.names.shown(), policy.at(resident.judged_at))

    def entries(self, resident: Resident) -> frozenset[AllowEntry]:
        """What the kernel's allow sets hold of a sandbox."""
        side = self.side(resident)
        return allow_entries(resident.row.address, side.names, side.policy)

    def keep(self, resident: Resident, **changes: Any) -> None:
        """Replace fields of a resident's row, in memory."""
        resident.row = replace(resident.row, **changes)
