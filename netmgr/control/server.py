"""Owns: HTTP/1.1 on the unix socket: who connects, how long it may take, the graceful end.

uvicorn with `loop="asyncio"` semantics, inside the daemon's own loop (pyroute2 does not run on
uvloop, so the daemon does not either).
"""

import asyncio
import contextlib
import grp
import logging
import os
import socket
from collections import Counter
from collections.abc import Iterator, MutableMapping
from typing import Any, ClassVar, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from netmgr.control.access import Caller, caller_of
from netmgr.errors import HostFailed

log = logging.getLogger(__name__)

BACKLOG: Final = 256  # fifty runtimes that start containers at once, with room
KEEP_ALIVE_S: Final = 30  # an idle client connection
DRAIN_S: Final = 3  # followers of a stream are cut after this when the daemon stops
MAX_HEAD: Final = 64 * 1024  # a request head
MAX_BODY: Final = 4 * 1024 * 1024  # a policy file of MAX_POLICY_TEXT, escaped, and room
REQUEST_S: Final = 10.0  # for a head, and for each piece of a body; a local client needs no time
MAX_CONNECTIONS: Final = 128  # of one user other than root: who has more does not close them


class _CallerProtocol(H11Protocol):
    """Adds the kernel's word about the caller to every request's scope, and bounds what one caller
    can have of the daemon: connections, time and memory."""

    open_by: ClassVar[Counter[int]] = Counter()  # connections of each user, in all
    caller: Caller | None = None
    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # uvicorn declares a transport type of its own; asyncio hands over this one.
        super().connection_made(transport)
        try:
            self.caller = caller = caller_of(transport.get_extra_info("socket"))
        except OSError:  # it has closed the connection already
            transport.abort()
            return
        self.open_by[caller.uid] += 1
        if caller.uid != 0 and self.open_by[caller.uid] > MAX_CONNECTIONS:
            log.warning("uid %d has %d connections open already", caller.uid, MAX_CONNECTIONS)
            transport.abort()
            return
        self.app = self._bounded(self.app, caller)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()  # a next request has begun

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timer()
        if self.caller is not None:
            self.open_by[self.caller.uid] -= 1
            if not self.open_by[self.caller.uid]:
                del self.open_by[self.caller.uid]
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self.head_timer is None:
            self.head_timer = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _end_timer(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def _bounded(self, app: Any, caller: Caller) -> Any:
        async def with_caller(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            self._end_timer()  # the head is there
            scope["netmgr.caller"] = caller
            await app(scope, _BoundedBody(receive, self.transport), send)

        return with_caller


class _BoundedBody:
    """An ASGI `receive` that ends the connection where a body is too long or does not come."""

    def __init__(self, receive: Any, transport: asyncio.Transport) -> None:
        self._receive = receive
        self._transport = transport
        self._left = MAX_BODY
        self._whole = False

    async def __call__(self) -> Any:
        if self._whole:  # then this only waits for the client's end
            return await self._receive()
        try:
            async with asyncio.timeout(REQUEST_S):
                message = await self._receive()
        except TimeoutError:
            return self._cut()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            return self._cut()
        self._whole = not message.get("more_body", False)
        return message

    def _cut(self) -> Any:
        self._whole = True
        self._transport.abort()
        return {"type": "http.disconnect"}


def caller_in(scope: MutableMapping[str, Any]) -> Caller:
    """The caller of a request's scope."""
    caller = scope["netmgr.caller"]
    assert isinstance(caller, Caller)
    return caller


def bind_control_socket(path: str, group: str) -> socket.socket:
    """Listen on `path`, 0660 root:group from the first moment on (root only without the group).

    Raises:
        HostFailed: the directory is missing, something else is in the way, or the path is too long.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        sock.bind(path)
    except OSError as problem:
        sock.close()
        raise HostFailed(f"control socket {path}: {problem.strerror or problem}") from problem
    finally:
        os.umask(before)
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        log.info("no group %r: the control socket is root's alone", group)
    else:
        os.chown(path, 0, gid)
        os.chmod(path, 0o660)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the daemon's own stand."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ControlServer:
    """Serves the control API until `stop`."""

    def __init__(self, app: FastAPI, sock: socket.socket) -> None:
        self._sock = sock
        self._server = _Server(
            uvicorn.Config(
                app,
                http=_CallerProtocol,
                ws="none",
                loop="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=DRAIN_S,
                h11_max_incomplete_event_size=MAX_HEAD,
            )
        )

    async def run(self) -> None:
        """Serve until `stop` was called and every request has ended."""
        await self._server.serve(sockets=[self._sock])

    def stop(self) -> None:
        """Take no more connections; `run` returns soon after."""
        self._server.should_exit = True
