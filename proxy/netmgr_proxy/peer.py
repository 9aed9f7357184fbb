"""Owns: who is at the other end of an accepted connection, and where it meant to go.

TPROXY leaves both addresses as the sandbox wrote them: the peer is the sandbox's own address and
port, the socket's own name is the original destination (kernel, networking/tproxy.rst). Knows
nothing of sandboxes.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """One connection's four numbers. Addresses as text.

    Attributes:
        address: the sandbox's own address.
        sport: its source port.
        ip: the address that it dialled.
        port: the port that it dialled.
    """

    address: str
    sport: int
    ip: str
    port: int


FindCaller = Callable[[socket.socket], Caller]


def find_caller(sock: socket.socket) -> Caller:
    """The caller of a connection that came in by TPROXY.

    Raises:
        OSError: the connection is gone already.
    """
    address, sport = sock.getpeername()[:2]
    ip, port = sock.getsockname()[:2]
    return Caller(address, sport, ip, port)
