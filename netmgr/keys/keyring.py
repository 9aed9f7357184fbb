"""Owns: reading a key of the kernel's keyring (keyctl(2)). Knows nothing of what it is for.

Python has no call for it and the C library none that is always there, so this is syscall(2).
"""

import ctypes
import os
import platform
from typing import Final

MAX_PAYLOAD: Final = 4096  # bytes
# include/uapi/asm-generic/unistd.h, arch/x86/entry/syscalls/syscall_64.tbl
_KEYCTL: Final = {"x86_64": 250, "aarch64": 219}
# include/uapi/linux/keyctl.h
_SEARCH: Final = 10
_READ: Final = 11
_PROCESS_KEYRING: Final = -2
_USER_KEYRING: Final = -4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def read_user_key(description: str) -> bytes:
    """The payload of the `user` key of that description in our uid's keyring (@u).

    Raises:
        OSError: ENOKEY where there is none, EKEYEXPIRED, EKEYREVOKED, EACCES; ENOSYS where the
            kernel or this machine's kind has no keyrings.
    """
    # What is found is linked to the process: a key of @u alone may be found and not be read.
    key = _keyctl(
        _SEARCH, _USER_KEYRING, b"user", os.fsencode(description), ctypes.c_long(_PROCESS_KEYRING)
    )
    buffer = ctypes.create_string_buffer(MAX_PAYLOAD)
    length = _keyctl(_READ, key, buffer, ctypes.c_size_t(MAX_PAYLOAD), ctypes.c_long(0))
    return buffer.raw[: min(length, MAX_PAYLOAD)]


def _keyctl(operation: int, first: int, *rest: object) -> int:
    number = _KEYCTL.get(platform.machine())
    if number is None:
        raise OSError(38, f"no keyrings on {platform.machine()}")
    found = int(
        _libc.syscall(ctypes.c_long(number), ctypes.c_long(operation), ctypes.c_long(first), *rest)
    )
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found
