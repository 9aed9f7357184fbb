"""Owns: who may call what on the control socket. Decides; the server brings the facts.

The caller is known by the kernel's word (SO_PEERCRED, unix(7)), never by what it says.
"""

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from netmgr.errors import Refused

Identity = tuple[int, int]  # a namespace: device and inode (namespaces(7))

_UCRED: Final = struct.Struct("3i")


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


def caller_of(sock: socket.socket) -> Caller:
    """Ask the kernel who is there.

    Raises:
        OSError: the socket has no peer any more.
    """
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    try:
        facts = os.stat(f"/proc/{pid}/ns/net")
        netns = (facts.st_dev, facts.st_ino)
    except OSError:
        netns = None
    return Caller(pid, uid, gid, netns)


def check(caller: Caller, need: Need, is_inside: Callable[[Identity], bool]) -> None:
    """Let the call through, or say who may make it.

    The socket's mode (0660 root:netmgr) has kept everyone else out already: whoever is here and is
    not root is in the group.

    Args:
        is_inside: whether a network namespace is the hub's or a sandbox's.

    Raises:
        Refused: the caller stands in a sandbox, is gone, or is not root where root is needed.
    """
    if caller.netns is None:
        raise Refused("the calling process is gone: who it was cannot be told")
    if is_inside(caller.netns):
        raise Refused("the control API is closed to processes inside a sandbox")
    if need is Need.ROOT and caller.uid != 0:
        raise Refused("this needs root: members of the group may read, create and delete sandboxes")
