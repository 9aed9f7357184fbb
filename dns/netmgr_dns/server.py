"""Owns: the dns worker's role: its settings, its view, its two servers and its window clock.

Settings, all optional: `queries_per_s`, `queries_burst` (one sandbox's share), `answer_ttl_s`.
Descriptors, opened by root in the hub: `dns_udp`, bound to port 53, and `dns_tcp`, listening there.
"""

import asyncio
import socket
from typing import Any, Final

from netmgr.model import Record
from netmgr.process.ipc import Answer, Body, Peer, PeerClosed, PeerRefused
from netmgr.process.tasks import TaskSet
from netmgr.process.view import VIEW_OPS, View
from netmgr_dns.desk import NAME_DEADLINE_S, QUERIES_BURST, QUERIES_PER_S, Desk, Limits
from netmgr_dns.ledger import WINDOW_S
from netmgr_dns.messages import ANSWER_TTL_S
from netmgr_dns.tcp import TcpServer
from netmgr_dns.udp import UdpServer

UDP_LISTENER: Final = "dns_udp"
TCP_LISTENER: Final = "dns_tcp"


class DnsRole:
    """The resolver of the hub (netmgr.process.worker.Role)."""

    def __init__(self) -> None:
        self._view = View()
        self._tasks = TaskSet()
        self._daemon: Peer | None = None
        self._desk: Desk | None = None
        self._udp: UdpServer | None = None
        self._tcp: TcpServer | None = None
        self._window: asyncio.TimerHandle | None = None

    def open(self, settings: Body, fds: dict[str, int], daemon: Peer) -> None:
        """Take the listeners."""
        self._daemon = daemon
        limits = Limits(
            queries_per_s=float(settings.get("queries_per_s", QUERIES_PER_S)),
            queries_burst=float(settings.get("queries_burst", QUERIES_BURST)),
            answer_ttl_s=int(settings.get("answer_ttl_s", ANSWER_TTL_S)),
        )
        self._desk = Desk(self._ask_name, self._tell, self._tasks, limits)
        self._udp = UdpServer(socket.socket(fileno=fds[UDP_LISTENER]), self._desk)
        self._tcp = TcpServer(socket.socket(fileno=fds[TCP_LISTENER]), self._desk)

    def serve(self) -> None:
        """Begin to read queries."""
        assert self._udp is not None
        assert self._tcp is not None
        self._udp.start()
        self._tasks.start(self._tcp.start(), name="listen on TCP 53")
        self._window = asyncio.get_running_loop().call_later(WINDOW_S, self._end_window)

    def apply(self, op: dict[str, Any]) -> None:
        """Apply one operation. Those of other rooms are none of ours."""
        assert self._desk is not None
        if op["op"] not in VIEW_OPS:
            return
        self._view.apply(op)
        if "address" in op:
            self._desk.changed(op["address"], self._view.get(op["address"]))

    async def on_ask(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        """Answer `statistics`."""
        assert self._desk is not None
        if what != "statistics":
            raise PeerRefused("unsupported", f"the dns worker does not answer {what!r}")
        numbers = self._desk.statistics
        return Answer({name: getattr(numbers, name) for name in numbers.__slots__})

    async def close(self) -> None:
        """Stop serving and tell what was counted."""
        if self._window is not None:
            self._window.cancel()
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        await self._tasks.cancel()
        if self._desk is not None:
            self._desk.tell_repeats()

    def _end_window(self) -> None:
        assert self._desk is not None
        self._desk.tell_repeats()
        self._window = asyncio.get_running_loop().call_later(WINDOW_S, self._end_window)

    async def _ask_name(self, address: str, name: str) -> Answer:
        if self._daemon is None:
            raise PeerClosed("no daemon")
        body = {"address": address, "name": name}
        return await self._daemon.ask("name", body, deadline_s=NAME_DEADLINE_S)

    def _tell(self, record: Record) -> None:
        if self._daemon is None or self._daemon.closed:
            return  # without the daemon this process ends anyway
        self._daemon.tell("record", record.to_wire())
