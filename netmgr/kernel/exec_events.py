"""Owns: being told of every program that begins on the host, by the kernel's process connector.

What comes is filtered in the kernel: one message for each exec, some microseconds. The connector
lives in the first network namespace and counts as the first process namespace does: elsewhere there
is none, and whoever wants to know has to look at /proc. Knows nothing of who asks.

Source: Documentation/driver-api/connector.rst, include/uapi/linux/cn_proc.h.
"""

import ctypes
import errno
import logging
import os
import socket
import struct
from pathlib import Path
from typing import Final, Self

from netmgr.errors import HostFailed
from netmgr.kernel.netlink import HEAD, NLMSG_DONE
from netmgr.kernel.netns import OWN, in_namespace

log = logging.getLogger(__name__)

FIRST_NETNS: Final = Path("/proc/1/ns/net")
MAX_AT_ONCE: Final = 32  # events of one reading: the caller has other things to do, too
# A burst of some thousand programs; what does not fit is lost.
BUFFER: Final = 1 << 20
_MESSAGE: Final = 256  # bytes; an exec's is 76

_NETLINK_CONNECTOR: Final = 11
_GROUP: Final = 1  # CN_IDX_PROC
_ID: Final = struct.Struct("=II")  # CN_IDX_PROC, CN_VAL_PROC
_CN: Final = struct.Struct("=IIIIHH")  # struct cn_msg: id, id, sequence, ack, length, flags
_OPERATION: Final = struct.Struct("=I")
_LISTEN: Final = 1  # PROC_CN_MCAST_LISTEN
_EVENT: Final = struct.Struct("=IIQii")  # struct proc_event: what, cpu, time, process, group
_EXEC: Final = 2  # PROC_EVENT_EXEC
_WHAT: Final = HEAD.size + _CN.size  # where an event says what it is

# linux/filter.h: load the word at _WHAT; the whole message where it is an exec, else nothing.
_SO_ATTACH_FILTER: Final = 26
_STEP: Final = struct.Struct("=HBBI")
_FILTER: Final = b"".join(
    _STEP.pack(*step)
    for step in (
        (0x20, 0, 0, _WHAT),
        (0x15, 0, 1, socket.htonl(_EXEC)),
        (0x06, 0, 0, 0xFFFF_FFFF),
        (0x06, 0, 0, 0),
    )
)


class ExecEvents:
    """An open ear. `fileno` is readable when programs have begun."""

    def __init__(self, connector: socket.socket) -> None:
        self._socket = connector

    @classmethod
    def open(cls) -> Self | None:
        """Listen from now on; None where this kernel tells nobody here. May enter the first network
        namespace for a moment: for a thread that may."""
        for place in (OWN, FIRST_NETNS):
            try:
                home = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    return cls(in_namespace(home, _connect))
                finally:
                    os.close(home)
            except (OSError, HostFailed) as error:
                log.debug("no process connector in %s: %s", place, error)
        return None

    def fileno(self) -> int:
        """For select and its kind."""
        return self._socket.fileno()

    def read(self) -> list[int]:
        """The processes that have begun a program since, some at a time. Where more began than the
        kernel keeps for us some are missing: nobody may rely on this alone."""
        pids: list[int] = []
        for _ in range(MAX_AT_ONCE):
            try:
                data, (sender, _) = self._socket.recvfrom(_MESSAGE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # some are lost
                    raise
                continue
            pid = parse_exec(data) if sender == 0 else None  # 0: the kernel itself
            if pid is not None:
                pids.append(pid)
        return pids

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


def parse_exec(message: bytes) -> int | None:
    """The process that began a program; None where the message is of something else."""
    if len(message) < _WHAT + _EVENT.size:
        return None
    what, _, _, _, group = _EVENT.unpack_from(message, _WHAT)
    same = message[HEAD.size : HEAD.size + _ID.size] == _ID.pack(_GROUP, _GROUP)
    return group if same and what == _EXEC and group > 0 else None


def _connect() -> socket.socket:
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    connector = socket.socket(socket.AF_NETLINK, kind, _NETLINK_CONNECTOR)
    try:
        program = ctypes.create_string_buffer(
            _FILTER, len(_FILTER)
        )  # struct sock_fprog points at it
        steps = struct.pack("@HP", len(_FILTER) // _STEP.size, ctypes.addressof(program))
        connector.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, steps)
        connector.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        connector.bind((0, _GROUP))
        wish = _OPERATION.pack(_LISTEN)
        body = _CN.pack(_GROUP, _GROUP, 0, 0, len(wish), 0) + wish
        connector.send(HEAD.pack(HEAD.size + len(body), NLMSG_DONE, 0, 0, os.getpid()) + body)
    except OSError:
        connector.close()
        raise
    return connector
