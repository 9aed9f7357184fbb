"""Owns: one HTTP/1.1 exchange over a unix socket, for a caller that waits.

The standard library's client, which loads in a quarter of the time of a whole HTTP library: a short
command line is little else. Each exchange has a connection of its own (some fifty microseconds on a
unix socket), so that none can have gone stale. Knows nothing of the daemon or of JSON.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Final, NamedTuple

HOST: Final = "netmgr"  # never resolved
PIECE: Final = 64 * 1024  # bytes of an answer that are taken up at once


class Request(NamedTuple):
    """What is sent; `target` is path and query, percent-encoded."""

    method: str
    target: str
    body: bytes | None
    headers: Mapping[str, str]


class NoConnection(Exception):
    """The socket takes no connection; the cause is the OSError."""


class _Connection(HTTPConnection):
    def __init__(self, path: str, connect_s: float, idle_s: float | None) -> None:
        super().__init__(HOST, timeout=idle_s)
        self._path = path
        self._connect_s = connect_s

    def connect(self) -> None:
        """Connect to the path; http.client calls this before it sends."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self._connect_s)
            self.sock.connect(self._path)
            self.sock.settimeout(self.timeout)
        except OSError as error:
            raise NoConnection from error


@contextmanager
def exchange(
    path: str, request: Request, *, connect_s: float, idle_s: float | None
) -> Iterator[HTTPResponse]:
    """Send a request; the answer, whose body is read while the context lasts.

    Args:
        connect_s: seconds to connect.
        idle_s: longest silence of the other side, in seconds; None where silence is normal.

    Raises:
        NoConnection: nobody takes the connection.
        TimeoutError: a silence longer than `idle_s`.
        OSError, http.client.HTTPException: the exchange broke off, or is no HTTP.
    """
    connection = _Connection(path, connect_s, idle_s)
    try:
        connection.request(request.method, request.target, request.body, dict(request.headers))
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def pieces(response: HTTPResponse) -> Iterator[bytes]:
    """A body as it arrives.

    Raises:
        The same as `exchange`.
    """
    while piece := response.read1(PIECE):
        yield piece
