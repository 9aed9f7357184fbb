"""Owns: the system calls that Python 3.11 does not have, with errno as OSError.

`os.setns` and `os.unshare` exist from 3.12 only. Knows nothing of what they are used for.
"""

import ctypes
import os
import struct
from pathlib import Path
from typing import Final

# include/uapi/linux/sched.h
CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWNET: Final = 0x4000_0000

# include/uapi/linux/mount.h
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_SHARED: Final = 0x10_0000
MNT_DETACH: Final = 2

# include/uapi/linux/openat2.h; the number is the same on every architecture
_SYS_OPENAT2: Final = 437
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_IN_ROOT: Final = 0x10

# include/uapi/linux/{fcntl,stat}.h
_AT_FDCWD: Final = -100
_AT_STATX_DONT_SYNC: Final = 0x4000
_STATX_BASIC_STATS: Final = 0x7FF
_STATX_SIZE: Final = 256
_STATX: Final = struct.Struct("=16xI12xQQ48xqIxxxxqIxxxx8xII")  # what a FileState is made of

_libc = ctypes.CDLL(None, use_errno=True)
_libc.statx.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_void_p,
)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)


def _check(result: int, path: str | None = None) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own (unshare(2)).

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, ENOSPC beyond the kernel's namespace limit.
    """
    _check(_libc.unshare(flags))


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace behind `fd` (setns(2)).

    Args:
        kind: the CLONE_NEW... value that the descriptor must be of.

    Raises:
        OSError: EINVAL where the descriptor is of another kind.
    """
    _check(_libc.setns(fd, kind))


def mount(source: str, target: Path, flags: int, kind: str = "") -> None:
    """Mount, bind or change propagation (mount(2)).

    Raises:
        OSError: with `target` as its file name.
    """
    _check(
        _libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, None), str(target)
    )


def umount(target: Path, flags: int = MNT_DETACH) -> None:
    """Unmount, by default lazily: what still uses it does not hold it up (umount2(2)).

    Raises:
        OSError: EINVAL where nothing is mounted there.
    """
    _check(_libc.umount2(os.fsencode(target), flags), str(target))


FileState = tuple[int, int, int, int, int, int, int, int, int]
"""Names (hard links), inode, size, changed (seconds, ns), modified (seconds, ns), device (major,
minor): nobody can change a file's content and keep all of these, as when it was changed is the
kernel's to set."""


class Statx:
    """Asks the kernel about files, and never their file system's server: that may be far away, or
    the very process that is asked about (statx(2), AT_STATX_DONT_SYNC). What opened the file, or
    began to run it, has brought that knowledge up to date. For one thread at a time.
    """

    def __init__(self) -> None:
        self._room = ctypes.create_string_buffer(_STATX_SIZE)
        self._at = ctypes.addressof(self._room)

    def state(self, path: bytes) -> FileState:
        """Of what a path leads to.

        Raises:
            OSError: there is nothing, or the way to it is closed.
        """
        if _libc.statx(_AT_FDCWD, path, _AT_STATX_DONT_SYNC, _STATX_BASIC_STATS, self._at) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fsdecode(path))
        return _STATX.unpack_from(self._room)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_in_root(root: int, path: str) -> int:
    """A descriptor (O_PATH) of what `path` is for whoever has the directory `root` as its root:
    neither `..` nor a symbolic link leads out of it (openat2(2), RESOLVE_IN_ROOT; Linux 5.6).

    Raises:
        OSError: there is nothing, or the way to it is closed.
    """
    how = _OpenHow(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    fd = _libc.syscall(
        _SYS_OPENAT2,
        ctypes.c_int(root),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int(fd)
