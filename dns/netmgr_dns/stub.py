"""Owns: asking upstream servers for a name's addresses, for the dialer.

Implements netmgr.dialer.resolution.Resolver. Opens no file and calls no getaddrinfo: it works in an
empty chroot. Knows nothing of policies: whoever asks has decided before.

Against forged answers (RFC 5452): a socket of its own per query, so the kernel draws the port; a
random id; random letter case in the question (0x20). An answer whose case differs is not believed
and the query is repeated over TCP. Whatever else does not match is ignored until the deadline.
"""

import asyncio
import secrets
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from netmgr.dialer.connect import connect_to
from netmgr.dialer.resolution import (
    SERVER_DEADLINE_S,
    TOTAL_DEADLINE_S,
    NameNotResolved,
    Resolved,
    Unresolved,
)
from netmgr.errors import BadInput
from netmgr.model import parse_dns_name
from netmgr.process.tasks import TaskSet
from netmgr_dns.messages import MalformedMessage, QType, Rcode
from netmgr_dns.wire import MAX_RESPONSE, Response, parse_response, render_query

GRACE_S: Final = 0.05  # RFC 8305 §3, "Resolution Delay": how long the slower family is waited for
MAX_ALIASES: Final = 8  # CNAMEs followed for one name
MAX_ADDRESSES: Final = 16  # per family: nobody tries more
MAX_STRAY: Final = 32  # answers that do not match, per query; then somebody is guessing
MAX_CACHED: Final = 1_024
MIN_TTL_S: Final = 1.0  # a TTL of 0 still serves the burst that asked for it
MAX_TTL_S: Final = 60.0  # a changed upstream address is seen after a minute
MAX_NEGATIVE_TTL_S: Final = 5.0  # a name that was just created should work soon

_LENGTH: Final = struct.Struct("!H")
_FINAL: Final = frozenset({Rcode.NOERROR, Rcode.NXDOMAIN})  # anything else: ask the next server
_GRAVITY: Final = (  # of two families' failures, which one the name's failure is
    Unresolved.NXDOMAIN,
    Unresolved.CNAME,
    Unresolved.TIMEOUT,
    Unresolved.SERVFAIL,
    Unresolved.NODATA,
)

Server = tuple[str, int]
Ip = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no address, for `ttl` seconds."""

    cause: Unresolved
    ttl: float = MIN_TTL_S


@dataclass(frozen=True, slots=True)
class Chain:
    """Where a response's aliases lead.

    Attributes:
        last: the name at the end of them.
        seen: every name on the way, the first one included.
        ttl: seconds; the smallest on the way.
    """

    last: str
    seen: tuple[str, ...]
    addresses: tuple[Ip, ...]
    ttl: float


def follow_aliases(seen: tuple[str, ...], qtype: QType, response: Response) -> Chain | None:
    """Walk a response from the last name of `seen`; None: a loop, or too many aliases. Pure."""
    aliases = {record.owner: record for record in response.records if isinstance(record.data, str)}
    last, ttl = seen[-1], MAX_TTL_S
    while (alias := aliases.get(last)) is not None:
        last = str(alias.data)
        if last in seen or len(seen) > MAX_ALIASES or not _is_host_name(last):
            return None
        seen = (*seen, last)
        ttl = min(ttl, alias.ttl)
    wanted = IPv4Address if qtype is QType.A else IPv6Address
    found = [r for r in response.records if r.owner == last and isinstance(r.data, wanted)]
    addresses = tuple(r.data for r in found[:MAX_ADDRESSES] if not isinstance(r.data, str))
    return Chain(last, seen, addresses, min([ttl, *(r.ttl for r in found)]))


class StubResolver:
    """Asks `servers` in order, beginning with the one that answered last.

    Args:
        servers: (address, port) of each recursive server, at least one.
        server_deadline_s: for one question to one server, UDP and TCP together.
        total_deadline_s: for one name.
        clock: monotonic seconds.

    Raises:
        ValueError: no server, or one whose address is no address.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        server_deadline_s: float = SERVER_DEADLINE_S,
        total_deadline_s: float = TOTAL_DEADLINE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not servers:
            raise ValueError("no upstream DNS server")
        self._servers = [(str(ip_address(address)), int(port)) for address, port in servers]
        self._server_deadline_s = server_deadline_s
        self._total_deadline_s = total_deadline_s
        self._clock = clock
        self._first = 0
        self._cache: OrderedDict[str, tuple[float, Resolved | Missing]] = OrderedDict()
        self._running: dict[str, asyncio.Task[Resolved | Missing]] = {}
        self._tasks = TaskSet()

    async def resolve(self, name: str) -> Resolved:
        """All addresses of `name`, a canonical DNS name.

        Raises:
            NameNotResolved: there are none, or none could be had in time.
        """
        outcome = self._remembered(name)
        if outcome is None:
            running = self._running.get(name)
            if running is None:
                running = self._tasks.start(self._resolve(name), name=f"resolve {name}")
                self._running[name] = running
            # One caller that gives up must not take the answer from the others.
            outcome = await asyncio.shield(running)
        if isinstance(outcome, Missing):
            raise NameNotResolved(name, outcome.cause)
        return outcome

    async def close(self) -> None:
        """Give up what is in flight."""
        await self._tasks.cancel()

    # -- the cache ---------------------------------------------------------------------------

    def _remembered(self, name: str) -> Resolved | Missing | None:
        until, outcome = self._cache.get(name, (0.0, None))
        return outcome if until > self._clock() else None

    def _remember(self, name: str, outcome: Resolved | Missing) -> None:
        self._cache[name] = (self._clock() + outcome.ttl, outcome)
        self._cache.move_to_end(name)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)

    # -- one name ----------------------------------------------------------------------------

    async def _resolve(self, name: str) -> Resolved | Missing:
        try:
            outcome = await self._both_families(name)
            self._remember(name, outcome)
            return outcome
        finally:
            self._running.pop(name, None)

    async def _both_families(self, name: str) -> Resolved | Missing:
        """IPv4 is always waited for: it is dialled first. IPv6 gets the rest of the time only
        where there is nothing else."""
        end = self._clock() + self._total_deadline_s
        v4 = self._tasks.start(self._family(name, QType.A), name=f"A {name}")
        v6 = self._tasks.start(self._family(name, QType.AAAA), name=f"AAAA {name}")
        try:
            await asyncio.wait({v4}, timeout=self._total_deadline_s)
            satisfied = not v4.done() or isinstance(v4.result(), Resolved)
            rest = GRACE_S if satisfied else max(end - self._clock(), 0.0)
            await asyncio.wait({v6}, timeout=rest)
            late = Missing(Unresolved.TIMEOUT)
            return _combine([task.result() if task.done() else late for task in (v4, v6)])
        finally:
            v4.cancel()
            v6.cancel()

    async def _family(self, name: str, qtype: QType) -> Resolved | Missing:
        """One family's addresses, following aliases over several responses if need be."""
        seen: tuple[str, ...] = (name,)
        ttl = MAX_TTL_S
        while True:
            asked = seen[-1]
            response = await self._ask(asked, qtype)
            if isinstance(response, Unresolved):
                return Missing(response)
            chain = follow_aliases(seen, qtype, response)
            if chain is None:
                return Missing(Unresolved.CNAME)
            seen, ttl = chain.seen, min(ttl, chain.ttl)
            if chain.addresses:
                return Resolved(chain.addresses, max(ttl, MIN_TTL_S))
            if response.rcode == Rcode.NXDOMAIN:
                return Missing(Unresolved.NXDOMAIN, _negative_ttl(response))
            if chain.last == asked:
                return Missing(Unresolved.NODATA, _negative_ttl(response))

    # -- one question ------------------------------------------------------------------------

    async def _ask(self, name: str, qtype: QType) -> Response | Unresolved:
        failure = Unresolved.TIMEOUT
        first = self._first
        for step in range(len(self._servers)):
            place = (first + step) % len(self._servers)
            try:
                async with asyncio.timeout(self._server_deadline_s):
                    response = await _exchange(self._servers[place], name, qtype)
            except TimeoutError:
                continue
            except (OSError, MalformedMessage):
                failure = Unresolved.SERVFAIL
                continue
            if response.rcode in _FINAL:
                self._first = place
                return response
            failure = Unresolved.SERVFAIL
        return failure


async def _exchange(server: Server, name: str, qtype: QType) -> Response:
    number = secrets.randbelow(1 << 16)
    labels = _mix_case(name)
    query = render_query(number, labels, qtype)

    def belongs(response: Response) -> bool:
        same_name = _lower(response.labels) == _lower(labels)
        return response.id == number and response.qtype == qtype and same_name

    response = await _over_udp(server, query, belongs)
    if response.truncated or response.labels != labels:
        response = await _over_tcp(server, query)
        if not belongs(response):
            raise MalformedMessage("the answer to another question", rcode=None)
    return response


async def _over_udp(server: Server, query: bytes, belongs: Callable[[Response], bool]) -> Response:
    loop = asyncio.get_running_loop()
    with socket.socket(_family(server), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(server)  # from now on the kernel drops what comes from elsewhere
        sock.send(query)
        for _ in range(MAX_STRAY):
            data = await loop.sock_recv(sock, MAX_RESPONSE)
            try:
                response = parse_response(data)
            except MalformedMessage:
                continue
            if belongs(response):
                return response
    raise MalformedMessage(f"{MAX_STRAY} answers to questions that were not asked", rcode=None)


async def _over_tcp(server: Server, query: bytes) -> Response:
    loop = asyncio.get_running_loop()
    address, port = server
    with await connect_to(ip_address(address), port) as sock:
        await loop.sock_sendall(sock, _LENGTH.pack(len(query)) + query)
        (length,) = _LENGTH.unpack(await _receive_exactly(sock, _LENGTH.size))
        if length > MAX_RESPONSE:
            raise MalformedMessage(f"a response of {length} bytes", rcode=None)
        response = parse_response(await _receive_exactly(sock, length))
    if response.truncated:
        raise MalformedMessage("a truncated answer over TCP", rcode=None)
    return response


async def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise MalformedMessage("the server hung up in mid-answer", rcode=None)
        data += piece
    return data


def _combine(outcomes: Sequence[Resolved | Missing]) -> Resolved | Missing:
    found = [outcome for outcome in outcomes if isinstance(outcome, Resolved)]
    if found:
        addresses = tuple(address for outcome in found for address in outcome.addresses)
        return Resolved(addresses, min(outcome.ttl for outcome in found))
    missing = [outcome for outcome in outcomes if isinstance(outcome, Missing)]
    return min(missing, key=lambda outcome: _GRAVITY.index(outcome.cause))


def _negative_ttl(response: Response) -> float:
    said = response.negative_ttl or 0
    return min(max(float(said), MIN_TTL_S), MAX_NEGATIVE_TTL_S)


def _mix_case(name: str) -> tuple[bytes, ...]:
    mixed = "".join(c.upper() if secrets.randbits(1) else c for c in name)
    return tuple(mixed.encode("ascii").split(b"."))


def _lower(labels: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(label.lower() for label in labels)


def _is_host_name(name: str) -> bool:
    try:
        parse_dns_name(name)
    except BadInput:
        return False
    return True


def _family(server: Server) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server[0] else socket.AF_INET
