"""Owns: connections to origins: opened through the dialer, verified, kept for reuse.

The pool's key holds the sandbox and, for model calls, the route's serial: no two sandboxes and no
two credentials ever share a connection. Knows nothing of requests.
"""

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from netmgr.policy.decision import Target
from netmgr.policy.owner import UNKNOWN, Owner
from netmgr.reasons import Reason
from netmgr_proxy.dial import Dialer
from netmgr_proxy.limits import Limits
from netmgr_proxy.tunnel import open_tunnel
from netmgr_proxy.upstream import UpstreamConnection
from netmgr_proxy.upstream_tls import explain_failure
from netmgr_proxy.wire.face import Refusal, Refused


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go, and for whom.

    Attributes:
        address: the sandbox's address.
        tls: whether the connection is encrypted.
        route: (id, serial) of an inference route; None for what the sandbox named itself.
        owner: the programs that ask, where the policy tells them apart: it may let one reach
            addresses that another must not.
        connect: what to ask of the upstream proxy that is dialled instead; b'' where there is none.
    """

    address: str
    target: Target
    tls: bool
    route: tuple[str, int] | None = None
    owner: Owner = UNKNOWN
    connect: bytes = field(default=b"", compare=False, repr=False)  # may hold a credential
    _hash: int = field(default=0, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Looked up with every request, and kept as long as a connection lives.
        known = hash((self.address, self.target, self.tls, self.route, self.owner))
        object.__setattr__(self, "_hash", known)

    def __hash__(self) -> int:
        return self._hash


class Upstreams:
    """The pool and the way to new connections.

    Args:
        context: the TLS context with the host's roots.
    """

    def __init__(
        self,
        dialer: Dialer,
        context: ssl.SSLContext,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dialer = dialer
        self._context = context
        self._limits = limits
        self._clock = clock
        self._idle: OrderedDict[UpstreamConnection, Origin] = OrderedDict()
        self._by_origin: dict[Origin, list[UpstreamConnection]] = {}
        self.opened = 0
        self.reused = 0

    @property
    def idle_count(self) -> int:
        """Connections that wait for use."""
        return len(self._idle)

    def take_idle(self, origin: Origin, revision: int) -> UpstreamConnection | None:
        """The connection to that origin that was used last, if one waits.

        One that was opened under another policy is closed: the dialer has not judged by the new
        one whether this name may be at that address.
        """
        while waiting := self._by_origin.get(origin):
            connection = waiting[-1]
            self._remove(connection)
            if connection.revision == revision:
                self.reused += 1
                return connection
            connection.abort()
        return None

    async def open(
        self, origin: Origin, revision: int, context: ssl.SSLContext | None = None
    ) -> UpstreamConnection:
        """A new connection.

        Args:
            revision: the policy revision by which it is allowed.
            context: TLS roots other than the worker's.

        Raises:
            Refused: with the reason, in the order dialled, connected, verified.
        """
        route = origin.route[0] if origin.route else None
        dialled = await self._dialer.dial(
            origin.address, origin.target, revision, route, origin.owner
        )
        self.opened += 1
        name = origin.target.name or str(origin.target.ip)
        connection = UpstreamConnection(name, self._limits.response_head_bytes)
        connection.revision = revision
        connection.peer = dialled.peer
        loop = asyncio.get_running_loop()
        try:
            if origin.connect:
                await open_tunnel(dialled.sock, origin.connect, self._limits.connect_timeout_s)
            if origin.tls:
                await loop.create_connection(
                    lambda: connection,
                    sock=dialled.sock,
                    ssl=context or self._context,
                    server_hostname=name,
                    ssl_handshake_timeout=self._limits.connect_timeout_s,
                )
            else:
                await loop.create_connection(lambda: connection, sock=dialled.sock)
        except (OSError, ssl.SSLError, TimeoutError) as fault:
            dialled.sock.close()
            if origin.tls:
                raise Refused(explain_failure(fault, name)) from None
            why = f"{name} closed the connection at once"
            raise Refused(Refusal(Reason.UPSTREAM_UNREACHABLE, why)) from None
        except BaseException:  # cancelled: the client has left
            dialled.sock.close()
            raise
        return connection

    def give_back(self, origin: Origin, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange has ended well."""
        connection.end_exchange()
        if connection.closed:
            return
        connection.parked_at = self._clock()
        connection.on_idle_loss = lambda: self._remove(connection)
        waiting = self._by_origin.setdefault(origin, [])
        waiting.append(connection)
        self._idle[connection] = origin
        if len(waiting) > self._limits.idle_upstreams_per_origin:
            self._drop(waiting[0])
        if len(self._idle) > self._limits.idle_upstreams:
            self._drop(next(iter(self._idle)))

    def sweep(self) -> None:
        """Close what has waited too long."""
        oldest = self._clock() - self._limits.upstream_idle_s
        while self._idle:
            connection = next(iter(self._idle))
            if connection.parked_at > oldest:
                return
            self._drop(connection)

    def forget(self, address: str) -> None:
        """Close everything that waits for one sandbox."""
        for connection in [c for c, origin in self._idle.items() if origin.address == address]:
            self._drop(connection)

    def close(self) -> None:
        """Close everything that waits."""
        while self._idle:
            self._drop(next(iter(self._idle)))

    def _drop(self, connection: UpstreamConnection) -> None:
        self._remove(connection)
        connection.abort()

    def _remove(self, connection: UpstreamConnection) -> None:
        origin = self._idle.pop(connection, None)
        connection.on_idle_loss = None
        if origin is None:
            return
        waiting = self._by_origin[origin]
        waiting.remove(connection)
        if not waiting:
            del self._by_origin[origin]
