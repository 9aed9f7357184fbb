"""Owns: the question whether a process in a namespace that is to be attached could reach past its
one door: with CAP_NET_ADMIN or CAP_SYS_ADMIN in the host's user namespace.

A veth tells its peer's namespace an id for the hub. With that id and one of these capabilities over
the hub's user namespace, which is the host's, a process reads and deletes its neighbours' links,
whatever rules stand (tried). A user namespace of its own, or a bounding set without both, closes
that. Whoever starts a process in the namespace later answers for what it may.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from netmgr.errors import Refused
from netmgr.kernel.facts import NetnsId
from netmgr.model import StartingPid

DANGEROUS: Final = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}
_HELD: Final = ("CapInh", "CapPrm", "CapEff", "CapAmb")  # proc_pid_status(5)

Identity = tuple[int, int]


def refuse_powers(
    origin: Path, netns: NetnsId, starting: StartingPid | None = None, root: str = "/proc"
) -> None:
    """Let a namespace pass whose processes cannot reach past their door.

    Args:
        starting: the one process that is not judged by what it holds now.

    Raises:
        Refused: names the process and the capability, and what to do.
    """
    own = _identity(f"{root}/self/ns/user")
    for pid in _processes_in(netns, root):
        if starting is not None and pid == starting.pid:
            continue
        held = _power(pid, own, root)
        if held is not None:
            raise Refused(
                f"{origin}: pid {pid} holds {held} in the host's user namespace, or may regain it: "
                "it could read and cut off other sandboxes. Give the container a user namespace of "
                "its own, or drop CAP_NET_ADMIN and CAP_SYS_ADMIN (no --privileged)",
                pid=pid,
                capability=held,
            )


def _processes_in(netns: NetnsId, root: str) -> Iterator[int]:
    for name in os.listdir(root):
        if name.isdigit() and _identity(f"{root}/{name}/ns/net") == (netns.dev, netns.inode):
            yield int(name)


def _power(pid: int, own_users: Identity | None, root: str) -> str | None:
    """The dangerous capability that a process has or can have; None: neither, or it has ended."""
    if _identity(f"{root}/{pid}/ns/user") != own_users:
        return None
    try:
        with open(f"{root}/{pid}/status", encoding="utf-8", errors="replace") as file:
            facts = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return None
    return judge_powers({name: value.strip() for name, value in facts.items()})


def judge_powers(status: dict[str, str]) -> str | None:
    """The dangerous capability in a process's status fields; None where there is none. Pure.

    What only the bounding set has can be regained by a setuid program, where that is not forbidden.
    """
    sets = _HELD if status.get("NoNewPrivs") == "1" else (*_HELD, "CapBnd")
    mask = 0
    for name in sets:
        mask |= int(status.get(name, "0"), 16)
    return next((word for number, word in DANGEROUS.items() if mask >> number & 1), None)


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
