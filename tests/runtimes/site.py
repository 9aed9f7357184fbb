"""Owns: what OCI engines are tested in: a machine with netmgr's runtime and hook installed, a
policy, an internet with an allowed name and a model provider.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from runtimes import leftovers
from runtimes.machine import Machine
from world.web import fixed

ROOT: Final = Path(__file__).parents[2]
RUNTIME: Final = "/usr/local/bin/netmgr-runc"
HOOK: Final = "/usr/local/bin/netmgr-hook"
INSIDE: Final = str(Path(__file__).with_name("inside.py"))
# The host's programs and the tests' interpreter with its packages, for a container of busybox.
PROGRAMS: Final = tuple(
    dict.fromkeys(("/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix, str(ROOT / "tests")))
)
# What its containers may choose: `absent` is no policy, and not refused for being chosen.
SELECTABLE: Final = ("policy=agent", "policy=absent", "tenant=*", "label=*")
SDK: Final = ("sdk", "denied", "nested")  # for a network whose own tests have the allowed name
POLICY: Final = """\
version: 1
network_policies:
  api:
    endpoints: [{host: api.example.com, port: 443}]
    binaries: [{path: "/**"}]
"""


class Site:
    """A machine that is ready for OCI engines."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.daemon = machine.world.netmgrd
        internet = machine.world.internet
        internet.https("api.example.com", fixed(b"hello from outside\n"))
        internet.model("api.openai.com")
        machine.write("etc/netmgr/policies/agent.yaml", POLICY)
        lets = [word for one in SELECTABLE for word in ("--selectable", one)]
        machine.must("netmgr", "oci", "install", "--runtime", "/usr/sbin/runc", *lets)
        provider = ["--name", "p", "--type", "openai", "--credential", "OPENAI_API_KEY=sk-secret"]
        machine.must("netmgr", "provider", "create", *provider)
        machine.must("netmgr", "inference", "set", "--provider", "p", "--model", "gpt-4o")

    def sandboxes(self) -> list[dict[str, Any]]:
        """Every sandbox that the daemon knows."""
        return leftovers.sandboxes(self.machine)

    def the_sandbox(self) -> dict[str, Any]:
        """The only one."""
        (one,) = self.sandboxes()
        return one

    def checks_out(self, name: str) -> bool:
        """Whether the record of a sandbox and the kernel agree."""
        return leftovers.checks_out(self.machine, name)

    def judge(self, output: str) -> None:
        """What `inside.py` said of a container with the policy `agent`."""
        said = json.loads(output.splitlines()[-1])
        assert said.get("sdk", "hello"), said
        assert said.get("allowed", 200) == 200
        denied = said.get("denied")
        assert denied is None or (denied["error"] and denied["seconds"] < 2), denied
        assert said.get("nested", '{"').startswith('{"'), said["nested"]

    def assert_nothing_is_left(self) -> None:
        """Nothing, or soon nothing."""
        leftovers.assert_nothing_is_left(self.machine)


def volumes(flag: str = "--volume") -> list[str]:
    """The options of `podman run` and `docker run` that give a container programs."""
    return [word for place in PROGRAMS for word in (flag, f"{place}:{place}:ro")]


def probe(*words: str) -> Sequence[str]:
    """The command that looks at the network from inside."""
    return (sys.executable, "-I", INSIDE, *(words or ("sdk", "allowed", "denied", "nested")))
