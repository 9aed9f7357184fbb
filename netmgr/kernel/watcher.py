"""Owns: the watch worker: it reads the kernel's packet log in the hub and tells the daemon.

Unprivileged; the log socket was opened by root and inherited. It decides nothing and knows nothing
of sandboxes but the names of links.

Settings: none. Descriptors: `nflog`. Tells

    denied {link, address, group, ip, port, protocol, sport, count}
    spoofing {link}   the link is loud with false sources: to be muted for some seconds
                      (Kernel.mute_spoofing, then unmute_spoofing for the exact number)

Answers `statistics` {events, lost}: `lost` counts overruns of the socket's buffer, each of which
lost at least one event (exact numbers are in the kernel's sets).
"""

import asyncio
import errno
import os
import socket
from collections import Counter, OrderedDict
from contextlib import suppress
from typing import Any, Final

from netmgr.kernel.denials import WINDOW_S, Denials, Report
from netmgr.kernel.nflog import parse_events
from netmgr.kernel.ruleset import GROUP_SPOOFED
from netmgr.process.ipc import Answer, Body, Peer, PeerClosed, PeerRefused

FLUSH_S: Final = 0.5  # how late a report of repeats may be
READS: Final = 64  # datagrams per wake-up, so that the daemon's questions get their turn
DATAGRAM_BYTES: Final = 65_536  # one event is under 300 bytes; a datagram may hold several
LOUD: Final = 50  # logged packets with a false source of one link in ten seconds
MAX_NAMES: Final = 16_384  # link names that are remembered by index


class WatchRole:
    """The watch worker's part of a worker's life (netmgr.process.worker.Role)."""

    def __init__(self) -> None:
        self._denials = Denials()
        self._names: OrderedDict[int, str] = OrderedDict()
        self._fd = -1
        self._daemon: Peer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._spoofed: Counter[str] = Counter()
        self._window_ends = 0.0
        self.events = 0
        self.lost = 0

    def open(self, settings: Body, fds: dict[str, int], daemon: Peer) -> None:
        """Take the log socket."""
        self._fd = fds["nflog"]
        os.set_blocking(self._fd, False)
        self._daemon = daemon

    def serve(self) -> None:
        """Begin to read."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._fd, self._readable)
        self._tick()

    def apply(self, op: dict[str, Any]) -> None:
        """Nothing here depends on the state of the world."""

    async def on_ask(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        """`statistics`."""
        if what != "statistics":
            raise PeerRefused("unsupported", f"the watch worker does not answer {what!r}")
        return Answer({"events": self.events, "lost": self.lost})

    async def close(self) -> None:
        """Stop reading and tell what was counted."""
        asyncio.get_running_loop().remove_reader(self._fd)
        if self._timer is not None:
            self._timer.cancel()
        self._tell(self._denials.drain())
        os.close(self._fd)

    def _readable(self) -> None:
        now = asyncio.get_running_loop().time()
        for _ in range(READS):
            try:
                data = os.read(self._fd, DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as overrun:
                if overrun.errno != errno.ENOBUFS:
                    raise
                self.lost += 1
                continue
            self._take(data, now)

    def _take(self, data: bytes, now: float) -> None:
        for packet in parse_events(data):
            self.events += 1
            link = self._link(packet.ifindex)
            if packet.group == GROUP_SPOOFED and link:
                self._count_spoofed(link)
            report = self._denials.take(packet, link, now)
            if report is not None:
                self._tell([report])

    def _count_spoofed(self, link: str) -> None:
        """Tell of a link once within a window, and again for every further LOUD packets: the
        daemon may have unmuted it meanwhile."""
        self._spoofed[link] += 1
        if self._spoofed[link] % LOUD == 0:
            self._tell_one("spoofing", {"link": link})

    def _link(self, index: int) -> str:
        """A link's name by index; indexes are not used twice in a namespace's life."""
        name = self._names.get(index)
        if name is None:
            try:
                name = socket.if_indextoname(index)
            except OSError:  # deleted meanwhile
                return ""
            self._names[index] = name
            if len(self._names) > MAX_NAMES:
                self._names.popitem(last=False)
        return name

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._tell(self._denials.flush(loop.time()))
        if loop.time() >= self._window_ends:
            self._window_ends = loop.time() + WINDOW_S
            self._spoofed.clear()
        self._timer = loop.call_later(FLUSH_S, self._tick)

    def _tell(self, reports: list[Report]) -> None:
        for report in reports:
            self._tell_one("denied", report.to_wire())

    def _tell_one(self, what: str, body: Body) -> None:
        assert self._daemon is not None
        with suppress(PeerClosed):  # the worker's life ends with the channel
            self._daemon.tell(what, body)
