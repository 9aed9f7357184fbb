"""The socket filter, run by a machine of our own: what each system call of each ABI gets.

tests/netns tries it on the kernel; here are the ABIs that this kernel may not have.
"""

import errno
import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.process.confine import install_filter, set_no_new_privs
from netmgr.process.seccomp import (
    ABIS,
    ALLOWED_FAMILIES,
    DIALER_FAMILIES,
    HUB_FAMILIES,
    Abi,
    socket_filter,
)

ALLOWED = 0x7FFF_0000
REFUSED = 0x0005_0000


def run(program: bytes, arch: int, number: int, first: int = 0) -> int:
    """What the filter returns for a call. A classic BPF machine of four instructions."""
    data = struct.pack("<IIQQ", number, arch, 0, first)
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    at = accumulator = 0
    for _ in range(len(code)):
        op, if_true, if_false, value = code[at]
        at += 1
        if op == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif op == 0x15:
            at += if_true if accumulator == value else if_false
        elif op == 0x35:
            at += if_true if accumulator >= value else if_false
        else:
            assert op == 0x06
            return int(value)
    raise AssertionError("the program did not return")


EVERY_ABI = [(machine, abi) for machine, abis in ABIS.items() for abi in abis]


@pytest.mark.parametrize("families", [ALLOWED_FAMILIES, HUB_FAMILIES, DIALER_FAMILIES])
@pytest.mark.parametrize(("machine", "abi"), EVERY_ABI)
def test_families(machine: str, abi: Abi, families: tuple[int, ...]) -> None:
    program = socket_filter(machine, families)
    for family in range(64):
        wanted = ALLOWED if family in families else REFUSED | errno.EAFNOSUPPORT
        assert run(program, abi.audit, abi.socket, family) == wanted


@pytest.mark.parametrize(("machine", "abi"), EVERY_ABI)
def test_the_upper_half_of_the_argument_is_no_way_round(machine: str, abi: Abi) -> None:
    """socket(2) takes an int: the kernel looks at the lower half, and so does the filter."""
    program = socket_filter(machine)
    assert run(program, abi.audit, abi.socket, 1 << 32 | 40) == REFUSED | errno.EAFNOSUPPORT


@pytest.mark.parametrize(("machine", "abi"), EVERY_ABI)
def test_io_uring(machine: str, abi: Abi) -> None:
    assert run(socket_filter(machine), abi.audit, 425) == REFUSED | errno.ENOSYS


def test_socketcall_makes_no_socket_but_does_the_rest() -> None:
    program, i386 = socket_filter("x86_64"), ABIS["x86_64"][1]
    assert run(program, i386.audit, 102, 1) == REFUSED | errno.ENOSYS
    assert run(program, i386.audit, 102, 3) == ALLOWED


def test_x32_and_foreign_machines_get_nothing() -> None:
    program, native = socket_filter("x86_64"), ABIS["x86_64"][0]
    assert run(program, native.audit, 0x4000_0000 | 41, 40) == REFUSED | errno.ENOSYS
    assert run(program, 0xDEAD, 1) == REFUSED | errno.ENOSYS


@given(st.sampled_from(EVERY_ABI), st.integers(0, 600), st.integers(0, 2**64 - 1))
def test_every_other_call_passes(case: tuple[str, Abi], number: int, first: int) -> None:
    machine, abi = case
    if number not in (abi.socket, abi.io_uring_setup, abi.socketcall):
        assert run(socket_filter(machine), abi.audit, number, first) == ALLOWED


@pytest.mark.parametrize("machine", ABIS)
def test_no_jump_is_too_far(machine: str) -> None:
    """Jumps of classic BPF are one byte; struct.pack would have refused more."""
    assert len(socket_filter(machine)) < 256 * 8


def may_make(family: socket.AddressFamily, families: tuple[int, ...]) -> bool:
    """Tried on the kernel, in a child that has the filter."""
    child = os.fork()
    if child == 0:
        try:
            set_no_new_privs()
            install_filter(socket_filter(os.uname().machine, families))
            socket.socketpair()[0].close()  # an event loop's own pair is no way to anybody
            socket.socket(family, socket.SOCK_DGRAM).close()
        except OSError as refusal:
            os._exit(1 if refusal.errno == errno.EAFNOSUPPORT else 2)
        except BaseException:
            os._exit(3)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1)
    return status == 0


def test_on_the_kernel() -> None:
    unix, netlink, inet = socket.AF_UNIX, socket.AF_NETLINK, socket.AF_INET
    assert [may_make(family, DIALER_FAMILIES) for family in (unix, netlink, inet)] == [0, 0, 1]
    assert [may_make(family, HUB_FAMILIES) for family in (unix, netlink, inet)] == [1, 0, 1]
    assert [may_make(family, ALLOWED_FAMILIES) for family in (unix, netlink, inet)] == [1, 1, 1]
