"""Owns: sending calls to the daemon over its unix socket, and turning what fails into our errors.

Two clients of one shape, public as `netmgr.Client` and `netmgr.AsyncClient` (docs/client.md); their
methods are in netmgr.verbs. Knows nothing of what the calls mean (netmgr.calls). The one that waits
is what commands are made of, so it loads only the standard library; httpx is for asyncio's.
"""

import errno
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast
from urllib.parse import urlencode

from netmgr.calls import READ_S, Call, Json
from netmgr.errors import BY_CODE, HostFailed, NetmgrError, Refused, TryLater, Unreachable
from netmgr.unix_http import NoConnection, Request, exchange, pieces
from netmgr.verbs import Verbs

if TYPE_CHECKING:
    import httpx

SOCKET_VARIABLE: Final = "NETMGR_SOCKET"
DEFAULT_SOCKET: Final = "/run/netmgr/api.sock"
CONNECT_S: Final = 5.0  # a unix socket answers at once, or its backlog is full
MAX_LINE: Final = 1024 * 1024  # bytes of one record; the daemon's own bounds are far below
ERRORS_FROM: Final = 400  # RFC 9110, 15.5 and 15.6
BASE_URL: Final = "http://netmgr"  # AsyncClient's; the host part is never resolved

T = TypeVar("T")


class _Wire(Verbs):
    """What both clients share: where the daemon is, and how requests and answers look.

    Attributes:
        path: the daemon's socket.
        timeout_s: longest wait for an answer; None: each call's own.
    """

    def __init__(self, path: str | None = None, *, timeout_s: float | None = None) -> None:
        self.path = path or os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET
        self.timeout_s = timeout_s

    def _deadline(self, call: Call[Any]) -> float:
        return call.deadline_s if self.timeout_s is None else self.timeout_s

    def _silent(self, call: Call[Any]) -> TryLater:
        return TryLater(
            f"the daemon did not answer {call.method} {call.path} within "
            f"{self._deadline(call):g} s; `netmgr status` shows which part is slow"
        )

    def _broken(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"the connection to the daemon at {self.path} broke off: {error}; "
            "if it is restarting, try again"
        )


class Client(_Wire):
    """Sends calls and waits for the answers. Close it, or use it as a context manager.

    Args:
        path: the daemon's socket; by default NETMGR_SOCKET, else /run/netmgr/api.sock.
        timeout_s: longest wait for an answer; by default each call's own (15 s to read, 60 s to
            change).
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is open between two calls; here because AsyncClient has it."""

    def send(self, call: Call[T]) -> T:
        """The daemon's answer.

        Raises:
            Unreachable: nobody answers on the socket.
            Refused: the socket or the operation is not for this caller.
            NetmgrError: whatever the daemon answered, as the class of its code.
        """
        with self._exchange(call, self._deadline(call)) as response:
            return cast(T, answer_of(response.status, response.read()))

    def stream(self, call: Call[Json], *, idle_s: float | None = READ_S) -> Iterator[Json]:
        """The objects of a JSON-lines answer as they arrive.

        Args:
            idle_s: longest silence between two pieces; None where silence is normal (following).

        Raises:
            The same as `send`.
        """
        with self._exchange(call, idle_s) as response:
            if response.status >= ERRORS_FROM:
                answer_of(response.status, response.read())
            lines = LineReader()
            for piece in pieces(response):
                yield from lines.feed(piece)
            yield from lines.end()

    @contextmanager
    def _exchange(self, call: Call[Any], idle_s: float | None) -> Iterator[HTTPResponse]:
        try:
            with exchange(
                self.path, _request(call), connect_s=CONNECT_S, idle_s=idle_s
            ) as response:
                yield response
        except NoConnection as error:
            raise unreachable(self.path) from error
        except TimeoutError as error:
            raise self._silent(call) from error
        except (OSError, HTTPException) as error:
            raise self._broken(error) from error


class AsyncClient(_Wire):
    """`Client`, for asyncio: what it answers is awaited."""

    def __init__(self, path: str | None = None, *, timeout_s: float | None = None) -> None:
        import httpx

        super().__init__(path, timeout_s=timeout_s)
        self._reached = False
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self.path), base_url=BASE_URL, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """See `Client.send`."""
        with self._transport_errors(call):
            response = await self._http.request(
                **self._request(call), timeout=_limits(self._deadline(call))
            )
        return cast(T, answer_of(response.status_code, response.content))

    async def stream(
        self, call: Call[Json], *, idle_s: float | None = READ_S
    ) -> AsyncIterator[Json]:
        """See `Client.stream`."""
        with self._transport_errors(call):
            async with self._http.stream(
                **self._request(call), timeout=_limits(idle_s)
            ) as response:
                if response.status_code >= ERRORS_FROM:
                    answer_of(response.status_code, await response.aread())
                lines = LineReader()
                async for piece in response.aiter_bytes():
                    for record in lines.feed(piece):
                        yield record
                for record in lines.end():
                    yield record

    def _request(self, call: Call[Any]) -> dict[str, Any]:
        # Looked at before httpx tries: its transport (httpcore 1.0) leaves the socket of a failed
        # connection to the garbage collector, and hides the errno.
        if not self._reached and _connect_errno(self.path):
            raise unreachable(self.path)
        self._reached = True
        words: dict[str, Any] = {"method": call.method, "url": call.path}
        if call.query:
            words["params"] = dict(call.query)
        if call.body is not None:
            words["json"] = call.body
        if call.headers:
            words["headers"] = dict(call.headers)
        return words

    @contextmanager
    def _transport_errors(self, call: Call[Any]) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.ConnectError as error:
            raise unreachable(self.path) from error
        except httpx.TimeoutException as error:
            raise self._silent(call) from error
        except (httpx.TransportError, httpx.StreamError) as error:
            raise self._broken(error) from error


def _request(call: Call[Any]) -> Request:
    target = f"{call.path}?{urlencode(call.query)}" if call.query else call.path
    if call.body is None:
        return Request(call.method, target, None, call.headers)
    body = json.dumps(call.body, allow_nan=False, separators=(",", ":")).encode()
    headers = {**call.headers, "content-type": "application/json"}
    return Request(call.method, target, body, headers)


class LineReader:
    """JSON lines out of bytes, however they are cut. No I/O."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[Json]:
        """The objects that are complete now.

        Raises:
            HostFailed: a line is longer than MAX_LINE, or no JSON object.
        """
        *whole, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise HostFailed(f"the daemon sent a line of more than {MAX_LINE} bytes")
        return [_object_of(line) for line in whole if line.strip()]

    def end(self) -> list[Json]:
        """The last object, where its newline is missing."""
        rest, self._rest = self._rest, b""
        return [_object_of(rest)] if rest.strip() else []


def _object_of(line: bytes) -> Json:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise HostFailed(f"the daemon sent a line that is no JSON: {line[:80]!r}") from error
    if not isinstance(value, dict):
        raise HostFailed(f"the daemon sent a line that is no object: {line[:80]!r}")
    return value


def _limits(read_s: float | None) -> "httpx.Timeout":
    import httpx

    return httpx.Timeout(read_s, connect=CONNECT_S, write=READ_S, pool=CONNECT_S)


def answer_of(status: int, body: bytes) -> Any:
    """The value of an answer's body.

    Raises:
        NetmgrError: the answer is an error, or nothing that we could read.
    """
    if status == 204:
        return {}
    try:
        value = json.loads(body)
    except ValueError as error:
        raise HostFailed(f"the daemon answered {status} with a body that is no JSON") from error
    if status >= ERRORS_FROM:
        raise error_of(status, value)
    return value


def error_of(status: int, body: object) -> NetmgrError:
    """The error that an answer's body tells, as the class of its code."""
    inner = body.get("error") if isinstance(body, dict) else None
    if not isinstance(inner, dict):
        return HostFailed(f"the daemon answered {status} without saying why")
    code, message = str(inner.get("code")), str(inner.get("message"))
    error = BY_CODE.get(code, NetmgrError)(message)
    details = inner.get("details")
    if isinstance(details, dict):
        error.details = details
    return error


def unreachable(path: str) -> NetmgrError:
    """Why nobody answers at `path`, and what to do about it."""
    number = _connect_errno(path)
    if number in (errno.EACCES, errno.EPERM):
        return Refused(
            f"no permission for the daemon's socket {path}: "
            "use root (sudo), or join the group that owns it (usually 'netmgr')"
        )
    if number == errno.ENOENT:
        state = "there is no such socket"
    elif number == errno.ECONNREFUSED:
        state = "the socket is there, but nobody listens: the daemon has ended"
    else:
        state = os.strerror(number) if number else "it does not answer"
    return Unreachable(
        f"no daemon at {path}: {state}. Start it with `systemctl start netmgr` or "
        "`netmgr daemon`; another daemon's socket is named by --socket or NETMGR_SOCKET"
    )


def _connect_errno(path: str) -> int:
    """Why a connection to `path` fails; 0 where it does not."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)  # unix(7): at once, or EAGAIN where the backlog is full
        try:
            sock.connect(path)
        except BlockingIOError:
            return 0
        except OSError as error:
            return error.errno or errno.ENAMETOOLONG  # the one that Python raises without a number
    return 0
