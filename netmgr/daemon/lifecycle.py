"""Owns: the life of sandboxes: create, delete, collect, list. The street on which one is born.

    spec -> address lease -> plan -> kernel (rules stand already, the link comes up last)  -> reply
                                  -> files, then the store's commit
                                  -> workers acknowledge

A failure at one station undoes those before it. Policies of live sandboxes are the policy desk's.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Final

from netmgr.addresses import NamePool
from netmgr.daemon.core import Core
from netmgr.daemon.plan import Plan, carry_out, clear_away, describe, plan_birth, shut_door
from netmgr.daemon.residents import Resident
from netmgr.daemon.sandbox_spec import Living, SandboxSpec
from netmgr.errors import Conflict, HostFailed, LimitExceeded, TryLater
from netmgr.kernel.facts import Netns
from netmgr.kernel.links import sandbox_mac
from netmgr.keys import injection
from netmgr.keys.authority import Authority
from netmgr.model import HOST_NAME, Lease, SandboxName
from netmgr.reasons import Kind
from netmgr.settings.table import GATEWAY
from netmgr.store import PolicyRevision, Sandbox

log = logging.getLogger(__name__)

LINK_PREFIX: Final = "nm"
BORN_S: Final = 30.0  # for a namespace to be made: the kernel's own thread has deadlines below it

JsonObject = dict[str, Any]


class Outcome(Enum):
    """How a creation came about."""

    CREATED = auto()
    REPEATED = auto()  # under its idempotency key: the answer is the first one's
    EXISTED = auto()


@dataclass(slots=True)
class _Birth:
    """What one creation has gathered on its way.

    Attributes:
        born: its namespace, as soon as the kernel has made it.
        built: the kernel's part stands.
        stored: the row is committed.
    """

    spec: SandboxSpec
    resident: Resident
    plan: Plan
    born: Future[Netns] = field(default_factory=Future)
    built: bool = False
    stored: bool = False
    began: float = field(default_factory=time.monotonic)


class Lifecycle:
    """Creates and deletes sandboxes, one at a time."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # -- birth -----------------------------------------------------------------------------

    async def create(self, spec: SandboxSpec) -> tuple[JsonObject, Outcome]:
        """Bring a sandbox into being, ready when this returns.

        Returns:
            The sandbox object, and how it came about. Twice is once: a second create with the same
            parameters gives the sandbox; one with the same idempotency key the first one's answer.

        Raises:
            Conflict: the name is taken with other parameters, or the key was another request's.
            LimitExceeded: sandboxes, addresses or set entries are used up.
            HostFailed: the kernel or the disk refused; nothing is left of it.
        """
        core = self._core
        async with core.change():
            known = await self._known(spec)
            if known is not None:
                return known
            birth = self._conceive(spec)
            core.addresses.take(birth.resident.row.address)
            try:
                await self._bear(birth)
            except BaseException:
                await self._undo(birth)
                raise
            result = self.describe(birth.resident)
        took = (time.monotonic() - birth.began) * 1000
        core.record(
            Kind.LIFECYCLE, "sandbox created", resident=birth.resident, duration_ms=round(took, 2)
        )
        return result, Outcome.CREATED

    async def plan(self, spec: SandboxSpec) -> JsonObject:
        """The steps that `create` would walk, one line each, and the variables that it would give;
        nothing is done."""
        async with self._core.changing:
            steps = [describe(step) for step in self._conceive(spec).plan]
        return {"plan": steps, "env": injection.trust_env(self._core.trust.paths(spec.name))}

    async def _known(self, spec: SandboxSpec) -> tuple[JsonObject, Outcome] | None:
        core = self._core
        resident = core.residents.get(spec.name)
        if spec.idempotency_key is not None:
            answer = await core.on_store(
                core.store.recall, spec.idempotency_key, spec.request, time.time()
            )
            if answer is not None and resident is not None and resident.row.id == answer["id"]:
                return answer, Outcome.REPEATED
        if resident is None:
            return None
        if resident.row.parameters != spec.parameters:
            raise Conflict(
                f"sandbox {spec.name!r} exists with other parameters; "
                f"change its policy with `netmgr policy set {spec.name}`, or delete it first"
            )
        await core.on_store(core.trust.add_stores, spec.name, spec.trust_stores)
        return self.describe(resident), Outcome.EXISTED

    def _conceive(self, spec: SandboxSpec) -> _Birth:
        core = self._core
        settings, now = core.settings, time.time()
        if len(core.residents) >= settings.max_sandboxes:
            raise LimitExceeded(f"{settings.max_sandboxes} sandboxes exist, which is max_sandboxes")
        sandbox_id = core.store.sandboxes.next_id()
        lease = Lease(core.addresses.choose(now), f"{LINK_PREFIX}{sandbox_id}")
        row = Sandbox(
            id=sandbox_id,
            name=spec.name,
            created=now,
            address=lease.address,
            link=lease.link,
            netns=str(settings.netns_path(spec.name)),
            netns_dev=0,
            netns_ino=0,
            attached=spec.attach is not None,
            tenant=spec.tenant,
            labels=dict(spec.labels),
            revision=1,
            digest=spec.policy.digest,
            parameters=spec.parameters,
        )
        names = NamePool(
            settings.name_pool, settings.wildcard_names_per_sandbox, settings.name_quarantine_s
        )
        resident = Resident(row, spec.policy, names)
        policy, _ = core.effective(resident)
        for name in sorted(policy.exact_names()):
            if name != HOST_NAME:
                names.take(names.choose(name, now, wildcard=False))
        entries = core.entries(resident)
        plan = plan_birth(spec.name, lease, entries, spec.attach, replace_links=spec.replace_links)
        return _Birth(spec, resident, plan)

    async def _bear(self, birth: _Birth) -> None:
        """Kernel, disk and workers at the same time: none of them needs the others' work, and each
        waits for somebody else (the kernel's lock, the disk, other processes).

        The link comes up last in the kernel's part. Whoever is first heard there before the
        workers know it (only an attached namespace can have programs) is refused.
        """
        core, resident = self._core, birth.resident
        built, row, told = await asyncio.gather(
            core.on_kernel(self._build, birth),
            core.on_store(self._keep, birth),
            core.announce(core.roster.put(core.member(resident))),
            return_exceptions=True,
        )
        for outcome in (built, row, told):
            if isinstance(outcome, BaseException):
                raise outcome
        assert isinstance(row, Sandbox)
        resident.row = row
        core.residents[row.name] = resident

    def _build(self, birth: _Birth) -> None:
        """The kernel's part; tells the disk's at once which namespace it is."""
        try:
            carry_out(self._core.kernel, birth.plan, on_netns=birth.born.set_result)
            birth.built = True
        except BaseException as failure:
            if not birth.born.done():
                birth.born.set_exception(failure)
            raise

    def _keep(self, birth: _Birth) -> Sandbox:
        """The disk's part: the files, then the row as it is from now on."""
        core, resident, row = self._core, birth.resident, birth.resident.row
        resident.authority = Authority.create(core.settings.instance, row.name, row.created)
        core.trust.write(row.name, resident.authority.certificate_pem)
        if stores := {*birth.spec.trust_stores, *core.settings.trust_stores}:
            core.trust.add_stores(row.name, stores)
        identity = birth.born.result(timeout=BORN_S).identity
        row = replace(row, netns_dev=identity.dev, netns_ino=identity.inode)
        self._store(birth, row)
        birth.stored = True
        return row

    def _store(self, birth: _Birth, row: Sandbox) -> None:
        core, spec = self._core, birth.spec
        authority = birth.resident.authority
        sealed = core.vault.seal(authority.key_pem, "authority", str(row.id))
        with core.store.transaction():
            core.store.sandboxes.add(row)
            core.store.names.put(row.id, birth.resident.names)
            core.store.authorities.put(row.id, authority.certificate_pem, sealed)
            core.store.policies.put_first(
                PolicyRevision(
                    scope=row.id,
                    revision=1,
                    digest=spec.policy.digest,
                    text=spec.policy_text,
                    source=spec.policy_source,
                    doc=spec.policy.doc,
                    created=row.created,
                )
            )
            if spec.idempotency_key is not None:
                answer = self.describe(replace(birth.resident, row=row))
                core.store.remember(spec.idempotency_key, spec.request, answer, row.created)

    async def _undo(self, birth: _Birth) -> None:
        """Leave nothing of a birth that failed. Where the kernel's part failed, `carry_out` undid
        it already, and what stands there under the sandbox's name is somebody else's."""
        try:
            if birth.built:
                await self._end(birth.resident, stored=birth.stored)
            else:
                await self._forget(birth)
        except (HostFailed, TryLater) as failure:
            log.error("undoing the creation of %s: %s", birth.spec.name, failure.message)

    async def _forget(self, birth: _Birth) -> None:
        core, row = self._core, birth.resident.row
        try:
            await core.announce(core.roster.remove(row.name))
            core.trust.remove(row.name)
            if birth.stored:
                await core.on_store(core.store.sandboxes.remove, row.id, time.time())
        finally:
            core.addresses.release(row.address, time.time())

    # -- death -----------------------------------------------------------------------------

    async def delete(self, name: str) -> None:
        """Remove a sandbox with all its flows. Its address rests before anyone gets it.

        Raises:
            NotFound: no such sandbox.
            HostFailed: the kernel kept something; it is listed, and tried again at the next start.
        """
        core = self._core
        async with core.changing:  # with a full disk too: taking away must always work
            resident = core.resident(name)
            await self._end(resident, stored=True)
        core.record(Kind.LIFECYCLE, "sandbox deleted", resident=resident)

    async def delete_all(self) -> list[str]:
        """Remove every sandbox; their names."""
        return await self._delete_each(tuple(self._core.residents))

    async def collect(self, living: Living) -> list[str]:
        """Remove every sandbox that is not alive, as a runtime's garbage collection does."""
        rows = [resident.row for resident in self._core.residents.values()]
        gone = (row.name for row in rows if living.is_gone(row.name, row.tenant, row.labels))
        return await self._delete_each(tuple(gone))

    async def add_trust_stores(self, name: str, stores: Collection[str]) -> JsonObject:
        """Make further stores of certificates; the sandbox object with them.

        Raises:
            NotFound: no such sandbox.
            HostFailed: they cannot be made.
        """
        core = self._core
        async with core.change():
            resident = core.resident(name)
            await core.on_store(core.trust.add_stores, resident.row.name, stores)
            return self.describe(resident)

    async def _delete_each(self, names: tuple[SandboxName, ...]) -> list[str]:
        failures = []
        for name in names:
            try:
                await self.delete(name)
            except HostFailed as failure:
                failures.append(failure.message)
        if failures:
            raise HostFailed("; ".join(failures), removed=len(names) - len(failures))
        return list(names)

    async def _end(self, resident: Resident, *, stored: bool) -> None:
        """Tolerant, in the written order, to the end; the lease goes last."""
        core, row = self._core, resident.row
        core.residents.pop(row.name, None)  # what is told of it from now on comes too late
        try:
            failures = await self._take_down(resident)
            if stored:
                await core.on_store(core.store.sandboxes.remove, row.id, time.time())
        except BaseException:
            core.residents[row.name] = resident  # it is still there: whoever asks may try again
            raise
        core.addresses.release(row.address, time.time())
        if failures:
            raise HostFailed(f"sandbox {row.name}: {'; '.join(failures)}")

    async def _take_down(self, resident: Resident) -> list[str]:
        """Kernel, workers and files; what failed, in words."""
        core, row = self._core, resident.row
        failures = await core.on_kernel(
            shut_door, core.kernel, resident.lease, core.entries(resident)
        )
        await core.announce(core.roster.remove(row.name))
        failures += await core.on_kernel(clear_away, core.kernel, row.name, row.address)
        core.trust.remove(row.name)
        return failures

    # -- looking ---------------------------------------------------------------------------

    def listing(self, labels: Iterable[str | None] = ()) -> list[JsonObject]:
        """The record of every sandbox that has all these labels (`K=V`), by name."""
        wanted, residents = set(labels), self._core.residents
        return [
            self.describe(residents[name])
            for name in sorted(residents)
            if wanted <= {f"{key}={value}" for key, value in residents[name].row.labels.items()}
        ]

    def owns_netns(self, identity: tuple[int, int]) -> bool:
        """Whether a network namespace (device, inode) is a sandbox's."""
        return self._core.residents.in_netns(identity) is not None

    def injection(self, name: SandboxName) -> JsonObject:
        """What a runtime puts into a container of this sandbox, whether it exists already or not:
        all of it follows from the name."""
        core = self._core
        directory, paths = core.trust.directory(name), core.trust.paths(name)
        return {
            "name": name,
            "exists": name in core.residents,
            "netns": str(core.settings.netns_path(name)),
            "files": injection.files(directory, paths),
            "mounts": injection.mounts(directory, paths),
            "env": injection.trust_env(paths),
        }

    def describe(self, resident: Resident) -> JsonObject:
        """The sandbox object of the API."""
        core, row = self._core, resident.row
        policy, revision = core.effective(resident)
        directory, paths = core.trust.directory(row.name), core.trust.paths(row.name)
        return {
            "name": row.name,
            "id": row.id,
            "state": row.state.value,
            "created": row.created,
            "tenant": row.tenant,
            "labels": dict(row.labels),
            "address": str(row.address),
            "gateway": str(GATEWAY),
            "mac": sandbox_mac(row.address),
            "link": row.link,
            "netns": row.netns,
            "attached": row.attached,
            "policy": {
                "revision": revision,
                "digest": policy.digest,
                "scope": "global" if core.global_policy else "sandbox",
            },
            "run_dir": str(directory),
            "files": injection.files(directory, paths),
            "mounts": injection.mounts(directory, paths),
            "env": injection.trust_env(paths),
        }
