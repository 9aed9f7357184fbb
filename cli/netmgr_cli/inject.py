"""Owns: what goes into a container or service of a sandbox, written as each runtime wants it: CDI
specifications, systemd drop-ins, words for bubblewrap and for container engines. No I/O.

What it is (mounts, variables, the namespace) comes from the control API.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final

from netmgr.answers import Injection, Mount
from netmgr.errors import BadInput

CDI_VERSION: Final = "0.5.0"  # the oldest whose device names may begin with a digit
CDI_KIND: Final = "netmgr.dev/sandbox"
_CDI_DEVICE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")

# Sockets of the host by which a service would leave its sandbox through somebody else.
_WAYS_OUT: Final = (
    "/run/dbus/system_bus_socket",
    "/run/systemd/private",
    "/run/systemd/io.system.ManagedOOM",
    "/run/docker.sock",
    "/run/podman",
    "/run/containerd",
    "/run/crio",
    "/run/netns",
    "/run/nscd",
    "/run/systemd/resolve",
)
# What a process may not hold beside a link into the hub (docs/security.md), and what leads there.
_DROPPED: Final = (
    "CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_SYS_MODULE CAP_BPF "
    "CAP_DAC_READ_SEARCH"
)


def render_cdi(found: Injection) -> str:
    """A CDI specification with one device, the sandbox.

    https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md

    Raises:
        BadInput: the sandbox's name can be no device's.
    """
    name = found["name"]
    if not _CDI_DEVICE.fullmatch(name):
        raise BadInput(f"{name}: a CDI device's name ends with a letter or a digit")
    edits: dict[str, Any] = {
        "env": [f"{key}={value}" for key, value in found["env"].items()],
        "mounts": [_cdi_mount(mount) for mount in found["mounts"]],
    }
    spec = {
        "cdiVersion": CDI_VERSION,
        "kind": CDI_KIND,
        "devices": [{"name": name, "containerEdits": edits}],
    }
    return json.dumps(spec, indent=2) + "\n"


def _cdi_mount(mount: Mount) -> dict[str, Any]:
    return {
        "hostPath": mount["source"],
        "containerPath": mount["target"],
        "options": ["ro", "nosuid", "nodev", "noexec", "rbind"],
    }


def render_systemd(found: Injection, needs: str | None = None) -> str:
    """A drop-in for a service (systemd.unit(5), systemd.exec(5)).

    Args:
        needs: the unit that makes the sandbox; None: it stands when the service starts.
    """
    lines = [f"# netmgr: what puts a service into the sandbox {found['name']}"]
    if needs is not None:
        lines += ["[Unit]", f"Requires={needs}", f"After={needs}", f"BindsTo={needs}", ""]
    lines += ["[Service]", f"NetworkNamespacePath={_unit_path(found['netns'])}"]
    for mount in found["mounts"]:
        optional = "-" if mount["optional"] else ""
        source, target = _unit_path(mount["source"]), _unit_path(mount["target"])
        lines.append(f"BindReadOnlyPaths={optional}{source}:{target}")
    for key, value in found["env"].items():
        lines.append(f"Environment={_unit_quoted(f'{key}={value}')}")
    lines += [f"InaccessiblePaths=-{path}" for path in _WAYS_OUT]
    lines += [
        f"CapabilityBoundingSet=~{_DROPPED}",
        "NoNewPrivileges=yes",
        "PrivateIPC=yes",
        "ProtectKernelTunables=yes",
        "ProtectProc=invisible",
        "RestrictNamespaces=yes",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    ]
    return "\n".join(lines) + "\n"


def _unit_path(path: str) -> str:
    """A path in a unit file, where a space or a colon would end it.

    Raises:
        BadInput: it has one.
    """
    if re.search(r"[\s:\"'\\]", path):
        raise BadInput(f"{path!r} cannot stand in a unit file")
    return path.replace("%", "%%")


def _unit_quoted(text: str) -> str:
    """A text in double quotes (systemd.syntax(7)), without specifiers."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped.replace("%", "%%")}"'


def render_bwrap(found: Injection) -> str:
    """Words for bwrap(1), behind those that build the root; as `--args FD` reads them."""
    words = []
    for mount in found["mounts"]:
        flag = "--ro-bind-try" if mount["optional"] else "--ro-bind"
        words += [flag, mount["source"], mount["target"]]
    for key, value in found["env"].items():
        words += ["--setenv", key, value]
    return "".join(f"{word}\0" for word in words)


def render_engine(found: Injection) -> str:
    """Words for `podman run` and `docker run`."""
    words = ["--network", f"ns:{found['netns']}"]
    for mount in found["mounts"]:
        words += ["--volume", f"{mount['source']}:{mount['target']}:ro"]
    for key, value in found["env"].items():
        words += ["--env", f"{key}={value}"]
    return shlex.join(words) + "\n"


FORMS: Final[Mapping[str, Callable[[Injection], str]]] = {
    "bwrap": render_bwrap,
    "podman": render_engine,
}
