"""Owns: a container's configuration as netmgr wants it: what is mounted, in the environment, which
namespace, which hooks. Values in, a new value out; no I/O.
"""

import posixpath

from netmgr_cli.shim import light
from netmgr_cli.shim.oci.judge import READ_ONLY
from netmgr_cli.shim.oci.seccomp import without_vsock
from netmgr_cli.shim.oci.shape import STAGES

# As strict as a file needs; what the source's own mount has (nosuid, nodev) cannot be taken off in
# a user namespace.
BIND = ("bind", "ro", "nosuid", "nodev", "noexec", "rprivate")
# Docker's own hook moves its network into whatever namespace the container has: a second door.
FOREIGN_HOOKS = ("libnetwork-setkey",)
NOTE = "org.netmgr.wrapped"  # annotation: what an edit added
HOOK_S = 60  # seconds for a hook; the daemon's own deadlines are below it

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Change:
    """What a configuration lacks.

    Attributes:
        mounts: target in the container -> file on the host.
        env: variables, where the container has none of that name.
        netns: path of the network namespace to join, or None: as it is.
        hooks: stage -> the command line of ours; of `createRuntime` only where one is needed.
        closes_vsock: sockets that no network namespace holds are refused.
    """

    __slots__ = ("closes_vsock", "env", "hooks", "mounts", "netns")

    def __init__(self) -> None:
        self.mounts: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self.netns: str | None = None
        self.hooks: dict[str, list[str]] = {}
        self.closes_vsock = False


def edit(config: "dict[str, Any]", change: Change) -> "dict[str, Any]":
    """The configuration with the change, which is noted in an annotation."""
    edited = dict(config)
    edited["mounts"] = _mounts(config.get("mounts") or [], change.mounts)
    edited["linux"] = _linux(config.get("linux") or {}, change)
    edited["hooks"] = _hooks(config.get("hooks") or {}, change.hooks)
    process = config.get("process")
    if process is not None:
        edited["process"] = with_env(process, change.env)
    given = env_of(config)
    note = {
        "mounts": list(change.mounts),
        "env": [name for name in change.env if name not in given],
        "netns": change.netns is not None,
    }
    edited["annotations"] = (config.get("annotations") or {}) | {NOTE: light.dumps(note)}
    return edited


def unedited(config: "dict[str, Any]") -> "dict[str, Any]":
    """The configuration without what an earlier edit put there, for a bundle that is used again.

    The note alone proves nothing: podman gives a container its image's annotations as well. A hook
    of ours no image can bring.
    """
    annotations = dict(config.get("annotations") or {})
    written = annotations.pop(NOTE, None)
    if written is None:
        return config
    plain = config | {"annotations": annotations}
    if not _has_our_hook(config.get("hooks") or {}):
        return plain
    note: Any = light.loads(str(written).encode())
    plain["mounts"] = [
        m for m in config.get("mounts") or [] if m["destination"] not in note["mounts"]
    ]
    plain["hooks"] = _hooks(config.get("hooks") or {}, {})
    process = config.get("process")
    if process is not None:
        env = [one for one in process["env"] if one.partition("=")[0] not in note["env"]]
        plain["process"] = process | {"env": env}
    if note["netns"]:
        linux = config["linux"]
        own = {"type": "network"}
        kept = [own if one["type"] == "network" else one for one in linux["namespaces"]]
        plain["linux"] = linux | {"namespaces": kept}
    return plain


def with_env(process: "dict[str, Any]", env: dict[str, str]) -> "dict[str, Any]":
    """A process with more variables, where it has none of the name."""
    return process | {"env": _env(process.get("env") or [], env)}


def env_of(config: "dict[str, Any]") -> dict[str, str]:
    """The environment of the container's process."""
    listed = (config.get("process") or {}).get("env") or []
    return dict(item.partition("=")[::2] for item in listed)


def _mounts(listed: "list[dict[str, Any]]", ours: dict[str, str]) -> "list[dict[str, Any]]":
    kept = [one for one in listed if posixpath.normpath(str(one.get("destination"))) not in ours]
    return kept + [
        {"destination": target, "type": "bind", "source": source, "options": list(BIND)}
        for target, source in ours.items()
    ]


def _linux(linux: "dict[str, Any]", change: Change) -> "dict[str, Any]":
    read_only = list(linux.get("readonlyPaths") or [])
    if READ_ONLY not in read_only:
        read_only.append(READ_ONLY)
    edited = linux | {"readonlyPaths": read_only}
    if change.closes_vsock:
        edited["seccomp"] = without_vsock(linux.get("seccomp"))
    if change.netns is not None:
        rest = [one for one in linux.get("namespaces") or [] if one.get("type") != "network"]
        edited["namespaces"] = [*rest, {"type": "network", "path": change.netns}]
    return edited


def _env(listed: list[str], ours: dict[str, str]) -> list[str]:
    names = {item.partition("=")[0] for item in listed}
    return listed + [f"{name}={value}" for name, value in ours.items() if name not in names]


def _hooks(hooks: "dict[str, Any]", ours: dict[str, list[str]]) -> "dict[str, Any]":
    edited = {
        stage: [one for one in listed or [] if not _is_replaced(one)] if stage in STAGES else listed
        for stage, listed in hooks.items()
    }
    for stage, command in ours.items():
        hook = {"path": command[0], "args": command, "timeout": HOOK_S}
        edited[stage] = [*edited.get(stage, []), hook]
    return {stage: listed for stage, listed in edited.items() if listed}


def _is_replaced(hook: "dict[str, Any]") -> bool:
    args = [str(arg) for arg in hook.get("args") or ()]
    return args[:1] != [] and (args[0] in FOREIGN_HOOKS or is_ours(args))


def _has_our_hook(hooks: "dict[str, Any]") -> bool:
    known = (hook for stage in STAGES for hook in hooks.get(stage) or ())
    return any(is_ours(hook.get("args") or []) for hook in known)


def is_ours(args: list[str]) -> bool:
    """Whether a hook's command line is one that `Change.hooks` brought."""
    return any(OUR_MARK in arg for arg in args)


OUR_MARK = "netmgr_cli.shim.oci"
