"""Owns: policies of live sandboxes and the global one: set, update, history, roll back, explain.

A change: validate (everything, before anything) -> new names and entries into the kernel -> store
(one transaction, a new revision) -> revoked entries out -> workers acknowledge and judge their live
flows again -> sockets of what was revoked destroyed -> reply. In force when the call returns.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from netmgr.daemon.core import Core
from netmgr.daemon.policy_advice import propose_for
from netmgr.daemon.policy_moves import Move, PolicyMoves
from netmgr.daemon.residents import Resident
from netmgr.errors import BadInput, Conflict, NetmgrError, NotFound
from netmgr.model import SandboxName
from netmgr.policy.difference import difference
from netmgr.policy.expiry import lapsed_warnings
from netmgr.policy.explain import explain
from netmgr.policy.operations import parse_operations
from netmgr.policy.policy import EMPTY_POLICY, Policy, parse_policy
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


class PolicyDesk:
    """Answers /v1/sandboxes/{name}/policy, /v1/policy and /v1/explain."""

    def __init__(self, core: Core, moves: PolicyMoves) -> None:
        self._core = core
        self._moves = moves

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

    async def explain(
        self,
        sandbox: str,
        target: str,
        method: str | None,
        binaries: Sequence[str] = (),
        operation: str | None = None,
    ) -> JsonObject:
        """What would become of a request, told by the object that enforces.

        Raises:
            NotFound: no such sandbox.
            BadInput: the target is no URL and no host:port.
        """
        resident = self._core.resident(sandbox)
        policy, revision = self._core.effective(resident)
        around = await self._core.surroundings()
        told = explain(policy, target, method, binaries, operation, around)
        return told.to_doc(self._core.scope(resident), revision) | {"sandbox": sandbox}

    async def propose(self, sandbox: str, since: float | None) -> JsonObject:
        """The smallest rules that would have allowed what was denied or audited.

        Raises:
            NotFound: no such sandbox.
        """
        return await propose_for(self._core, sandbox, since)

    # -- changing --------------------------------------------------------------------------

    async def set(self, change: Change, text: str, source: str) -> JsonObject:
        """Replace a policy.

        Raises:
            BadInput: every problem of the text, as source:line: key: message.
            Conflict: `if_revision` does not match, or the global policy stands over this one.
            NotFound: no such sandbox.
        """
        policy = parse_policy(text, source, self._near(change.scope))
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

    async def delete(self, change: Change) -> JsonObject:
        """Take the global policy away: every sandbox's own is in force again.

        Raises:
            BadInput: a sandbox's own policy; it always has one.
            Conflict: `if_revision` does not match.
        """
        if change.scope is not None:
            raise BadInput(
                f"sandbox {change.scope!r} always has a policy; set an empty one to deny everything"
            )
        core = self._core
        async with core.change():
            if core.global_policy is None:
                return {"deleted": False}
            _refuse_other_revision(change, core.global_policy[1])
            if change.dry_run:
                return {"deleted": True}
            own = [(resident, resident.policy) for resident in core.residents.values()]
            moves = await self._moves.plan(own)
            await core.on_store(self._forget_global, moves)
            core.global_policy = None
            await self._moves.carry_out(moves)
        core.record(Kind.CONFIG, "global policy removed: every sandbox's own is in force")
        return {"deleted": True}

    def _forget_global(self, moves: Sequence[Move]) -> None:
        with self._core.store.transaction():
            self._core.store.policies.remove(None)
            self._moves.store_names(moves)

    # -- the change itself -----------------------------------------------------------------

    async def _put(self, change: Change, policy: Policy, text: str, source: str) -> JsonObject:
        core, scope_id = self._core, self._scope_id(change.scope)
        self._refuse_under_global(change)
        policy.require_cases(source)
        core.require_middlewares(policy, source)
        active = await core.on_store(core.store.policies.active, scope_id)
        current = active.revision if active else 0
        _refuse_other_revision(change, current)
        changed = active is None or active.digest != policy.digest
        result: JsonObject = {
            "scope": change.scope or "global",
            "revision": current,
            "digest": policy.digest,
            "changed": changed,
            "dry_run": change.dry_run,
            "warnings": [*policy.warnings, *lapsed_warnings(policy.entries, time.time())],
        }
        if change.dry_run:
            old = Policy.from_doc(dict(active.doc)) if active else EMPTY_POLICY
            return result | {"diff": difference(old, policy, f"revision {current}", source)}
        if changed:
            candidate = PolicyRevision(
                scope=scope_id,
                revision=0,
                digest=policy.digest,
                text=text,
                source=source,
                doc=policy.doc,
                created=time.time(),
            )
            result["revision"] = await self._put_in_force(change.scope, candidate, policy)
        return result

    async def _put_in_force(
        self, scope: str | None, candidate: PolicyRevision, policy: Policy
    ) -> int:
        core = self._core
        residents = list(core.residents.values()) if scope is None else [core.resident(scope)]
        before = _Before.of(core, scope, residents)
        moves = await self._moves.plan([(resident, policy) for resident in residents])
        stored = await core.on_store(self._store, moves, candidate)
        if scope is None:
            core.global_policy = (policy, stored.revision)
        else:
            residents[0].policy = policy
            core.keep(residents[0], revision=stored.revision, digest=policy.digest)
        try:
            await self._moves.carry_out(moves)
        except NetmgrError as failure:
            await self._take_back(scope, stored, moves, before, failure)
            raise
        only = residents[0] if scope else None
        core.record(Kind.CONFIG, _in_force(scope, stored, len(residents)), resident=only)
        return stored.revision

    async def _take_back(
        self,
        scope: str | None,
        failed: PolicyRevision,
        moves: Sequence[Move],
        before: "_Before",
        failure: NetmgrError,
    ) -> None:
        """The kernel or a worker did not go along: what held before holds again."""
        core = self._core
        core.global_policy = before.global_policy
        if scope is not None:
            resident = moves[0].resident
            resident.policy = before.own
            core.keep(resident, revision=before.revision, digest=before.own.digest)

        def store(back: Sequence[Move]) -> None:
            with core.store.transaction():
                core.store.policies.fail(
                    failed.scope, failed.revision, failure.message, before.revision
                )
                self._moves.store_names(back)
                if scope is not None:
                    core.store.sandboxes.update(moves[0].resident.row)

        await self._moves.take_back(moves, before.policies, before.moments, store)
        message = (
            f"policy revision {failed.revision} failed ({failure.message}); "
            f"what was in force before is again"
        )
        only = moves[0].resident if scope is not None else None
        core.record(Kind.CONFIG, message, resident=only)

    def _store(self, moves: Sequence[Move], candidate: PolicyRevision) -> PolicyRevision:
        """One transaction: the revision, its digest at the sandbox, every name."""
        store = self._core.store
        with store.transaction():
            stored, _ = store.policies.put(candidate, keep=self._core.settings.policy_history)
            self._moves.store_names(moves)
            if stored.scope is not None:
                row = moves[0].resident.row
                store.sandboxes.update(row, revision=stored.revision, digest=stored.digest)
        return stored

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

    def _near(self, scope: str | None) -> Policy | None:
        """What a new policy of this scope is likely to resemble."""
        if scope is None:
            return self._core.global_policy[0] if self._core.global_policy else None
        resident = self._core.residents.get(SandboxName(scope))
        return resident.policy if resident else None

    async def _revision(self, scope: str | None, revision: int | None) -> PolicyRevision:
        core, scope_id = self._core, self._scope_id(scope)
        if revision is not None:
            return await core.on_store(core.store.policies.get, scope_id, revision)
        active = await core.on_store(core.store.policies.active, scope_id)
        if active is None:
            raise NotFound("there is no global policy; set one with `netmgr policy set --global`")
        return active


@dataclass(frozen=True, slots=True)
class _Before:
    """What held before a change, to go back to.

    Attributes:
        own: the own policy of the one sandbox that changes; EMPTY_POLICY where all do.
        revision: the scope's; 0 where it had none.
        policies: what was in force in each sandbox, and `moments` when that was judged.
    """

    global_policy: tuple[Policy, int] | None
    own: Policy
    revision: int
    policies: tuple[Policy, ...]
    moments: tuple[float, ...]

    @classmethod
    def of(cls, core: Core, scope: str | None, residents: Sequence[Resident]) -> "_Before":
        """As it is now."""
        if scope is None:
            own, revision = EMPTY_POLICY, core.global_policy[1] if core.global_policy else 0
        else:
            own, revision = residents[0].policy, residents[0].row.revision
        return cls(
            core.global_policy,
            own,
            revision,
            tuple(core.effective(resident)[0] for resident in residents),
            tuple(resident.judged_at for resident in residents),
        )


def _refuse_other_revision(change: Change, current: int) -> None:
    if change.if_revision is not None and change.if_revision != current:
        raise Conflict(
            f"policy revision {current} is in force, not {change.if_revision}", revision=current
        )


def _in_force(scope: str | None, stored: PolicyRevision, count: int) -> str:
    what = f"policy revision {stored.revision} in force, from {stored.source}"
    return what if scope else f"global {what}: it stands over {count} sandboxes"


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
