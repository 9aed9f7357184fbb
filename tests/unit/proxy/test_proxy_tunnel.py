"""CONNECT through an upstream proxy: what is asked, and every way in which it can go wrong."""

import asyncio
import base64
import socket
from typing import Any

import pytest

from netmgr.reasons import Reason
from netmgr_proxy.tunnel import MAX_ANSWER, open_tunnel, render_connect
from netmgr_proxy.wire.face import Refused
from tests.unit.proxy.rig import run


def through(answer: bytes, *, closes: bool = False, deadline_s: float = 5.0) -> Any:
    """What comes of a proxy that says `answer`: the bytes that it was asked, or the refusal."""

    async def talk() -> Any:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(theirs, answer)
            if closes:
                theirs.shutdown(socket.SHUT_WR)
            try:
                await open_tunnel(ours, render_connect("h.test:443", "u:p"), deadline_s)
            except Refused as refused:
                return refused.refusal
            return await loop.sock_recv(theirs, 4096)

    return run(talk())


def test_what_is_asked() -> None:
    asked = through(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n")
    head = b"CONNECT h.test:443 HTTP/1.1\r\nhost: h.test:443\r\nproxy-authorization: Basic "
    assert asked == head + base64.b64encode(b"u:p") + b"\r\n\r\n"
    assert b"authorization" not in render_connect("h.test:443", None)


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (b"HTTP/1.1 407 who\r\n\r\n", Reason.UPSTREAM_AUTH, "PROXY_CREDENTIAL"),
        (b"HTTP/1.1 502 no\r\n\r\n", Reason.UPSTREAM_UNREACHABLE, "status 502"),
        (b"SSH-2.0-x\r\n\r\n", Reason.UPSTREAM_UNREACHABLE, "no HTTP head"),
        (b"HTTP/1.1 200 ok\r\n\r\nhello", Reason.UPSTREAM_UNREACHABLE, "no HTTP head"),
        (b"HTTP/1.1 200 ok\r\n\r\n\r\n\r\n", Reason.UPSTREAM_UNREACHABLE, "no HTTP head"),
        (b"x" * (MAX_ANSWER + 1), Reason.UPSTREAM_UNREACHABLE, "no HTTP head"),
    ],
)
def test_what_is_no_way_through(answer: bytes, reason: Reason, said: str) -> None:
    refusal = through(answer)
    assert refusal.reason is reason
    assert said in refusal.message


def test_a_proxy_that_leaves_or_is_silent() -> None:
    assert through(b"HTTP/1.1", closes=True).reason is Reason.UPSTREAM_UNREACHABLE
    assert through(b"", deadline_s=0.05).reason is Reason.UPSTREAM_TIMEOUT
