"""Owns: what is done to accepted TCP sockets before a transport has them: peek, reset, refuse."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final

from netmgr_proxy.wire.classify import (
    MAX_FIRST_BYTES,
    First,
    classify,
    classify_ended,
)
from netmgr_proxy.wire.hello import Missing

_LINGER_ZERO: Final = struct.pack("ii", 1, 0)  # close() then sends a reset: socket(7), SO_LINGER
_ESTABLISHED: Final = 1  # first byte of struct tcp_info: include/net/tcp_states.h
_RETRY_S: Final = 0.02  # when the kernel said readable and nothing new was there


def reset(sock: socket.socket) -> None:
    """Close with a reset, so that the client knows at once."""
    with suppress(OSError):  # it is dead already: closing is all that is left
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    sock.close()


async def farewell(sock: socket.socket, answer: bytes, linger_s: float) -> None:
    """Send a last word, let the client read it, and close.

    Bytes of the client that nobody reads would turn the close into a reset, which can overtake the
    answer; so they are read and thrown away until the client closes, `linger_s` at most.
    """
    try:
        sock.send(answer)  # far smaller than an empty send buffer
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(linger_s):
            while await _read_away(sock):
                pass
    except (OSError, TimeoutError):
        pass  # the client is gone or will not leave: either way it was told
    sock.close()


async def _read_away(sock: socket.socket) -> bool:
    await wait_readable(sock)
    return bool(sock.recv(MAX_FIRST_BYTES))


async def wait_readable(sock: socket.socket) -> None:
    """Wait until a read would not block. Cancelling is safe."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    fd = sock.fileno()
    if fd < 0:
        raise ConnectionAbortedError("the socket was closed")
    loop.add_reader(fd, _resolve, ready)
    try:
        await ready
    finally:
        if sock.fileno() == fd:  # closed meanwhile: the number may be another connection's now
            loop.remove_reader(fd)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def peek_first(sock: socket.socket, *, first_s: float | None, whole_s: float) -> First | None:
    """Classify a connection's first bytes without taking them from the socket.

    SO_RCVLOWAT keeps an unfinished hello, which stays readable, from waking us again and again.

    Args:
        first_s: seconds until the first byte; None: as long as it takes (a server may speak first).
        whole_s: seconds from the first byte until it can be classified.

    Returns:
        the class, or None where the client closed without a byte.

    Raises:
        TimeoutError: one of the deadlines passed.
        OSError: the connection broke.
    """
    async with asyncio.timeout(first_s):
        await wait_readable(sock)
    try:
        async with asyncio.timeout(whole_s):
            return await _peek_whole(sock)
    finally:
        if sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


async def _peek_whole(sock: socket.socket) -> First | None:
    seen = 0
    while True:
        data = sock.recv(MAX_FIRST_BYTES + 1, socket.MSG_PEEK)
        if not data:
            return None
        found = classify(data)
        if not isinstance(found, Missing):
            return found
        if len(data) <= seen:
            if _client_has_closed(sock):
                return classify_ended(data)
            await asyncio.sleep(_RETRY_S)
        seen = len(data)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, max(found.until, seen + 1))
        await wait_readable(sock)


def _client_has_closed(sock: socket.socket) -> bool:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED
