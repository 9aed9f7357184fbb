"""A daemon's core with one sandbox and its policy desk, for tests of policies."""

from netmgr.daemon.lifecycle import Lifecycle
from netmgr.daemon.policy_desk import PolicyDesk
from netmgr.daemon.policy_moves import PolicyMoves
from netmgr.daemon.sandbox_spec import SandboxSpec

POLICY = """\
version: 1
network_policies:
  web:
    endpoints: [{{host: {host}, port: 443}}]
    binaries: [{{path: "/**"}}]
"""


def allowed(core) -> set[tuple[str, int]]:
    """What the kernel lets a sandbox's packets reach, without inference.local."""
    found = {(str(e.destination.network_address), e.port) for e in core.kernel.survey().allow}
    return {pair for pair in found if pair[0] != "198.18.0.1"}


async def born(core, host: str = "one.example.com") -> PolicyDesk:
    """A sandbox `a` that may reach that host."""
    await Lifecycle(core).create(SandboxSpec.parse({"name": "a", "allow": [host]}))
    return PolicyDesk(core, PolicyMoves(core))
