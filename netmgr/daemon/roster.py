"""Owns: the daemon's one picture of what workers must know, and the operations that tell them.

Pure: the lifecycle changes the roster and sends what it returns. A worker that starts anew gets
`full_state`, which by construction is the sum of all changes.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final

from netmgr.model import SandboxName
from netmgr.policy.policy import Policy
from netmgr.process.view import VIEW_OPS

Op = dict[str, Any]

DECIDERS: Final = frozenset({"dns", "proxy", "dialer"})
# Operations that one kind alone understands. `inference` is for the dialer, too, without the key.
_ONLY: Final = {
    "proxy": frozenset(
        {"leaf.forget", "flow.judge", "inference", "inference.revoke", "meter", "routing"}
    ),
    "dialer": frozenset({"origin", "inference.revoke"}),
}


@dataclass(frozen=True, slots=True)
class Member:
    """One sandbox as all workers know it.

    Attributes:
        address: its source address, as text.
        names: name -> private address that stands for it.
        scope: what `netmgr policy update` is told, to change what is in force here.
    """

    name: SandboxName
    address: str
    tenant: str | None
    labels: dict[str, str]
    policy: Policy
    revision: int
    names: dict[str, str]
    scope: str


class Roster:
    """Sandboxes, the policies that they refer to, inference routes, the journal's health."""

    def __init__(self) -> None:
        self.members: dict[SandboxName, Member] = {}
        self._policies: Counter[str] = Counter()
        self._scanning: set[str] = set()  # of these policies, those with middlewares
        self._routes: dict[str | None, Op] = {}
        self._shut: set[str | None] = set()
        self._journal_available = True
        self._metered: Op = {"all": False, "sandboxes": [], "tenants": []}
        self._routing: Op = {"live": None, "shadow": None}

    # -- changes: each returns the operations that bring workers along ----------------------

    def put(self, member: Member) -> list[Op]:
        """A new sandbox, or one whose policy, names or labels changed."""
        before = self.members.get(member.name)
        ops: list[Op] = []
        if before is None or before.policy.digest != member.policy.digest:
            ops += self._refer(member.policy, before.policy if before else None)
        self.members[member.name] = member
        ops.append(_sandbox_op(member))
        if before is not None and before.policy.digest != member.policy.digest:
            ops += self._let_go(before.policy.digest)
        return ops

    def remove(self, name: SandboxName) -> list[Op]:
        """A sandbox is gone. Unknown names are no error: twice is once."""
        member = self.members.pop(name, None)
        if member is None:
            return []
        ops: list[Op] = [
            {"op": "sandbox.forget", "address": member.address},
            {"op": "leaf.forget", "address": member.address},
        ]
        if name in self._routes or name in self._shut:
            ops += self.set_route(name, None)
        return ops + self._let_go(member.policy.digest)

    def add_names(self, name: SandboxName, names: dict[str, str]) -> list[Op]:
        """Private addresses that now stand for names."""
        member = self.members[name]
        self.members[name] = replace(member, names=member.names | names)
        return [{"op": "names", "address": member.address, "names": names}]

    def route(self, scope: str | None) -> Op | None:
        """The route of exactly that scope."""
        return self._routes.get(scope)

    def set_route(self, scope: str | None, route: Op | None) -> list[Op]:
        """The inference route of a scope (see netmgr.inference.scope)."""
        self._shut.discard(scope)
        if route is None:
            self._routes.pop(scope, None)
        else:
            self._routes[scope] = route
        return [{"op": "inference", "scope": scope, "route": route}]

    def shut_route(self, scope: str | None) -> list[Op]:
        """A scope has a route that cannot be used: until it is set anew, no wider one stands in for
        it, which may lead to another company."""
        self._routes.pop(scope, None)
        self._shut.add(scope)
        return [_shut_op(scope)]

    def set_metered(self, metered: Op) -> list[Op]:
        """Whose model calls ask the daemon before they are sent: {all, sandboxes, tenants}."""
        self._metered = metered
        return [{"op": "meter", **metered}]

    def set_routing(self, live: Op | None, shadow: Op | None) -> list[Op]:
        """The routing files in force and on trial, see netmgr.routing.wire."""
        self._routing = {"live": live, "shadow": shadow}
        return [{"op": "routing", **self._routing}]

    def set_journal(self, available: bool) -> list[Op]:
        """Whether decisions can be recorded."""
        self._journal_available = available
        return [{"op": "journal", "available": available}]

    @property
    def needs_scan(self) -> bool:
        """Whether some sandbox's policy has middlewares look at requests."""
        return bool(self._scanning)

    # -- the whole -------------------------------------------------------------------------

    def full_state(self, kind: str) -> list[Op]:
        """Everything that a worker of that kind must know."""
        policies = {m.policy.digest: m.policy for m in self.members.values()}
        ops = [_policy_op(policy) for policy in policies.values()]
        ops += [_sandbox_op(member) for member in self.members.values()]
        ops += [
            {"op": "inference", "scope": scope, "route": route}
            for scope, route in self._routes.items()
        ]
        ops += [_shut_op(scope) for scope in self._shut]
        ops.append({"op": "journal", "available": self._journal_available})
        ops.append({"op": "meter", **self._metered})
        ops.append({"op": "routing", **self._routing})
        return ops_for(kind, ops)

    def _refer(self, policy: Policy, before: Policy | None) -> list[Op]:
        self._policies[policy.digest] += 1
        if policy.middlewares.all:
            self._scanning.add(policy.digest)
        return [_policy_op(policy, before)] if self._policies[policy.digest] == 1 else []

    def _let_go(self, digest: str) -> list[Op]:
        self._policies[digest] -= 1
        if self._policies[digest] > 0:
            return []
        del self._policies[digest]
        self._scanning.discard(digest)
        return [{"op": "policy.forget", "digest": digest}]


def ops_for(kind: str, ops: list[Op]) -> list[Op]:
    """The part of a change that concerns a kind of worker. Only proxies see a credential."""
    if kind not in DECIDERS:
        return []
    mine: list[Op] = []
    for op in ops:
        name = op["op"]
        if name in VIEW_OPS or name in _ONLY.get(kind, ()):
            mine.append(op)
        elif kind == "dialer" and name == "inference":
            mine.append({**op, "route": _without_credential(op["route"])})
    return mine


def _without_credential(route: Op | None) -> Op | None:
    return None if route is None else {k: v for k, v in route.items() if k != "credentials"}


def _shut_op(scope: str | None) -> Op:
    return {"op": "inference", "scope": scope, "route": None, "shut": True}


def _policy_op(policy: Policy, before: Policy | None = None) -> Op:
    like = {"like": before.digest} if before else {}
    return {"op": "policy", "digest": policy.digest, "doc": policy.doc, **like}


def _sandbox_op(member: Member) -> Op:
    return {
        "op": "sandbox",
        "address": member.address,
        "name": member.name,
        "tenant": member.tenant,
        "labels": member.labels,
        "policy": member.policy.digest,
        "revision": member.revision,
        "names": member.names,
        "scope": member.scope,
    }
