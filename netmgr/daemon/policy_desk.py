"""Owns: policies of live sandboxes and the global one: set, update, history, roll back, explain.

A change: validate (everything, before anything) -> new names and entries into the kernel -> store
(one transaction, a new revision) -> revoked entries out -> workers acknowledge and judge their live
flows again -> sockets of what was revoked destroyed -> reply. In force when the call returns.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from netmgr.addresses import NameAddress
from netmgr.daemon.core import Core
from netmgr.daemon.fence import allow_entries
from netmgr.daemon.residents import Resident
from netmgr.daemon.roster import Op
from netmgr.errors import BadInput, Conflict, NetmgrError, NotFound
from netmgr.kernel.facts import AllowEntry
from netmgr.model import HOST_NAME
from netmgr.policy.explain import explain
from netmgr.policy.operations import parse_operations
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.update import update_policy
from netmgr.reasons import Kind
from netmgr.store import PolicyRevision

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """How a policy is to be changed.

    Attributes:
        scope: a sandbox's name; None is the global policy.
        if_revision: refuse where another revision is in force.
        dry_run: judge everything, change nothing.
    """

    scope: str | None
    if_revision: int | None = None
    dry_run: bool = False


@dataclass(slots=True)
class _Move:
    """What a new policy means for one sandbox.

    Attributes:
        policy: the one that will be in force in it.
        added: names that get a private address.
        dropped: names that no rule allows any more.
    """

    resident: Resident
    policy: Policy
    before: frozenset[AllowEntry]
    after: frozenset[AllowEntry]
    added: list[NameAddress]
    dropped: list[str]


class PolicyDesk:
    """Answers /v1/sandboxes/{name}/policy, /v1/policy and /v1/explain."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # -- looking ---------------------------------------------------------------------------

    async def get(self, scope: str | None, revision: int | None) -> JsonObject:
        """One revision, the active one by default.

        Raises:
            NotFound: no such sandbox, no such revision, or no global policy.
        """
        found = await self._revision(scope, revision)
        return _revision_object(found) | {"text": found.text, "scope": scope or "global"}

    async def history(self, scope: str | None) -> list[JsonObject]:
        """Every kept revision, newest first."""
        core = self._core
        kept = await core.on_store(core.store.policies.history, self._scope_id(scope))
        return [_revision_object(revision) for revision in kept]

    async def explain(self, sandbox: str, target: str, method: str | None) -> JsonObject:
        """What would become of a request, told by the object that enforces.

        Raises:
            NotFound: no such sandbox.
            BadInput: the target is no URL and no host:port.
        """
        policy, revision = self._core.effective(self._core.resident(sandbox))
        told = explain(policy, target, method or "GET")
        return told.to_doc(sandbox, revision) | {"sandbox": sandbox}

    # -- changing --------------------------------------------------------------------------

    async def set(self, change: Change, text: str, source: str) -> JsonObject:
        """Replace a policy.

        Raises:
            BadInput: every problem of the text, as source:line: key: message.
            Conflict: `if_revision` does not match, or the global policy stands over this one.
            NotFound: no such sandbox.
        """
        policy = parse_policy(text, source)
        async with self._core.change():
            return await self._put(change, policy, text, source)

    async def update(self, change: Change, operations: Sequence[JsonObject]) -> JsonObject:
        """Apply a batch of operations to the active policy: all of them or none.

        Raises:
            BadInput: an operation that does not fit the policy, or would widen more than it says.
            Conflict, NotFound: as `set`.
        """
        parsed = parse_operations(operations)
        async with self._core.change():
            updated = update_policy(self._active(change.scope), parsed)
            result = await self._put(change, updated.policy, updated.text, "policy update")
        return result | {"notes": list(updated.notes)}

    async def roll_back(self, change: Change, revision: int) -> JsonObject:
        """Make an earlier revision's content the newest revision.

        Raises:
            NotFound: the revision is not kept.
        """
        old = await self._revision(change.scope, revision)
        source = f"rollback to revision {revision}"
        async with self._core.change():
            return await self._put(change, Policy.from_doc(dict(old.doc)), old.text, source)

    async def delete(self, scope: str | None) -> JsonObject:
        """Take the global policy away: every sandbox's own is in force again.

        Raises:
            BadInput: a sandbox's own policy; it always has one.
        """
        if scope is not None:
            raise BadInput(
                f"sandbox {scope!r} always has a policy; set an empty one to deny everything"
            )
        core = self._core
        async with core.change():
            if core.global_policy is None:
                return {"deleted": False}
            own = [(resident, resident.policy) for resident in core.residents.values()]
            moves = await self._plan_moves(own)
            await core.on_store(self._forget_global, moves)
            core.global_policy = None
            await self._carry_out(moves)
        core.record(Kind.CONFIG, "global policy removed")
        return {"deleted": True}

    def _forget_global(self, moves: Sequence[_Move]) -> None:
        with self._core.store.transaction():
            self._core.store.policies.remove(None)
            self._store_names(moves)

    # -- the change itself -----------------------------------------------------------------

    async def _put(self, change: Change, policy: Policy, text: str, source: str) -> JsonObject:
        core, scope_id = self._core, self._scope_id(change.scope)
        self._refuse_under_global(change)
        active = await core.on_store(core.store.policies.active, scope_id)
        current = active.revision if active else 0
        if change.if_revision is not None and change.if_revision != current:
            raise Conflict(
                f"policy revision {current} is in force, not {change.if_revision}",
                revision=current,
            )
        changed = active is None or active.digest != policy.digest
        revision = current
        if changed and not change.dry_run:
            candidate = PolicyRevision(
                scope=scope_id,
                revision=0,
                digest=policy.digest,
                text=text,
                source=source,
                doc=policy.to_doc(),
                created=time.time(),
            )
            revision = await self._put_in_force(change.scope, candidate, policy)
        return {
            "scope": change.scope or "global",
            "revision": revision,
            "digest": policy.digest,
            "changed": changed,
            "dry_run": change.dry_run,
            "warnings": list(policy.warnings),
        }

    async def _put_in_force(
        self, scope: str | None, candidate: PolicyRevision, policy: Policy
    ) -> int:
        core = self._core
        residents = list(core.residents.values()) if scope is None else [core.resident(scope)]
        moves = await self._plan_moves([(resident, policy) for resident in residents])
        stored = await core.on_store(self._store, moves, candidate)
        if scope is None:
            core.global_policy = (policy, stored.revision)
        else:
            moves[0].resident.policy = policy
            core.keep(moves[0].resident, revision=stored.revision, digest=policy.digest)
        await self._carry_out(moves)
        core.record(
            Kind.CONFIG,
            f"policy revision {stored.revision} in force",
            resident=core.resident(scope) if scope else None,
        )
        return stored.revision

    async def _plan_moves(self, wanted: Sequence[tuple[Resident, Policy]]) -> list[_Move]:
        """Plan every sandbox's part and add what is new to the kernel, where it is harmless until
        the workers know of it. Where that fails, everything is as before."""
        core = self._core
        moves: list[_Move] = []
        try:
            for resident, policy in wanted:
                moves.append(self._plan_move(resident, policy))
            for move in moves:
                await core.on_kernel(core.kernel.add_allow, move.after - move.before)
        except NetmgrError:
            for move in moves:
                await core.on_kernel(core.kernel.del_allow, move.after - move.before)
                for row in move.added:
                    move.resident.names.release(row.name, time.time())
            raise
        return moves

    def _plan_move(self, resident: Resident, policy: Policy) -> _Move:
        core, names, now = self._core, resident.names, time.time()
        before = core.entries(resident)
        dropped = [row.name for row in names if not policy.judge_name(row.name).decision.permits]
        added: list[NameAddress] = []
        for name in sorted(policy.exact_names()):
            if name != HOST_NAME and names.get(name) is None:
                chosen = names.choose(name, now, wildcard=False)
                names.take(chosen)
                added.append(chosen)
        kept = {n: ip for n, ip in core.name_map(names).items() if n not in dropped}
        after = allow_entries(resident.row.address, kept, policy)
        return _Move(resident, policy, before, after, added, dropped)

    def _store(self, moves: Sequence[_Move], candidate: PolicyRevision) -> PolicyRevision:
        """One transaction: the revision, its digest at the sandbox, every name."""
        store = self._core.store
        with store.transaction():
            stored, _ = store.policies.put(candidate, keep=self._core.settings.policy_history)
            self._store_names(moves)
            if stored.scope is not None:
                row = moves[0].resident.row
                store.sandboxes.update(row, revision=stored.revision, digest=stored.digest)
        return stored

    def _store_names(self, moves: Sequence[_Move]) -> None:
        now = time.time()
        for move in moves:
            names = move.resident.names
            rests = [row for name in move.dropped if (row := names.release(name, now))]
            self._core.store.names.put(move.resident.row.id, move.added + rests)

    async def _carry_out(self, moves: Sequence[_Move]) -> None:
        """Revoked entries out, workers told, and only then the sockets of what was revoked."""
        core = self._core
        revoked = [entry for move in moves for entry in move.before - move.after]
        await core.on_kernel(core.kernel.del_allow, revoked)
        ops: list[Op] = []
        for move in moves:
            ops += core.roster.put(core.member(move.resident))
            ops.append({"op": "flow.judge", "address": str(move.resident.row.address)})
        await core.announce(ops)
        await core.on_kernel(self._destroy, revoked)

    def _destroy(self, revoked: Sequence[AllowEntry]) -> None:
        for entry in revoked:
            self._core.kernel.destroy_sockets(entry.address, entry.destination, entry.port)

    # -- scopes ----------------------------------------------------------------------------

    def _scope_id(self, scope: str | None) -> int | None:
        return None if scope is None else self._core.resident(scope).row.id

    def _refuse_under_global(self, change: Change) -> None:
        if change.scope is not None and self._core.global_policy is not None:
            raise Conflict(
                "a global policy is in force for every sandbox; "
                "remove it first with `netmgr policy delete --global`"
            )

    def _active(self, scope: str | None) -> Policy:
        if scope is not None:
            return self._core.resident(scope).policy
        if self._core.global_policy is None:
            raise NotFound("there is no global policy; set one with `netmgr policy set --global`")
        return self._core.global_policy[0]

    async def _revision(self, scope: str | None, revision: int | None) -> PolicyRevision:
        core, scope_id = self._core, self._scope_id(scope)
        if revision is not None:
            return await core.on_store(core.store.policies.get, scope_id, revision)
        active = await core.on_store(core.store.policies.active, scope_id)
        if active is None:
            raise NotFound("there is no global policy; set one with `netmgr policy set --global`")
        return active


def _revision_object(revision: PolicyRevision) -> JsonObject:
    return {
        "revision": revision.revision,
        "digest": revision.digest,
        "source": revision.source,
        "created": revision.created,
        "status": revision.status.value,
        "message": revision.message,
        "warnings": list(Policy.from_doc(dict(revision.doc)).warnings),
    }
