"""Owns: which containers can have a sandbox at all, read off their configuration before anything is
done (OCI runtime specification, config.md and config-linux.md). No I/O.
"""

from netmgr_cli.shim.oci.shape import CAPABILITY_SETS, require_plain
from netmgr_cli.shim.oci.words import Refused

# In the host's user namespace each of these reaches past the door: the first two by the links and
# namespaces themselves (netmgr/kernel/powers.py), the others by the kernel, or by files of ours.
POWERS = {
    "CAP_NET_ADMIN": "reads and cuts off other sandboxes through its own link",
    "CAP_SYS_ADMIN": "joins other namespaces and mounts what it likes",
    "CAP_SYS_MODULE": "loads code into the kernel",
    "CAP_SYS_RAWIO": "writes the machine's memory",
    "CAP_BPF": "loads programs into the kernel",
    "CAP_DAC_READ_SEARCH": "opens any file of the host's disks, the daemon's keys among them",
}
HELD = CAPABILITY_SETS[:4]  # without the bounding set
READ_ONLY = "/proc/sys"
# The runtime sets these as root, whatever the container may; some are the whole machine's, and one
# of them (nf_hooks_lwtunnel) cannot be set back.
MACHINES_OWN = "net.netfilter."

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Shape:
    """What a container's configuration says of its namespaces.

    Attributes:
        netns: path of the network namespace to join; empty: the runtime makes one.
        own_users: it has a user namespace of its own.
    """

    __slots__ = ("netns", "own_users")

    def __init__(self, netns: str, own_users: bool) -> None:
        self.netns = netns
        self.own_users = own_users


def shape_of(config: "dict[str, Any]", hosts: "frozenset[str]" = frozenset()) -> Shape:
    """The configuration's namespaces, if a sandbox can be made of them.

    Args:
        hosts: kinds of namespaces that it names by path and that turn out to be the host's.

    Raises:
        Refused: the network or the processes of the host, or capabilities that reach past the door.
    """
    kinds = {kind: path for kind, path in namespaces_of(config).items() if kind not in hosts}
    if "network" not in kinds:
        raise Refused(
            "it shares the host's network namespace (--network=host, hostNetwork): there is no "
            "sandbox then. Start it with --network=none, or with a runtime that is not netmgr's"
        )
    if "pid" not in kinds:
        raise Refused(
            "it sees the host's processes (--pid=host, hostPID), and through them the host's "
            "network. Start it without"
        )
    if kinds["pid"] and not kinds["network"]:
        raise Refused(
            "it sees another container's processes (--pid=container:NAME), and through them that "
            "one's network. Start it without, or in that one's network, too: in its sandbox"
        )
    _refuse_sysctls(config)
    own_users = "user" in kinds
    if not own_users:
        refuse_powers(config.get("process") or {})
    return Shape(kinds["network"], own_users)


def _refuse_sysctls(config: "dict[str, Any]") -> None:
    for key in (config.get("linux") or {}).get("sysctl") or {}:
        if str(key).replace("/", ".").startswith(MACHINES_OWN):
            raise Refused(
                f"it sets {key} (--sysctl), which is the whole machine's: set it on the host, or "
                "start it without"
            )


def namespaces_of(config: "dict[str, Any]") -> dict[str, str]:
    """The namespaces that are not the runtime's own: kind -> path, empty for a new one."""
    listed = (config.get("linux") or {}).get("namespaces") or []
    return {str(one.get("type")): str(one.get("path") or "") for one in listed}


def refuse_powers(process: "dict[str, Any]") -> None:
    """Refuse capabilities that a process in the host's user namespace must not have.

    What only the bounding set has comes back with a setuid program, unless that is forbidden.

    Raises:
        Refused: names the capability; or what the runtime would read otherwise.
    """
    require_plain(process, "process")
    sets = process.get("capabilities") or {}
    names = HELD if process.get("noNewPrivileges") else (*HELD, "bounding")
    held = {str(cap).upper() for name in names for cap in sets.get(name) or ()}
    found = [cap for cap in POWERS if cap in held]
    if found:
        raise Refused(
            f"{found[0]} in the host's user namespace {POWERS[found[0]]}. Start it without "
            "(no --privileged, no --cap-add), or in a user namespace of its own "
            "(podman --userns=auto, Docker userns-remap), where it may hold it"
        )


def require_read_only_sysctls(config: "dict[str, Any]") -> None:
    """Refuse a container that may write /proc/sys, where nobody can change its configuration.

    Raises:
        Refused: it may.
    """
    if READ_ONLY not in ((config.get("linux") or {}).get("readonlyPaths") or []):
        raise Refused(
            f"it may write {READ_ONLY}, and one switch of netfilter there is the whole "
            "machine's: add it to linux.readonlyPaths (podman and Docker have it there by default)"
        )
