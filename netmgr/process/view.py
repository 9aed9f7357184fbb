"""Owns: what a worker knows of the world: sandboxes, their names and policies, by number.

The daemon sends changes; every worker that decides (dns, proxy, dialer) applies them to its own
`View` and decides again from it. Pure: the caller brings the messages.

Operations of one change, each a JSON object with `op`:

    policy          {digest, doc, like?}                a policy that sandboxes will refer to;
                                                        `like`: the digest of one that is near
    policy.forget   {digest}
    sandbox         {address, name, tenant, labels, policy, revision, names}
    sandbox.forget  {address}
    names           {address, names: {name: ip}}        private addresses that now stand for names
    names.forget    {address, names: [name]}
    journal         {available}                         whether decisions can be recorded
Operations that a worker's room adds for itself (`inference`, `leaf`, ...) are left to it.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final

from netmgr.policy.policy import Policy

VIEW_OPS: Final = frozenset(
    {
        "policy",
        "policy.forget",
        "sandbox",
        "sandbox.forget",
        "names",
        "names.forget",
        "journal",
    }
)


@dataclass(frozen=True, slots=True)
class SandboxView:
    """One sandbox as a worker knows it.

    Attributes:
        address: its source address in the hub, as text: the key of everything.
        names: name -> private address that stands for it in this sandbox.
        by_ip: the same the other way round.
        scope: what `netmgr policy update` is told, to change what is in force here: its name, or
            the global policy's flag.
    """

    address: str
    name: str
    tenant: str | None
    labels: dict[str, str]
    policy: Policy
    revision: int
    names: dict[str, str] = field(default_factory=dict)
    by_ip: dict[str, str] = field(default_factory=dict)
    scope: str = ""


class View:
    """All that a worker decides from. `number` is the last change that was applied."""

    def __init__(self) -> None:
        self.number = 0
        self.journal_available = True
        self.sandboxes: dict[str, SandboxView] = {}
        self._policies: dict[str, Policy] = {}

    def get(self, address: str) -> SandboxView | None:
        """The sandbox with that source address; None means: deny."""
        return self.sandboxes.get(address)

    def by_name(self, name: str) -> SandboxView | None:
        """The sandbox called `name`."""
        return next((s for s in self.sandboxes.values() if s.name == name), None)

    def apply(self, op: dict[str, Any]) -> None:
        """Apply one operation of VIEW_OPS.

        Raises:
            KeyError: the operation refers to what this worker was never told. The worker
                must then end: its successor gets the whole state.
        """
        match op["op"]:
            case "policy":
                like = self._policies.get(op.get("like", ""))
                self._policies[op["digest"]] = Policy.from_doc(op["doc"], like=like)
            case "policy.forget":
                self._policies.pop(op["digest"], None)
            case "sandbox":
                self.sandboxes[op["address"]] = self._sandbox(op)
            case "sandbox.forget":
                self.sandboxes.pop(op["address"], None)
            case "names":
                self._set_names(op["address"], op["names"], ())
            case "names.forget":
                self._set_names(op["address"], {}, op["names"])
            case "journal":
                self.journal_available = op["available"]
            case other:
                raise KeyError(f"unknown operation {other!r}")

    def _sandbox(self, op: dict[str, Any]) -> SandboxView:
        names: dict[str, str] = dict(op["names"])
        return SandboxView(
            address=op["address"],
            name=op["name"],
            tenant=op["tenant"],
            labels=op["labels"],
            policy=self._policies[op["policy"]],
            revision=op["revision"],
            names=names,
            by_ip={ip: name for name, ip in names.items()},
            scope=op["scope"],
        )

    def _set_names(self, address: str, add: dict[str, str], drop: list[str] | tuple[()]) -> None:
        sandbox = self.sandboxes[address]
        names = {n: ip for n, ip in sandbox.names.items() if n not in drop} | add
        self.sandboxes[address] = replace(
            sandbox, names=names, by_ip={ip: name for name, ip in names.items()}
        )
