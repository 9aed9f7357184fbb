"""A hijacked worker at the daemon's channel: whatever it writes, the channel lives or is closed.

Nothing reaches the event loop's exception handler, and a descriptor that came along is not kept.
"""

import asyncio
import logging
import os
import socket
from contextlib import suppress
from typing import Any

from netmgr.process.ipc import Answer, Peer, PeerClosed, PeerRefused

WORDS = (
    b'{"tell":"x","body":{}}',
    b'{"ask":"x","id":1,"body":{}}',
    b'{"answer":1,"body":{}}',
    b'{"answer":1,"error":{"code":"c","message":"m","details":{}}}',
    b'"tell":',
    b'"ask":',
    b'"id":',
    b'"answer":',
    b'"error":',
    b"\0\0\0\x16\0",
    b"[",
    b"\\ud800",
)
MAX_TURNS = 50  # of the loop; one input is read in a single turn

_loop = asyncio.new_event_loop()
_escaped: list[dict[str, Any]] = []
_loop.set_exception_handler(lambda _, context: _escaped.append(context))


def fuzz(data: bytes) -> None:
    """The bytes with one descriptor, where one may come and where none may; and the end."""
    log = logging.getLogger(Peer.__module__)
    log.disabled = True  # one line for each channel that is cut
    try:
        for takes_fds in (True, False):
            _loop.run_until_complete(_send(data, takes_fds))
    finally:
        log.disabled = False
    found, _escaped[:] = list(_escaped), []
    assert not found, found


async def _send(data: bytes, takes_fds: bool) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    sent, kept = os.pipe()
    held: list[int] = []
    with theirs:
        peer = Peer(
            ours,
            on_ask=_answer(held),
            on_tell=lambda _what, _body, fds: held.extend(fds),
            takes_fds=takes_fds,
        )
        question = asyncio.ensure_future(peer.ask("q"))
        await asyncio.sleep(0)
        socket.send_fds(theirs, [data or b"\0"], [sent])
        os.close(sent)
        theirs.shutdown(socket.SHUT_WR)
        for _ in range(MAX_TURNS):
            await asyncio.sleep(0)
            if peer.closed:
                break
        await asyncio.sleep(0)
        peer.close()
        with suppress(PeerClosed, PeerRefused):
            held.extend((await question).fds)
    for fd in held:
        os.close(fd)
    _check_closed(kept)


def _answer(held: list[int]) -> Any:
    async def answer(_what: str, _body: dict[str, Any], fds: tuple[int, ...]) -> Answer:
        held.extend(fds)
        return Answer()

    return answer


def _check_closed(kept: int) -> None:
    """The pipe's reading end went over the channel; writing fails only once nobody holds it."""
    try:
        os.write(kept, b"x")
    except BrokenPipeError:
        return
    finally:
        os.close(kept)
    raise AssertionError("a descriptor of a closed channel is still open")
