"""Owns: what OCI engines are tested in: a machine with netmgr's runtime and hook installed, a
policy, an internet with an allowed name and a model provider; and what must be gone in the end.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

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
GONE_S: Final = 10.0  # an engine cleans up after it has answered
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
        return list(self.daemon.api("GET", "/v1/sandboxes")[1]["sandboxes"])

    def the_sandbox(self) -> dict[str, Any]:
        """The only one."""
        (one,) = self.sandboxes()
        return one

    def checks_out(self, name: str) -> bool:
        """Whether the record of a sandbox and the kernel agree."""
        return bool(self.daemon.api("GET", f"/v1/sandboxes/{name}/check")[1]["ok"])

    def judge(self, output: str) -> None:
        """What `inside.py` said of a container with the policy `agent`."""
        said = json.loads(output.splitlines()[-1])
        assert said.get("sdk", "hello"), said
        assert said.get("allowed", 200) == 200
        denied = said.get("denied")
        assert denied is None or (denied["error"] and denied["seconds"] < 2), denied
        assert said.get("nested", '{"').startswith('{"'), said["nested"]

    def remains(self) -> list[str]:
        """What is there of any sandbox: records, namespaces, links, set entries, files, leases."""
        hub, run = self.daemon.hub, self.daemon.run_dir
        found = [f"record {one['name']}" for one in self.sandboxes()]
        prefix = f"{self.daemon.instance}-"
        pins = [path.name for path in Path("/run/netns").iterdir()]
        found += [pin for pin in pins if pin.startswith(prefix) and pin != hub.name]
        found += [f"link {link}" for link in hub.links() if link.startswith("nm")]
        saved = hub.run("ipset", "save").stdout.splitlines()
        found += [line for line in saved if line.startswith("add ") and "10.77." in line]
        found += [f"files {path}" for path in (run / "sandboxes").iterdir()]
        trust = self.daemon.state_dir / "trust"
        return found + [f"bundle {path}" for path in trust.glob("[!.]*.pem")]

    def assert_nothing_is_left(self) -> None:
        """Nothing, or soon nothing."""
        end = time.monotonic() + GONE_S
        while found := self.remains():
            assert time.monotonic() < end, found
            time.sleep(0.1)


def volumes(flag: str = "--volume") -> list[str]:
    """The options of `podman run` and `docker run` that give a container programs."""
    return [word for place in PROGRAMS for word in (flag, f"{place}:{place}:ro")]


def probe(*words: str) -> Sequence[str]:
    """The command that looks at the network from inside."""
    return (sys.executable, "-I", INSIDE, *(words or ("sdk", "allowed", "denied", "nested")))
