"""Owns: connected TCP sockets. Works on any event loop, opens no file, calls no getaddrinfo.

Knows nothing of names and policies: whoever asks has judged the address.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from netmgr.reasons import Reason

Ip = IPv4Address | IPv6Address

ATTEMPT_S: Final = 2.5  # for an address that is not the last one; a handshake takes three trips
KEEPALIVE_IDLE_S: Final = 60  # a vanished upstream is noticed after 60 + 3 * 20 s
KEEPALIVE_INTERVAL_S: Final = 20
KEEPALIVE_PROBES: Final = 3

_PROBE_PORT: Final = 9  # discard; nothing is sent there


class NotConnected(Exception):
    """No address could be connected to.

    Attributes:
        reason: upstream_timeout where every attempt timed out, else upstream_unreachable.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


async def connect_first(addresses: Sequence[Ip], port: int, deadline_s: float) -> socket.socket:
    """A nonblocking socket connected to the first address that lets us, one after the other.

    Raises:
        NotConnected: none did within `deadline_s` seconds.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    failures: list[str] = []
    timeouts = 0
    for place, address in enumerate(addresses):
        wait = attempt_deadline(end - loop.time(), len(addresses) - place)
        try:
            async with asyncio.timeout(wait):
                return await connect_to(address, port)
        except TimeoutError:
            timeouts += 1
            failures.append(f"{address} did not answer within {wait:.1f} s")
        except OSError as failure:
            failures.append(f"{address}: {failure.strerror}")
    reason = Reason.UPSTREAM_TIMEOUT
    if timeouts < len(addresses):
        reason = Reason.UPSTREAM_UNREACHABLE
    raise NotConnected(reason, f"port {port}: {'; '.join(failures)}")


def attempt_deadline(remaining: float, left: int) -> float:
    """Seconds for the next attempt when `left` addresses share `remaining` seconds. Pure."""
    if left <= 1:
        return max(remaining, 0.0)
    return max(min(ATTEMPT_S, remaining / left), 0.0)


async def connect_to(address: Ip, port: int) -> socket.socket:
    """A nonblocking socket connected to one address.

    Raises:
        OSError: the kernel's or the other end's refusal.
    """
    sock = socket.socket(_family(address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
        await _connected(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock


def is_local(address: Ip) -> bool:
    """Whether the kernel counts `address` as the host's own, now.

    For a local destination the kernel chooses that very address as the source (`ip route get`
    shows it). Nothing is sent: connecting a UDP socket only looks up the route.
    """
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), _PROBE_PORT))
        except OSError:  # no route: then nothing can be dialled there either
            return False
        return ip_address(probe.getsockname()[0]) == address


def _family(address: Ip) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


async def _connected(sock: socket.socket, address: tuple[str, int]) -> None:
    """connect(2) without the event loop's own, which would look the address up first."""
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        loop = asyncio.get_running_loop()
        writable: asyncio.Future[None] = loop.create_future()
        loop.add_writer(sock.fileno(), _settle, writable)
        try:
            await writable
        finally:
            loop.remove_writer(sock.fileno())
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _settle(writable: "asyncio.Future[None]") -> None:
    if not writable.done():
        writable.set_result(None)
