"""Owns: the question whether a process in a namespace that is to be attached could reach past its
one door: with CAP_NET_ADMIN or CAP_SYS_ADMIN in the host's user namespace.

A veth tells its peer's namespace an id for the hub. With that id and one of these capabilities over
the hub's user namespace, which is the host's, a process reads and deletes its neighbours' links,
whatever rules stand (tried). A user namespace of its own, or a bounding set without both, closes
that. Who comes into the namespace later is found here, too (netmgr.daemon.power_watch).
"""

import os
import re
import signal
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netmgr.errors import Refused
from netmgr.kernel.facts import NetnsId
from netmgr.model import StartingPid

DANGEROUS: Final = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}
_HELD: Final = ("CapInh", "CapPrm", "CapEff", "CapAmb")  # proc_pid_status(5)
_JUDGED: Final = re.compile(rb"^(Cap\w+|NoNewPrivs):\t(\w+)$", re.MULTILINE)

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
    own = identity_at(f"{root}/self/ns/user")
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
        if name.isdigit() and identity_at(f"{root}/{name}/ns/net") == (netns.dev, netns.inode):
            yield int(name)


def _power(pid: int, own_users: Identity | None, root: str) -> str | None:
    """The dangerous capability that a process has or can have; None: neither, or it has ended."""
    if identity_at(f"{root}/{pid}/ns/user") != own_users:
        return None
    try:
        with open(f"{root}/{pid}/status", "rb") as file:
            facts = _JUDGED.findall(file.read())
    except OSError:
        return None
    return judge_powers({name.decode(): value.decode() for name, value in facts})


def judge_powers(status: dict[str, str]) -> str | None:
    """The dangerous capability in a process's status fields; None where there is none. Pure.

    What only the bounding set has can be regained by a setuid program, where that is not forbidden.
    """
    sets = _HELD if status.get("NoNewPrivs") == "1" else (*_HELD, "CapBnd")
    mask = 0
    for name in sets:
        mask |= int(status.get(name, "0"), 16)
    return next((word for number, word in DANGEROUS.items() if mask >> number & 1), None)


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that could reach past its sandbox's door.

    Attributes:
        started: the kernel's ticks at its start: with the pid, it means one process for ever.
        netns: device and inode of its network namespace.
        starting: it runs no program of its own root: a runtime's, perhaps, before the container's.
    """

    pid: int
    started: int
    netns: Identity
    capability: str
    starting: bool


def find_holders(netnses: Container[Identity], root: str = "/proc") -> list[Holder]:
    """Who could reach past the doors of these namespaces.

    Programs of the host's own root and pid namespace are not meant: those are the operator's, and
    may do without a sandbox whatever they could do in one.
    """
    pids = [int(name) for name in os.listdir(root) if name.isdigit()]
    found = (find_holder(pid, netnses, root) for pid in pids)
    return [holder for holder in found if holder is not None]


def find_holder(pid: int, netnses: Container[Identity], root: str = "/proc") -> Holder | None:
    """One process as `find_holders` judges it; None where it is none.

    Asked for each program that begins on the host, so what settles most comes first: one look for
    who is in no sandbox, a second for who has a user namespace of his own, a third for who holds
    nothing.
    """
    place = f"{root}/{pid}"
    netns = identity_at(f"{place}/ns/net")
    if netns is None or netns not in netnses:
        return None
    capability = _power(pid, identity_at(f"{root}/self/ns/user"), root)
    if capability is None:
        return None
    host, world, started = _Host.seen_from(root), _World.of(place), _started(place)
    if started is None or host.has(world):
        return None
    return Holder(pid, started, netns, capability, not _runs_its_own(place, host.own.program))


def kill_holder(holder: Holder, root: str = "/proc") -> None:
    """End the process, and no other that has its number by now."""
    try:
        handle = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return
    try:
        if _started(f"{root}/{holder.pid}") == holder.started:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class _World:
    """Where a process lives, each by device and inode; None: it has ended."""

    pids: Identity | None
    top: Identity | None
    program: Identity | None

    @classmethod
    def of(cls, place: str) -> "_World":
        parts = ("ns/pid", "root/", "exe")
        return cls(*(identity_at(f"{place}/{part}") for part in parts))


@dataclass(frozen=True, slots=True)
class _Host:
    """Whose programs are the operator's: the daemon's own surroundings, and those of the host's
    first process, which has the host's root where the daemon is in a container (a DaemonSet)."""

    own: _World
    first: _World

    @classmethod
    def seen_from(cls, root: str) -> "_Host":
        return cls(_World.of(f"{root}/self"), _World.of(f"{root}/1"))

    def has(self, world: _World) -> bool:
        """Whether a process lives there."""
        places = {(each.pids, each.top) for each in (self.own, self.first)}
        return None not in (world.pids, world.top) and (world.pids, world.top) in places


def _runs_its_own(place: str, daemons: Identity | None) -> bool:
    """Whether a process's program is a file of its own root. The daemon's own interpreter does not
    count: `netmgr run` is one until it becomes the command."""
    try:
        path = os.readlink(f"{place}/exe")
    except OSError:
        return False
    program = identity_at(f"{place}/exe")
    return program not in (None, daemons) and identity_at(f"{place}/root{path}") == program


def _started(place: str) -> int | None:
    """Field 22 of proc_pid_stat(5); the name before it may have blanks and brackets."""
    try:
        with open(f"{place}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def identity_at(path: str) -> Identity | None:
    """Device and inode of what a path leads to; None where it leads nowhere any more."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
