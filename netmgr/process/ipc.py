"""Owns: how netmgr's processes talk: length-framed JSON over a unix stream pair, with descriptors.

A `Peer` is one end. It tells (no answer), asks (one answer, with a deadline) and answers. It works
on asyncio and on uvloop, because it needs nothing but readable and writable events of a descriptor.
Knows nothing of what the messages mean.

The other end may be hijacked: an end says whether it takes descriptors at all, bounds what waits,
and whoever breaks the form of a message loses the channel (a worker is then started anew).

Descriptors travel with SCM_RIGHTS (unix(7)). The kernel keeps their order relative to the bytes
and delivers them no later than the first byte they were sent with, so a queue per connection and a
count in each frame's head are enough to give every frame its own.
"""

import array
import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from netmgr.process.frames import (
    MAX_FDS,
    MAX_FRAME,
    FrameReader,
    PeerClosed,
    encode_frame,
    encode_tell,
    parse_message,
)
from netmgr.process.tasks import TaskSet

MAX_ASKED: Final = 1024  # questions under way: twice what the dialer has, the busiest of all
MAX_QUEUED: Final = 256 * 1024 * 1024  # bytes waiting for a peer that does not read: then cut it
READ_SIZE: Final = 256 * 1024
DEFAULT_DEADLINE_S: Final = 10.0

log = logging.getLogger(__name__)

_FD_SPACE = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)

Body = dict[str, Any]

__all__ = [
    "DEFAULT_DEADLINE_S",
    "MAX_ASKED",
    "MAX_FDS",
    "READ_SIZE",
    "Answer",
    "AskHandler",
    "Body",
    "FrameReader",
    "Peer",
    "PeerClosed",
    "PeerRefused",
    "TellHandler",
    "encode_frame",
    "ignore_every_tell",
    "refuse_every_ask",
]


class PeerRefused(Exception):
    """The other process answered with an error.

    Attributes:
        code: a reason code or an error code of netmgr.errors.
    """

    def __init__(self, code: str, message: str, details: Body | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: fields, and descriptors that now belong to the receiver."""

    body: Body = field(default_factory=dict)
    fds: tuple[int, ...] = ()


AskHandler = Callable[[str, Body, tuple[int, ...]], Awaitable[Answer]]
TellHandler = Callable[[str, Body, tuple[int, ...]], None]


async def refuse_every_ask(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
    """The ask handler of an end that answers nothing."""
    raise PeerRefused("unsupported", f"this process does not answer {what!r}")


def ignore_every_tell(what: str, body: Body, fds: tuple[int, ...]) -> None:
    """The tell handler of an end that listens to nothing."""
    for fd in fds:
        os.close(fd)


class Peer:
    """One end of a channel to another netmgr process. Owns its socket.

    Args:
        sock: a connected AF_UNIX SOCK_STREAM socket.
        on_ask: answers the other end's questions; each runs in a task of its own.
        on_tell: takes the other end's one-way messages, in order.
        on_close: called once when the channel has ended, for whatever cause.
        takes_fds: whether the other end may send descriptors; else one that does is cut off, and
            the kernel closes what it sent.
        max_frame: bytes of one message of the other end's.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_ask: AskHandler = refuse_every_ask,
        on_tell: TellHandler = ignore_every_tell,
        on_close: Callable[[], None] | None = None,
        takes_fds: bool = True,
        max_frame: int = MAX_FRAME,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self.on_ask = on_ask
        self.on_tell = on_tell
        self.on_close = on_close
        self._reader = FrameReader(max_frame)
        self._fd_space = _FD_SPACE if takes_fds else 0
        self._out: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._queued = 0
        self._blocked = False  # the socket takes no more for now
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._tasks = TaskSet()
        self.closed = False
        self._loop.add_reader(sock.fileno(), self._readable)

    # -- what callers use ------------------------------------------------------------------

    def tell(self, what: str, body: Body | None = None, *, fds: Sequence[int] = ()) -> None:
        """Send a one-way message. Descriptors are duplicated: the caller keeps its own.

        Raises:
            PeerClosed: the channel has ended.
        """
        self._send({"tell": what, "body": body or {}}, fds)

    def tell_text(self, what: str, body: str) -> None:
        """The same for a body that is JSON already (`encode_body`).

        Raises:
            PeerClosed: the channel has ended.
        """
        self._send_frame(encode_tell(what, body), ())

    async def ask(
        self,
        what: str,
        body: Body | None = None,
        *,
        fds: Sequence[int] = (),
        deadline_s: float = DEFAULT_DEADLINE_S,
    ) -> Answer:
        """Ask and wait for the answer, for `deadline_s` seconds at most.

        Raises:
            PeerRefused: the other end answered with an error.
            PeerClosed: the channel ended first.
            TimeoutError: the deadline passed; a late answer is dropped and its descriptors closed.
        """
        number = next(self._ids)
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[number] = future
        try:
            self._send({"ask": what, "id": number, "body": body or {}}, fds)
            async with asyncio.timeout(deadline_s):
                return await future
        except BaseException:
            # Cancelled in the very moment in which the answer came: nobody takes its descriptors.
            if future.done() and not future.cancelled() and future.exception() is None:
                _close_all(future.result().fds)
            raise
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """End the channel. May be called twice."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._reader.close()
        for _, fds in self._out:
            _close_all(fds)
        self._out.clear()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(PeerClosed("the other process is gone"))
        if self.on_close is not None:
            self.on_close()

    # -- sending ---------------------------------------------------------------------------

    def _send(self, message: Body, fds: Sequence[int]) -> None:
        self._send_frame(encode_frame(message, len(fds)), fds)

    def _send_frame(self, frame: bytes, fds: Sequence[int]) -> None:
        if self.closed:
            raise PeerClosed("the channel is closed")
        kept = tuple(os.dup(fd) for fd in fds)
        self._queued += len(frame)
        if self._queued > MAX_QUEUED:
            _close_all(kept)
            self.close()
            raise PeerClosed("the other process does not read")
        self._out.append((memoryview(frame), kept))
        if len(self._out) == 1:
            self._writable()

    def _writable(self) -> None:
        try:
            while self._out:
                view, fds = self._out[0]
                sent = _send_some(self._sock, view, fds)
                _close_all(fds)
                self._queued -= sent
                if sent < len(view):
                    self._out[0] = (view[sent:], ())
                else:
                    self._out.popleft()
        except BlockingIOError:
            self._blocked = True
            self._loop.add_writer(self._sock.fileno(), self._writable)
            return
        except OSError:
            self.close()
            return
        if self._blocked:
            self._blocked = False
            self._loop.remove_writer(self._sock.fileno())

    # -- receiving -------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data, fds = _receive_some(self._sock, self._fd_space)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            _close_all(fds)
            self.close()
            return
        try:
            frames = self._reader.feed(data, fds)
        except PeerClosed:
            self.close()
            return
        for payload, frame_fds in frames:
            if self.closed:
                _close_all(frame_fds)
                continue
            try:
                message = parse_message(payload)
            except PeerClosed as broken:
                log.error("a channel is closed: %s", broken)
                _close_all(frame_fds)
                self.close()
                continue
            self._dispatch(message, frame_fds)

    def _dispatch(self, message: Body, fds: tuple[int, ...]) -> None:
        if "tell" in message:
            try:
                self.on_tell(message["tell"], message["body"], fds)
            except Exception:
                log.exception("a channel is closed: %.40r was not understood", message["tell"])
                self.close()
        elif "answer" in message:
            self._take_answer(message, fds)
        elif len(self._tasks) < MAX_ASKED:
            self._tasks.start(self._answer(message, fds), name=f"answer {message['ask']:.40}")
        else:
            _close_all(fds)
            why = f"{MAX_ASKED} questions are under way already"
            error = {"code": "limit_exceeded", "message": why, "details": {}}
            with suppress(PeerClosed):
                self._send({"answer": message["id"], "error": error}, ())

    def _take_answer(self, message: Body, fds: tuple[int, ...]) -> None:
        future = self._waiting.get(message["answer"])
        if future is None or future.done():
            _close_all(fds)
        elif "error" in message:
            error = message["error"]
            future.set_exception(PeerRefused(error["code"], error["message"], error["details"]))
        else:
            future.set_result(Answer(message["body"], fds))

    async def _answer(self, message: Body, fds: tuple[int, ...]) -> None:
        reply: Body = {"answer": message["id"]}
        answer = Answer()
        try:
            answer = await self.on_ask(message["ask"], message["body"], fds)
            reply["body"] = answer.body
        except PeerRefused as refusal:
            reply["error"] = {
                "code": refusal.code,
                "message": refusal.message,
                "details": refusal.details,
            }
        except Exception as fault:
            reply["error"] = {"code": "internal", "message": repr(fault), "details": {}}
            if not self.closed:
                self._send(reply, ())
            raise
        try:
            if not self.closed:
                self._send(reply, answer.fds)
        finally:
            _close_all(answer.fds)


def _send_some(sock: socket.socket, view: memoryview, fds: tuple[int, ...]) -> int:
    if not fds:
        return sock.send(view)
    return sock.sendmsg([view], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def _receive_some(sock: socket.socket, fd_space: int) -> tuple[bytes, list[int]]:
    data, ancillary, flags, _ = sock.recvmsg(READ_SIZE, fd_space, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if flags & socket.MSG_CTRUNC:
        _close_all(tuple(fds))
        raise OSError("descriptors were cut off")
    return data, list(fds)


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
