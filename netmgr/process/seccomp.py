"""Owns: the seccomp filter of workers, and of commands in a sandbox, as bytes. Pure.

A network namespace does not hold every kind of socket: AF_VSOCK reaches the hypervisor or the
machine's guests from any namespace (vsock(7)), and modules add families of their own. Only unix,
IP and netlink sockets may be made; by workers no netlink, with which they could list every flow of
the hub; by the dialer no unix socket either, since the abstract ones of the host's namespace have
no permissions (unix(7)) and need no file. io_uring can make sockets past any filter on socket(2),
so it answers ENOSYS, for which programs that use it have a way around.

Source: Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/{audit,bpf_common}.h.
"""

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

ALLOWED_FAMILIES: Final = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
HUB_FAMILIES: Final = (1, 2, 10)  # if_indextoname(3) asks over any socket, unix ones first
DIALER_FAMILIES: Final = (2, 10)

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian
_ALLOW: Final = 0x7FFF_0000
_ERRNO: Final = 0x0005_0000
_X32_BIT: Final = 0x4000_0000  # the x32 ABI numbers its calls anew, above this bit
_SOCKETCALL_SOCKET: Final = 1  # the sub-call of socketcall(2) that is socket(2)


@dataclass(frozen=True, slots=True)
class Abi:
    """One way to call the kernel: its audit number, and the numbers of the calls in question."""

    audit: int
    socket: int
    io_uring_setup: int = 425
    socketcall: int | None = None
    has_x32: bool = False


# Every ABI that a kernel of that machine runs: a program may pick any of them.
ABIS: Final[dict[str, tuple[Abi, ...]]] = {
    "x86_64": (Abi(0xC000_003E, 41, has_x32=True), Abi(0x4000_0003, 359, socketcall=102)),
    "aarch64": (Abi(0xC000_00B7, 198), Abi(0x4000_0028, 281)),
    "riscv64": (Abi(0xC000_00F3, 198),),
}


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _op(_RETURN, _ERRNO | number)


def _when(test: int, value: int, then: bytes) -> bytes:
    """Run `then` (which must return) where the loaded word passes the test; go on otherwise."""
    return _op(test, value, 0, len(then) // 8) + then


def _judge_family(families: Sequence[int]) -> bytes:
    allowed = b"".join(_when(_EQUAL, f, _op(_RETURN, _ALLOW)) for f in families)
    return _op(_LOAD, _FIRST_ARGUMENT) + allowed + _refuse(errno.EAFNOSUPPORT)


def _judge_socketcall() -> bytes:
    # Its arguments lie in memory that a filter cannot read, so this old entrance to socket(2) is
    # closed; C libraries since 2016 use the direct call.
    making = _when(_EQUAL, _SOCKETCALL_SOCKET, _refuse(errno.ENOSYS))
    return _op(_LOAD, _FIRST_ARGUMENT) + making + _op(_RETURN, _ALLOW)


def _judge_abi(abi: Abi, families: Sequence[int]) -> bytes:
    code = _op(_LOAD, _NUMBER)
    if abi.has_x32:
        code += _when(_AT_LEAST, _X32_BIT, _refuse(errno.ENOSYS))
    code += _when(_EQUAL, abi.io_uring_setup, _refuse(errno.ENOSYS))
    if abi.socketcall is not None:
        code += _when(_EQUAL, abi.socketcall, _judge_socketcall())
    code += _when(_EQUAL, abi.socket, _judge_family(families))
    return code + _op(_RETURN, _ALLOW)


def socket_filter(machine: str, families: Sequence[int] = ALLOWED_FAMILIES) -> bytes:
    """The filter for a machine (as os.uname() names it) that lets sockets of `families` be made.

    Raises:
        KeyError: the machine is not in ABIS.
    """
    judged = b"".join(_when(_EQUAL, abi.audit, _judge_abi(abi, families)) for abi in ABIS[machine])
    # Each ABI's block ends in a return, so the loaded arch word is still there for the next test.
    return _op(_LOAD, _ARCH) + judged + _refuse(errno.ENOSYS)
