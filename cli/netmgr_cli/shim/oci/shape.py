"""Owns: seeing that a configuration means to the runtime what it means here. No I/O.

What is judged here is carried out by somebody else, and runc's JSON reader (Go's encoding/json)
matches keys whatever their case and puts two objects of one key together: `"Capabilities"` would
be judged by nobody and granted all the same. Source: OCI runtime specification, config.md.
"""

from netmgr_cli.shim.oci.words import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CAPABILITY_SETS = ("effective", "permitted", "inheritable", "ambient", "bounding")
STAGES = (
    *("prestart", "createRuntime", "createContainer"),
    *("startContainer", "poststart", "poststop"),
)
OBJECT, OBJECTS, TEXT, TEXTS = "an object", "objects", "a text", "texts"
FLAG, NUMBER = "true or false", "a number"
# Place -> the keys that are read or written here, and what stands behind them.
PARTS: "dict[str, dict[str, str]]" = {
    "": {
        "annotations": OBJECT,
        "hooks": OBJECT,
        "linux": OBJECT,
        "mounts": OBJECTS,
        "process": OBJECT,
        "root": OBJECT,
    },
    "hooks": dict.fromkeys(STAGES, OBJECTS),
    **{f"hooks.{stage}[]": {"args": TEXTS, "path": TEXT} for stage in STAGES},
    "linux": {"namespaces": OBJECTS, "readonlyPaths": TEXTS, "seccomp": OBJECT}
    | {"sysctl": OBJECT},
    "linux.namespaces[]": {"path": TEXT, "type": TEXT},
    "linux.seccomp": {"architectures": TEXTS, "defaultAction": TEXT, "syscalls": OBJECTS},
    "linux.seccomp.syscalls[]": {"action": TEXT, "args": OBJECTS, "names": TEXTS},
    "linux.seccomp.syscalls[].args[]": dict.fromkeys(("index", "value", "valueTwo"), NUMBER)
    | {"op": TEXT},
    "mounts[]": {"destination": TEXT, "options": TEXTS, "source": TEXT, "type": TEXT},
    "process": {"args": TEXTS, "capabilities": OBJECT, "env": TEXTS, "noNewPrivileges": FLAG},
    "process.capabilities": dict.fromkeys(CAPABILITY_SETS, TEXTS),
    "root": {"path": TEXT},
}
NEEDED = {
    "linux.namespaces[]": "type",
    "linux.seccomp.syscalls[]": "names",
    "mounts[]": "destination",
}


def unique(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    """An object's pairs as a dictionary; for json's `object_pairs_hook`.

    Raises:
        ValueError: a key twice: readers differ in which one counts.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def require_plain(part: "dict[str, Any]", place: str = "") -> None:
    """Refuse what another reader would read otherwise.

    Args:
        part: the configuration, or the part of it at `place`.

    Raises:
        Refused: names the key.
    """
    known = PARTS[place]
    names = {name.casefold(): name for name in known}
    for key, value in part.items():
        name = names.get(key.casefold())
        if name is None:
            continue
        where = f"{place}.{key}".lstrip(".")
        if key != name:
            raise Refused(f"{where}: runtimes in Go read this as {name!r}; spell it so")
        if value is None:
            continue
        if not _is(known[name], value):
            raise Refused(f"{where}: expected {known[name]}")
        _require_plain_inside(value, where)
    if place in NEEDED and not part.get(NEEDED[place]):
        raise Refused(f"{place}: lacks {NEEDED[place]!r}")


def _is(kind: str, value: "Any") -> bool:
    if kind in (OBJECTS, TEXTS):
        one = dict if kind == OBJECTS else str
        return isinstance(value, list) and all(isinstance(item, one) for item in value)
    return isinstance(value, {OBJECT: dict, TEXT: str, FLAG: bool, NUMBER: int}[kind])


def _require_plain_inside(value: "Any", where: str) -> None:
    if isinstance(value, dict) and where in PARTS:
        require_plain(value, where)
    elif isinstance(value, list) and f"{where}[]" in PARTS:
        for item in value:
            require_plain(item, f"{where}[]")
