"""Owns: closing AF_VSOCK in a container's seccomp profile, where the host has it. Pure, but for the
look whether it has.

AF_VSOCK reaches the hypervisor, the machine's guests and other containers from any network
namespace (vsock(7)). Of sockets only those that a namespace holds are left, and AF_ALG, which is no
network's; io_uring would make any past the filter and is refused, which programs can live with.
32-bit x86 goes, too: its old entrance, socketcall(2), hides the family from every filter.
Commands of `netmgr run` have their own filter (netmgr.process.seccomp).

Source: OCI runtime specification, config-linux.md, "Seccomp". An argument has one condition in a
rule: runtimes make several rules of more, any of which is enough (libcontainer/seccomp).
"""

import _socket
import os

AF_VSOCK = 40
FAMILIES = (1, 2, 10, 16, 17, 38)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_ALG
BEYOND = max(FAMILIES) + 1
EAFNOSUPPORT, ENOSYS = 97, 38
URING = "io_uring_setup"
PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY")
OPAQUE = "SCMP_ARCH_X86"
NATIVE = {  # of a container without a profile; what is not listed cannot call the kernel
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Rule = dict[str, Any]

# Condition on an argument -> whether a value passes. What is not here passes nothing.
PASSES: "dict[str, Callable[[int, int, int], bool]]" = {
    "SCMP_CMP_NE": lambda value, one, _: value != one,
    "SCMP_CMP_LT": lambda value, one, _: value < one,
    "SCMP_CMP_LE": lambda value, one, _: value <= one,
    "SCMP_CMP_EQ": lambda value, one, _: value == one,
    "SCMP_CMP_GE": lambda value, one, _: value >= one,
    "SCMP_CMP_GT": lambda value, one, _: value > one,
    "SCMP_CMP_MASKED_EQ": lambda value, one, two: value & one == two,
}


def has_vsock() -> bool:
    """Whether this host makes such sockets; asking loads the module, as a container's would."""
    try:
        _socket.socket(AF_VSOCK, _socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


def without_vsock(profile: "dict[str, Any] | None") -> "dict[str, Any]":
    """The profile without these ways out; None: a container without one. Twice is once."""
    if profile is None:
        profile = {"defaultAction": "SCMP_ACT_ALLOW"}
        native = NATIVE.get(os.uname().machine)
        if native:
            profile["architectures"] = list(native)
    elif profile.get("architectures"):
        kept = [each for each in profile["architectures"] if each != OPAQUE]
        profile = profile | {"architectures": kept}
    rules = profile.get("syscalls") or []
    if profile.get("defaultAction") in PERMISSIVE:
        theirs = [part for rule in rules if rule not in _REFUSED for part in _without(rule)]
        return profile | {"syscalls": theirs + [ours for ours in _REFUSED if _is_new(ours, theirs)]}
    return profile | {"syscalls": [part for rule in rules for part in _narrowed(rule)]}


def _refuse(name: str, errno: int, *args: "Rule") -> "Rule":
    rule = {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}
    return rule | ({"args": list(args)} if args else {})


def _first(op: str, value: int) -> "Rule":
    return {"index": 0, "value": value, "op": op}


_REFUSED = [
    *(
        _refuse("socket", EAFNOSUPPORT, _first("SCMP_CMP_EQ", family))
        for family in range(BEYOND)
        if family not in FAMILIES
    ),
    _refuse("socket", EAFNOSUPPORT, _first("SCMP_CMP_GE", BEYOND)),
    _refuse(URING, ENOSYS),
]


def _is_new(ours: "Rule", theirs: "list[Rule]") -> bool:
    """Whether nobody has said this already: two answers to one call are an error to runtimes."""
    (name,) = ours["names"]
    said = [rule.get("args") or [] for rule in theirs if name in rule["names"]]
    return [] not in said and ours.get("args", []) not in [
        [{key: one.get(key, 0) for key in ("index", "value", "op")} for one in args]
        for args in said
    ]


def _without(rule: "Rule") -> "list[Rule]":
    """A rule without the calls in question, where it lets them through."""
    if rule.get("action") not in PERMISSIVE:
        return [rule]
    rest = [name for name in rule["names"] if name not in ("socket", URING)]
    return [rule | {"names": rest}] if rest else []


def _narrowed(rule: "Rule") -> "list[Rule]":
    """A rule of a profile that lets through what it names, as several that let through less."""
    found = _without(rule)
    if found == [rule] or "socket" not in rule["names"]:
        return found
    others = [one for one in rule.get("args") or () if one.get("index", 0) != 0]
    return found + [
        rule | {"names": ["socket"], "args": [_first("SCMP_CMP_EQ", family), *others]}
        for family in FAMILIES
        if _lets(rule, family)
    ]


def _lets(rule: "Rule", family: int) -> bool:
    """Whether a family passes a rule's conditions on the first argument. Several conditions on
    it are several rules to a runtime."""
    conditions = [one for one in rule.get("args") or () if one.get("index", 0) == 0]
    passes = [
        one.get("op") in PASSES
        and PASSES[one["op"]](family, one.get("value", 0), one.get("valueTwo", 0))
        for one in conditions
    ]
    return not passes or any(passes)
