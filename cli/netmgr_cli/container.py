"""Owns: doing something as one of a container's own processes: with its file system, its ids, its
environment and its namespaces, and with no privilege at all.

For a sandbox that is attached to a container: what its programs trust is decided by the container's
files, not the host's. Knows nothing of container engines: a process says what its container is.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from netmgr.errors import HostFailed
from netmgr.kernel.syscalls import setns
from netmgr.process import confine
from netmgr.process.seccomp import ABIS, socket_filter

# Kind of namespace -> its flag (include/uapi/linux/sched.h).
_KINDS: Final = {
    "mnt": 0x0002_0000,
    "uts": 0x0400_0000,
    "ipc": 0x0800_0000,
    "user": 0x1000_0000,
    "pid": 0x2000_0000,
    "net": 0x4000_0000,
}
MAX_ENVIRON: Final = 1024 * 1024  # bytes; the kernel allows a program some hundred KiB


@dataclass(frozen=True, slots=True)
class Inhabitant:
    """A process of a container.

    Attributes:
        uid, gid, groups: as they are called in its own user namespace.
        env: what it was started with.
    """

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...]
    env: Mapping[str, str]


def find_inhabitants(netns: Path) -> tuple[Inhabitant, ...]:
    """The processes that have lived longest in a network namespace, one of each file system that
    is not the host's: the containers of a pod share one network namespace.

    Returns:
        None of them: whoever is there sees the host's files, or nobody is.
    """
    wanted = _identity(netns)
    host = _identity(Path("/proc/self/ns/mnt"))
    found: dict[tuple[int, int], tuple[int, Path]] = {}
    for name in os.listdir("/proc"):
        process = Path("/proc", name)
        if name.isdigit() and _identity(process / "ns/net") == wanted:
            files = _identity(process / "ns/mnt")
            with contextlib.suppress(OSError, ValueError, IndexError):  # it ends as we look
                if files not in (host, None):
                    assert files is not None
                    one = (_start_time(process), process)
                    found[files] = min(found.get(files, one), one)
    return tuple(_described(process for _, process in sorted(found.values())))


def _described(processes: Iterable[Path]) -> Iterator[Inhabitant]:
    for process in processes:
        with contextlib.suppress(OSError, ValueError, KeyError, StopIteration):
            yield _describe(process)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _start_time(process: Path) -> int:
    """Field 22 of proc_pid_stat(5); the command's name before it may hold anything."""
    return int((process / "stat").read_bytes().rpartition(b")")[2].split()[19])


def _describe(process: Path) -> Inhabitant:
    lines = (process / "status").read_text("utf-8", "replace").splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    uids, gids = (_id_map(process / name) for name in ("uid_map", "gid_map"))
    with (process / "environ").open("rb") as file:
        words = file.read(MAX_ENVIRON).split(b"\0")
    pairs = (os.fsdecode(word).partition("=") for word in words if b"=" in word)
    return Inhabitant(
        pid=int(process.name),
        uid=inner_id(int(status["Uid"].split()[1]), uids),
        gid=inner_id(int(status["Gid"].split()[1]), gids),
        groups=tuple(inner_id(int(word), gids) for word in status["Groups"].split()),
        env={key: value for key, _, value in pairs if key},
    )


def _id_map(path: Path) -> tuple[tuple[int, int, int], ...]:
    rows = (line.split() for line in path.read_text().splitlines())
    return tuple((int(inner), int(outer), int(count)) for inner, outer, count in rows)


def inner_id(outer: int, rows: tuple[tuple[int, int, int], ...]) -> int:
    """What an id of ours is called in a user namespace (user_namespaces(7)).

    Raises:
        StopIteration: it has no name there.
    """
    return next(
        inner + outer - first for inner, first, count in rows if first <= outer < first + count
    )


def work_inside(who: Inhabitant, work: Callable[[], int]) -> NoReturn:
    """Do `work` as that process would; its result is this process's exit status. Called in a child
    of its own, which never returns.

    Two processes: a pid namespace takes the next child only.
    """
    status = 1
    try:
        confine.no_core_dumps()
        _join(who.pid)
        worker = os.fork()
        if worker == 0:
            confine.die_with_parent(signal.SIGKILL)
            _give_up_privileges(who)
            status = work()
        else:
            code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
            status = code if code >= 0 else 128 - code
    except OSError as error:
        os.write(2, f"netmgr: container of pid {who.pid}: {error}\n".encode())
    finally:
        os._exit(status)


def _join(pid: int) -> None:
    """Join every namespace of a process that is not ours already, and its root."""
    handle = os.pidfd_open(pid)
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC)
    flags = 0
    for kind, flag in _KINDS.items():
        if _identity(Path(f"/proc/{pid}/ns/{kind}")) != _identity(Path(f"/proc/self/ns/{kind}")):
            flags |= flag
    setns(handle, flags)  # all at once, and in the kernel's order (setns(2), Linux 5.8)
    os.fchdir(root)
    os.chroot(".")
    os.chdir("/")
    os.close(root)
    os.close(handle)


def _give_up_privileges(who: Inhabitant) -> None:
    machine = os.uname().machine
    if machine not in ABIS:
        raise HostFailed(f"no socket filter for {machine}: known are {', '.join(ABIS)}")
    confine.drop_bounding(())
    # A user namespace that an ordinary user made forbids it, and has no groups to give up.
    with contextlib.suppress(PermissionError):
        os.setgroups(list(who.groups))
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    confine.set_capabilities(())
    confine.set_no_new_privs()
    confine.install_filter(socket_filter(machine))
    confine.no_core_dumps()
