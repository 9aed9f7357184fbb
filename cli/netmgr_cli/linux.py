"""Owns: the few system calls that starting a program in a sandbox needs and Python lacks.

Joining and making namespaces is in netmgr.kernel.syscalls, giving up privileges in
netmgr.process.confine.
"""

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

# include/uapi/linux/sched.h
CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000

# include/uapi/linux/mount.h
MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REMOUNT: Final = 0x20
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x4_0000

_KEYCTL_JOIN_SESSION_KEYRING: Final = 1
_SYS_KEYCTL: Final = {"x86_64": 250, "aarch64": 219, "riscv64": 219}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)


def _check(result: int, doing: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{doing}: {os.strerror(number)}")


def mount(
    target: Path, flags: int, *, source: str = "none", kind: str = "", data: str = ""
) -> None:
    """mount(2).

    Raises:
        OSError: the message names the target.
    """
    _check(
        _libc.mount(
            os.fsencode(source), os.fsencode(target), kind.encode(), flags, data.encode() or None
        ),
        f"mount {kind or 'bind'} on {target}",
    )


def leave_session_keyring(machine: str) -> None:
    """Begin an empty session keyring: the caller's keys stay behind (keyctl(2)).

    A kernel without keyrings has none to leave.

    Raises:
        OSError: the kernel has keyrings and refuses a new one.
    """
    number = _SYS_KEYCTL[machine]
    try:
        _check(_libc.syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None), "new session keyring")
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
