"""Owns: giving OpenSSL a certificate by file name in a process that has no files.

`SSLContext.load_cert_chain` takes paths only. A confined worker is chrooted into an empty directory
(no /proc, so no /proc/self/fd), and must not keep a directory of the host open: from a directory
outside its root it could walk anywhere. A *detached* tmpfs has no parent to walk to: it is made
with fsmount(2) while the worker is still root, belongs to no namespace, and ends with the process.
"""

import ctypes
import os
import ssl
from contextlib import suppress
from itertools import count
from typing import Final

# Same numbers on every architecture since Linux 5.2 (arch/*/tools/syscall tables, 424 and above).
_FSOPEN: Final = 430
_FSCONFIG: Final = 431
_FSMOUNT: Final = 432
_CLOEXEC: Final = 1  # FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
_SET_STRING: Final = 1  # FSCONFIG_SET_STRING
_CREATE: Final = 6  # FSCONFIG_CMD_CREATE
_NOSUID_NODEV_NOEXEC: Final = 2 | 4 | 8  # MOUNT_ATTR_*
# One PEM at a time: key and chain need about 2 KiB. 1733: any uid may create, none may list;
# the worker is the only process that has the descriptor.
_OPTIONS: Final = ((b"size", b"1m"), (b"nr_inodes", b"16"), (b"mode", b"1733"))


class ShelfBroken(RuntimeError):
    """A fault of ours. No OSError: that would pass for a client's lost connection."""


class Shelf:
    """A place for one PEM at a time."""

    def __init__(self) -> None:
        self._directory = _detached_tmpfs()
        self._names = count(1)

    def load(self, context: ssl.SSLContext, pem: str) -> None:
        """Load a private key and its chain into `context`.

        Raises:
            ssl.SSLError: the PEM holds no key and certificate that belong together.
            ShelfBroken: this process cannot use its own shelf.
        """
        try:
            self._load(context, pem)
        except ssl.SSLError:
            raise
        except OSError as fault:
            raise ShelfBroken(f"a certificate could not be loaded: {fault}") from fault

    def _load(self, context: ssl.SSLContext, pem: str) -> None:
        if self._directory is None:
            _load_from_memfd(context, pem)
            return
        name = f"{next(self._names)}.pem"
        before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(self._directory)  # OpenSSL takes a name relative to here and nothing else
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._directory)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(pem.encode())
            context.load_cert_chain(name)
        finally:
            os.fchdir(before)
            os.close(before)
            os.unlink(name, dir_fd=self._directory)

    def close(self) -> None:
        """Let go of the directory."""
        if self._directory is not None:
            with suppress(OSError):
                os.close(self._directory)
            self._directory = None


def _detached_tmpfs() -> int | None:
    """A directory descriptor; None where we may not mount (then nobody can chroot us either)."""
    if os.geteuid() != 0:
        return None
    filesystem = _syscall(_FSOPEN, b"tmpfs", _CLOEXEC)
    try:
        for key, value in _OPTIONS:
            _syscall(_FSCONFIG, filesystem, _SET_STRING, key, value, 0)
        _syscall(_FSCONFIG, filesystem, _CREATE, None, None, 0)
        return _syscall(_FSMOUNT, filesystem, _CLOEXEC, _NOSUID_NODEV_NOEXEC)
    finally:
        os.close(filesystem)


def _syscall(number: int, *arguments: bytes | int | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(number, *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"system call {number}: {os.strerror(error)}")
    return result


def _load_from_memfd(context: ssl.SSLContext, pem: str) -> None:
    fd = os.memfd_create("leaf", os.MFD_CLOEXEC)
    try:
        os.write(fd, pem.encode())
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
