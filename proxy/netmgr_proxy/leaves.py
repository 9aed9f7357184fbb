"""Owns: the TLS contexts that a sandbox's clients meet: one per (sandbox, name), made on demand.

The daemon keeps the CA's key and signs; a context is cached, because building one costs more than a
handshake. Knows nothing of connections.
"""

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from netmgr.process.ipc import Peer, PeerClosed, PeerRefused
from netmgr.reasons import Reason
from netmgr_proxy.shelf import Shelf
from netmgr_proxy.wire.face import Refusal, Refused

LEAF_DEADLINE_S: Final = 5.0  # signing takes well under a millisecond; this is a stuck daemon
MAX_AGE_S: Final = 6 * 3600.0  # leaves are renewed long before they expire
MAX_JUMP_S: Final = 1800.0  # of the wall clock; leaves are backdated by an hour

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Kept:
    context: ssl.SSLContext
    made: float
    wall: float  # epoch seconds of the same moment: its certificate is valid by that clock


class Leaves:
    """Contexts by (sandbox address, name), least recently used out first."""

    def __init__(
        self,
        daemon: Peer,
        shelf: Shelf,
        capacity: int,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._daemon = daemon
        self._shelf = shelf
        self._capacity = capacity
        self._clock = clock
        self._wall = wall
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._locks: dict[Key, asyncio.Lock] = {}
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, address: str, name: str) -> ssl.SSLContext:
        """The server context for `name` as that sandbox sees it.

        Raises:
            Refused: the daemon did not sign.
        """
        key = (address, name)
        kept = self._find(key)
        if kept is not None:
            return kept
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:  # a burst of connections asks for one signature
                return self._find(key) or await self._make(key)
        finally:
            if not lock.locked():
                self._locks.pop(key, None)

    def forget(self, address: str) -> None:
        """Drop everything of one sandbox."""
        self._forgotten += 1
        for key in [key for key in self._kept if key[0] == address]:
            del self._kept[key]

    def _find(self, key: Key) -> ssl.SSLContext | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = self._clock() - kept.made
        if age > MAX_AGE_S or abs(self._wall() - kept.wall - age) > MAX_JUMP_S:
            return None
        self._kept.move_to_end(key)
        return kept.context

    async def _make(self, key: Key) -> ssl.SSLContext:
        address, name = key
        forgotten = self._forgotten
        try:
            answer = await self._daemon.ask(
                "leaf", {"address": address, "name": name}, deadline_s=LEAF_DEADLINE_S
            )
        except (PeerRefused, PeerClosed, TimeoutError) as fault:
            why = f"no certificate for {name}: {fault or 'the daemon did not answer in time'}"
            raise Refused(Refusal(Reason.POLICY_STALE, why)) from fault
        context = make_server_context(self._shelf, answer.body["key"] + answer.body["chain"])
        if forgotten != self._forgotten:
            return context  # its sandbox may be gone, and the address another's next
        self._kept[key] = _Kept(context, self._clock(), self._wall())
        self._kept.move_to_end(key)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return context


def make_server_context(shelf: Shelf, pem: str) -> ssl.SSLContext:
    """A server's context: TLS 1.2 or later, HTTP/1.1 only.

    Session tickets are off: with a P-256 leaf they save 8 % of a handshake (measured), and cost
    two messages and the memory of each session.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    shelf.load(context, pem)
    return context
