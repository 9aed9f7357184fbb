"""Owns: what must be gone when a container is: asked of the daemon, the kernel and the disk.
Knows nothing of engines.
"""

import time
from pathlib import Path
from typing import Any, Final

from runtimes.machine import Machine

GONE_S: Final = 10.0  # an engine cleans up after it has answered


def sandboxes(machine: Machine) -> list[dict[str, Any]]:
    """Every sandbox that the machine's daemon knows."""
    return list(machine.world.netmgrd.api("GET", "/v1/sandboxes")[1]["sandboxes"])


def names(machine: Machine) -> list[str]:
    """How they are called."""
    return [str(box["name"]) for box in sandboxes(machine)]


def checks_out(machine: Machine, name: str) -> bool:
    """Whether the record of a sandbox and the kernel agree."""
    return bool(machine.world.netmgrd.api("GET", f"/v1/sandboxes/{name}/check")[1]["ok"])


def remains(machine: Machine) -> list[str]:
    """What is there of any sandbox: records, namespaces, links, set entries, files, leases."""
    daemon = machine.world.netmgrd
    found = [f"record {name}" for name in names(machine)]
    prefix = f"{daemon.instance}-"
    pins = [path.name for path in Path("/run/netns").iterdir()]
    found += [pin for pin in pins if pin.startswith(prefix) and pin != daemon.hub.name]
    found += [f"link {link}" for link in daemon.hub.links() if link.startswith("nm")]
    saved = daemon.hub.run("ipset", "save").stdout.splitlines()
    found += [line for line in saved if line.startswith("add ") and "10.77." in line]
    found += [f"files {path}" for path in (daemon.run_dir / "sandboxes").iterdir()]
    trust = daemon.state_dir / "trust"
    return found + [f"bundle {path}" for path in trust.glob("[!.]*.pem")]


def assert_nothing_is_left(machine: Machine) -> None:
    """Nothing, or soon nothing."""
    end = time.monotonic() + GONE_S
    while found := remains(machine):
        assert time.monotonic() < end, found
        time.sleep(0.1)
