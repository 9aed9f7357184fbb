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
from collections.abc import Iterator, MutableMapping
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from netmgr.control.access import Caller, caller_of

log = logging.getLogger(__name__)

BACKLOG: Final = 256  # fifty runtimes that start containers at once, with room
KEEP_ALIVE_S: Final = 30  # an idle client connection
DRAIN_S: Final = 3  # followers of a stream are cut after this when the daemon stops
MAX_HEAD: Final = 64 * 1024  # a request head; bodies are bounded by the routes


class _CallerProtocol(H11Protocol):
    """Adds the kernel's word about the caller to every request's scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # uvicorn declares a transport type of its own; asyncio hands over this one.
        super().connection_made(transport)
        caller = caller_of(transport.get_extra_info("socket"))
        app = self.app

        async def with_caller(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            scope["netmgr.caller"] = caller
            await app(scope, receive, send)

        self.app = with_caller


def caller_in(scope: MutableMapping[str, Any]) -> Caller:
    """The caller of a request's scope."""
    caller = scope["netmgr.caller"]
    assert isinstance(caller, Caller)
    return caller


def bind_control_socket(path: str, group: str) -> socket.socket:
    """Listen on `path`, 0660 root:group from the first moment on (root only without the group).

    Raises:
        OSError: the directory is missing or not writable.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(path)
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
                loop="none",
                lifespan="off",
                access_log=False,
                log_config=None,
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
