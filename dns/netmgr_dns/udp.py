"""Owns: UDP port 53 of the hub. The one hot loop of this room.

Every address is local in the hub, so a sandbox may ask any "server": the answer must come from the
address that was asked. IP_PKTINFO (ip(7)) tells which that was and sets it on the way back.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from netmgr_dns.desk import Desk
from netmgr_dns.wire import MAX_QUERY

READS_PER_WAKEUP: Final = 64  # then other events get their turn
RECEIVE_SIZE: Final = MAX_QUERY + 1  # one more shows that a query is too long
RECEIVE_BUFFER: Final = 4 * 1024 * 1024  # bursts of many sandboxes

_PKTINFO: Final = struct.Struct("@i4s4s")  # struct in_pktinfo: ifindex, spec_dst, addr
_ADDRESS: Final = slice(8, 12)  # ipi_addr: the destination in the datagram's header
_SPACE: Final = socket.CMSG_SPACE(_PKTINFO.size)
_BEFORE: Final = b"\0\0\0\0"  # ifindex 0: routing decides
_AFTER: Final = b"\0\0\0\0"
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h; Python has no name for it
_IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)  # linux/in.h; named by Python since 3.12

Ancillary = list[tuple[int, int, bytes]]


class UdpServer:
    """Reads and answers datagrams on an inherited, bound socket."""

    def __init__(self, sock: socket.socket, desk: Desk) -> None:
        self._sock = sock
        self._desk = desk
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        _enlarge(sock)

    def start(self) -> None:
        """Begin to read."""
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._readable)

    def close(self) -> None:
        """Stop, and close the socket. May be called twice."""
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()

    def _readable(self) -> None:
        receive, send = self._sock.recvmsg, self._sock.sendmsg
        clients, desk = self._desk.clients, self._desk
        now = time.monotonic()
        for _ in range(READS_PER_WAKEUP):
            try:
                data, ancillary, _, peer = receive(RECEIVE_SIZE, _SPACE)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error about an earlier answer: it concerns no query
                continue
            client = clients.get(peer[0])
            if client is None:
                desk.stranger(peer[0])
                continue
            if not client.queries.take(now):
                desk.over_limit(client, now)
                continue
            cached = client.cache.get(data[2:])
            if cached is None:
                desk.answer(client, data, None, self._reply(peer, ancillary))
                continue
            if cached.tally is not None:
                client.ledger.hit(cached.tally)
            try:
                send((data[:2], cached.tail), _answer_from(ancillary), 0, peer)
            except OSError:
                desk.statistics.unsent += 1

    def _reply(self, peer: tuple[str, int], ancillary: Ancillary) -> Callable[[bytes], None]:
        return partial(self._send, peer, _answer_from(ancillary))

    def _send(self, peer: tuple[str, int], ancillary: Ancillary, wire: bytes) -> None:
        if self._sock.fileno() < 0:
            return
        try:
            self._sock.sendmsg((wire,), ancillary, 0, peer)
        except OSError:  # a full queue or a sandbox that is gone: UDP promises nothing
            self._desk.statistics.unsent += 1


def _enlarge(sock: socket.socket) -> None:
    """The privileged option goes beyond net.core.rmem_max; `open` is still privileged."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def _answer_from(ancillary: Ancillary) -> Ancillary:
    """The control message by which an answer leaves from the address that was asked."""
    for level, kind, info in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            return [(level, kind, _BEFORE + info[_ADDRESS] + _AFTER)]
    return []
