"""Owns: who may call what on the control socket. Decides; the server brings the facts.

The caller is known by the kernel's word (SO_PEERCRED, unix(7)), never by what it says. Its
namespaces are read by its number, so it has to be alive when they were read: a number that another
process has by then says nothing.
"""

import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from netmgr.errors import Refused

Identity = tuple[int, int]  # a namespace: device and inode (namespaces(7))

_UCRED: Final = struct.Struct("3i")
_SO_PEERPIDFD: Final = 77  # Linux 6.5; before it, pidfd_open(2) with the number


class Need(IntEnum):
    """What an operation needs."""

    READ = 1  # root, or a member of the socket's group
    SANDBOX = 2  # the same: create and delete new sandboxes
    ROOT = 3  # uid 0: run, exec, attach, providers, policies, inference


@dataclass(frozen=True, slots=True)
class Caller:
    """The process at the other end of a control connection, at the time it connected."""

    pid: int
    uid: int
    gid: int
    netns: Identity | None  # its network namespace; None: it is gone
    own_users: bool = False  # it is in another user namespace than the daemon


def caller_of(sock: socket.socket) -> Caller:
    """Ask the kernel who is there.

    Raises:
        OSError: the socket has no peer any more.
    """
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    gone = Caller(pid, uid, gid, None)
    try:
        handle = _open_peer(sock, pid)
    except OSError:
        return gone
    try:
        netns, users = _identity(pid, "net"), _identity(pid, "user")
        if select.select([handle], [], [], 0)[0]:  # readable: it has ended (pidfd_open(2))
            return gone
    except OSError:
        return gone
    finally:
        os.close(handle)
    own = os.stat("/proc/self/ns/user")
    return Caller(pid, uid, gid, netns, own_users=users != (own.st_dev, own.st_ino))


def _open_peer(sock: socket.socket, pid: int) -> int:
    """A descriptor that stands for the caller's process and no later one of its number."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as cause:
        if cause.errno != errno.ENOPROTOOPT:
            raise
    return os.pidfd_open(pid)


def _identity(pid: int, kind: str) -> Identity:
    facts = os.stat(f"/proc/{pid}/ns/{kind}")
    return facts.st_dev, facts.st_ino


def check(caller: Caller, need: Need, is_inside: Callable[[Caller], bool]) -> None:
    """Let the call through, or say who may make it.

    The socket's mode (0660 root:netmgr) has kept everyone else out already: whoever is here and is
    not root is in the group.

    Args:
        is_inside: whether a caller, who is not gone, stands in the hub or in a sandbox.

    Raises:
        Refused: the caller stands in a sandbox, is gone, or is not root where root is needed.
    """
    if caller.netns is None:
        raise Refused("the calling process is gone: who it was cannot be told")
    if is_inside(caller):
        raise Refused(
            "the control API is closed to processes inside a sandbox, and to those in user and "
            "network namespaces of their own"
        )
    if need is Need.ROOT and caller.uid != 0:
        raise Refused("this needs root: members of the group may read, create and delete sandboxes")
