"""Owns: the guard: an OCI hook that refuses a container in a sandbox's namespace which could reach
past its door, or has a second one. For engines whose network plugin sees no configuration: podman
with CNI or netavark, containerd with CNI, or joining a sandbox's namespace by its path.

It asks no daemon: a sandbox keeps its namespace without one, and its guard, too.
"""

import os
import sys

from netmgr_cli.shim.oci import judge
from netmgr_cli.shim.oci.container import MAX_CONFIG, hosts_own, parse_object, read_container
from netmgr_cli.shim.oci.hook import complain
from netmgr_cli.shim.oci.lodge import identity
from netmgr_cli.shim.oci.words import Refused

PINS = "/run/netns"  # where every instance pins its namespaces (netmgr.settings.table)
HUB = "-hub"
DOOR = "eth0"
# What a new namespace has besides (netmgr.kernel.links): always down, if nobody can raise it.
NO_DOORS = frozenset(
    "lo tunl0 gre0 gretap0 erspan0 ip_vti0 ip6_vti0 sit0 ip6tnl0 ip6gre0".split()  # noqa: SIM905
)


def main(arguments: list[str]) -> int:
    """Run the hook; 0, or 1 with a line on stderr, for which a runtime gives the container up."""
    try:
        if arguments:
            raise Refused(f"{arguments[0]}: the guard takes no arguments")
        state = parse_object(sys.stdin.buffer.read(MAX_CONFIG + 1), "the state on stdin")
        if state.get("status") not in ("creating", "created"):
            return 0
        netns = identity(f"/proc/{int(state['pid'])}/ns/net")
        if netns is not None and netns in sandboxes():
            refuse_second_doors(f"/proc/{int(state['pid'])}/net/dev")
            refuse(f"{state['bundle']}/config.json")
    except (Refused, KeyError, ValueError) as problem:
        return complain(str(problem))
    except OSError as problem:
        return complain(f"{problem.filename or ''}: {problem.strerror}")
    return 0


def refuse(path: str) -> None:
    """Let a container pass that has nothing to reach past its door with.

    Raises:
        Refused: says what it has, and how to run it.
        OSError: its configuration cannot be read.
    """
    config = read_container(path)
    judge.shape_of(config, hosts_own(config))
    judge.require_read_only_sysctls(config)


def refuse_second_doors(path: str) -> None:
    """Let a namespace pass that has the sandbox's link alone: another network of the engine's is
    there by now, if the container was to have one.

    Args:
        path: /proc/PID/net/dev of a process there.

    Raises:
        Refused: names the links.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        names = [line.partition(":")[0].strip() for line in file if ":" in line]
    others = [name for name in names if name != DOOR and name not in NO_DOORS]
    if others:
        raise Refused(
            f"a sandbox has one door, {DOOR}, and its namespace has links besides it: "
            f"{', '.join(others)}. Start the container on one network alone"
        )


def sandboxes(pins: str = PINS) -> "set[tuple[int, int] | None]":
    """The namespaces of all sandboxes, of whichever instance: an instance has a hub."""
    try:
        names = os.listdir(pins)
    except FileNotFoundError:
        return set()
    instances = tuple(name.removesuffix(HUB) + "-" for name in names if name.endswith(HUB))
    return {
        identity(f"{pins}/{name}")
        for name in names
        if name.startswith(instances) and not name.endswith(HUB)
    }
