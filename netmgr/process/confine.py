"""Owns: giving up privileges, for good. Used by every worker before it reads a hostile byte, and by
the command line before it starts a program inside a sandbox.

Source: capabilities(7), prctl(2), credentials(7). Only ctypes: no library that is kept up covers
the bounding set, the ambient set and capset in one place.
"""

import ctypes
import os
import resource
from collections.abc import Collection
from typing import Final

_CAPABILITY_NAMES: Final = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP "
    "LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER "
    "SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
    "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
    "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF "
    "CHECKPOINT_RESTORE"
)
CAPABILITIES: Final = tuple(_CAPABILITY_NAMES.split())
"""Names by number, include/uapi/linux/capability.h."""

_NUMBER: Final = {name: number for number, name in enumerate(CAPABILITIES)}

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_KEEPCAPS: Final = 8
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_SECUREBITS: Final = 28
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522
_NO_MOUNTS_GROUP: Final = 65533  # whichever it is, it is not the effective one

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _check(result: int, doing: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{doing}: {os.strerror(number)}")


def _prctl(option: int, argument: int, doing: str, second: int = 0) -> None:
    _check(
        _libc.prctl(
            ctypes.c_int(option),
            ctypes.c_ulong(argument),
            ctypes.c_ulong(second),
            ctypes.c_ulong(0),
            ctypes.c_ulong(0),
        ),
        doing,
    )


def drop_bounding(keep: Collection[str]) -> None:
    """Take every capability but `keep` out of the bounding set and clear the ambient set.

    Numbers that the kernel has and this table does not know are dropped too.

    Raises:
        KeyError: a name in `keep` is no capability.
        OSError: the caller lacks CAP_SETPCAP.
    """
    kept = {_NUMBER[name] for name in keep}
    number = 0
    while _libc.prctl(_PR_CAPBSET_READ, ctypes.c_ulong(number), 0, 0, 0) >= 0:
        if number not in kept:
            _prctl(_PR_CAPBSET_DROP, number, "drop from the bounding set")
        number += 1
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, "clear the ambient set")


def set_capabilities(keep: Collection[str]) -> None:
    """Make `keep` the whole effective and permitted set; nothing is inheritable.

    Raises:
        OSError: `keep` holds what the process does not have.
    """
    mask = sum(1 << _NUMBER[name] for name in keep)
    header = _Header(_CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFF_FFFF, mask >> 32
    data = (_Data * 2)(_Data(low, low, 0), _Data(high, high, 0))
    _check(_libc.capset(ctypes.byref(header), data), "capset")


def held_capabilities() -> frozenset[str]:
    """The names of what this process is permitted (proc_pid_status(5), CapPrm)."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("CapPrm:"))
    mask = int(line.split()[1], 16)
    return frozenset(name for name, number in _NUMBER.items() if mask >> number & 1)


def keep_capabilities(keep: Collection[str]) -> None:
    """Stay root, but with `keep` and no way to more."""
    drop_bounding(keep)
    set_capabilities(keep)
    set_no_new_privs()


def set_no_new_privs() -> None:
    """No execve from here on can add a privilege (Documentation/userspace-api/no_new_privs)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "set no_new_privs")


def install_filter(instructions: bytes) -> None:
    """Put a seccomp filter (struct sock_filter, 8 bytes each) on this process and its children.

    Raises:
        OSError: neither no_new_privs nor CAP_SYS_ADMIN, or the program is not valid.
    """
    program = _Program(len(instructions) // 8, instructions)
    _check(
        _libc.prctl(
            _PR_SET_SECCOMP,
            ctypes.c_ulong(_SECCOMP_MODE_FILTER),
            ctypes.byref(program),
            ctypes.c_ulong(0),
            ctypes.c_ulong(0),
        ),
        "install the seccomp filter",
    )


def die_with_parent(signal_number: int) -> None:
    """Receive `signal_number` when the parent ends. A later change of uid undoes this."""
    _prctl(_PR_SET_PDEATHSIG, signal_number, "set the parent-death signal")


def become(uid: int, gid: int, groups: Collection[int] = ()) -> None:
    """Change user, group and supplementary groups for good; clears every capability set."""
    os.setgroups(list(groups))
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def shun_served_files() -> None:
    """Be refused (EACCES) by file systems that a program serves and has not opened to everybody.

    Who looks at files of others by their roots would wait for such a program as long as it likes.
    The kernel lets in whose real, effective and saved ids are all the ones of the mount
    (fuse_allow_current_process, fs/fuse/dir.c): a saved group of its own makes them no mount's.
    """
    os.setresgid(-1, -1, _NO_MOUNTS_GROUP)


def no_core_dumps() -> None:
    """No core file, and no ptrace or /proc/PID/mem by others of the same uid."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0, "make the process undumpable")


def confine_worker(*, uid: int, gid: int, root: str, parent_death_signal: int) -> None:
    """Everything a worker gives up, in the one order that works.

    The root directory becomes `root` (an empty directory that only root can write), so that not
    even a path socket or a world-readable file of the host is left to a hijacked worker.

    Raises:
        OSError: a step failed; the worker must end.
    """
    os.chroot(root)
    os.chdir("/")
    drop_bounding(())
    become(uid, gid)
    set_capabilities(())
    set_no_new_privs()
    no_core_dumps()
    die_with_parent(parent_death_signal)


def lower_worker(*, uid: int, gid: int) -> None:
    """The first half of `confine_worker`, for a worker that imports what is not netmgr's: it is
    nobody already, and there are still files. Of all capabilities it has the one that the second
    half, `confine_lowered`, needs.

    Raises:
        OSError: a step failed; the worker must end.
    """
    drop_bounding(())
    _prctl(_PR_SET_KEEPCAPS, 1, "keep capabilities across a change of user")
    become(uid, gid)
    set_capabilities(("SYS_CHROOT",))
    set_no_new_privs()
    no_core_dumps()


def confine_lowered(*, root: str, parent_death_signal: int) -> None:
    """The second half.

    Raises:
        OSError: a step failed; the worker must end.
    """
    os.chroot(root)
    os.chdir("/")
    set_capabilities(())
    die_with_parent(parent_death_signal)
