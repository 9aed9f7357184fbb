"""The control socket against those who may reach it: who they are, and how much they get."""

import asyncio
import ctypes
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI, Request

from netmgr.control import server
from netmgr.control.access import Caller, Need, caller_of, check
from netmgr.control.office import Office
from netmgr.control.server import ControlServer, bind_control_socket, caller_in
from netmgr.errors import HostFailed, Refused

CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000
OWN_NETNS = (os.stat("/proc/self/ns/net").st_dev, os.stat("/proc/self/ns/net").st_ino)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[str]:
    """A control server whose one route tells who calls and how long its body was."""
    app = FastAPI()

    @app.post("/who")
    async def who(request: Request) -> dict[str, Any]:
        caller = caller_in(request.scope)
        return {"uid": caller.uid, "pid": caller.pid, "body": len(await request.body())}

    place = str(path / "api.sock")
    control = ControlServer(app, bind_control_socket(place, "no-such-group"))
    task = asyncio.ensure_future(control.run())
    try:
        yield place
    finally:
        control.stop()
        await task


def test_a_place_that_cannot_be_listened_on_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "api.sock"
    taken.mkdir()
    for path in (taken, tmp_path / "missing" / "api.sock", tmp_path / ("x" * 120)):
        with pytest.raises(HostFailed, match=f"control socket {path}: "):
            bind_control_socket(str(path), "no-such-group")


async def talk(path: str, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send pieces; everything that comes back until the end."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def post(body: bytes, *fields: str) -> bytes:
    lines = ["POST /who HTTP/1.1", "host: x", "connection: close", *fields]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def test_a_caller_is_known_by_the_kernels_word(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as path:
            answer = json.loads((await talk(path, post(b"abc"))).partition(b"\r\n\r\n")[2])
            assert answer == {"uid": os.getuid(), "pid": os.getpid(), "body": 3}

    run(test)


def test_a_body_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_BODY", 1000)

    async def test() -> None:
        async with serving(tmp_path) as path:
            assert await talk(path, post(b"x" * 1001)) == b""
            chunked = b"POST /who HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            chunk = b"ff\r\n" + b"x" * 255 + b"\r\n"
            assert await talk(path, chunked, *[chunk] * 8) == b""
            assert b'"body":1000' in await talk(path, post(b"x" * 1000))

    run(test)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"",),
        (b"POST /who HT",),
        (b"POST /who HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n", b"x"),
        (b"POST /who HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", b"POST"),
    ],
    ids=["nothing", "half a head", "half a body", "half a second head"],
)
def test_who_is_slow_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.2)

    async def test() -> None:
        async with serving(tmp_path) as path:
            began = time.monotonic()
            await talk(path, *pieces, pause_s=0.05)
            assert time.monotonic() - began < 5

    run(test)


def test_one_user_has_so_many_connections_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(server, "caller_of", lambda sock: Caller(1, 4711, 4711, OWN_NETNS))

    async def test() -> None:
        async with serving(tmp_path) as path:
            held = [await asyncio.open_unix_connection(path) for _ in range(3)]
            await asyncio.sleep(0.05)
            assert await talk(path, post(b"")) == b""
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            await asyncio.sleep(0.05)
            assert b'"uid":4711' in await talk(path, post(b""))

    run(test)


# -- who may ---------------------------------------------------------------------------------------


def connect_from(path: str, prepare: Callable[[], None], then: Callable[[], None]) -> int:
    """A child that connects to `path`; its pid."""
    child = os.fork()
    if child == 0:
        try:
            prepare()
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            then()
        finally:
            os._exit(0)
    return child


def accept_one(path: Path, prepare: Callable[[], None], then: Callable[[], None]) -> Caller:
    place = str(path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(1)
        child = connect_from(place, prepare, then)
        listener.settimeout(10)
        sock, _ = listener.accept()
        with sock:
            time.sleep(0.05)  # the child has come as far as it shall
            if then is leave:
                os.waitpid(child, 0)
            caller = caller_of(sock)
        if then is not leave:
            os.kill(child, 9)
            os.waitpid(child, 0)
        return caller


def stay() -> None:
    time.sleep(30)


def leave() -> None:
    os._exit(0)


def own_namespaces() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def test_who_is_gone_is_nobody(tmp_path: Path) -> None:
    """Its number may be another's by now."""
    caller = accept_one(tmp_path, lambda: None, leave)
    assert caller.netns is None
    with pytest.raises(Refused, match="gone"):
        check(caller, Need.READ, lambda _: False)


def test_a_neighbour_is_what_it_is(tmp_path: Path) -> None:
    caller = accept_one(tmp_path, lambda: None, stay)
    assert (caller.netns, caller.own_users) == (OWN_NETNS, False)


def test_namespaces_made_inside_are_seen(tmp_path: Path) -> None:
    """A process in a sandbox that has reached the socket may hide in a namespace of its own."""
    caller = accept_one(tmp_path, own_namespaces, stay)
    assert caller.own_users
    assert caller.netns not in (None, OWN_NETNS)


@pytest.mark.parametrize(
    ("netns", "own_users", "inside"),
    [
        ((4, 1), False, False),  # the daemon's own
        ((4, 1), True, False),  # a rootless container that shares the host's network
        ((4, 2), False, True),  # the hub
        ((4, 3), False, True),  # a sandbox
        ((4, 9), False, False),  # a namespace of an administrator's
        ((4, 9), True, True),  # one that needed no privilege to make
    ],
)
def test_who_stands_inside(netns: tuple[int, int], own_users: bool, inside: bool) -> None:
    parts: dict[str, Any] = dict.fromkeys(field.name for field in fields(Office))
    parts["home"] = (4, 1)
    parts["status"] = SimpleNamespace(hub_namespace=(4, 2))
    parts["lifecycle"] = SimpleNamespace(owns_netns=lambda identity: identity == (4, 3))
    assert Office(**parts).is_inside(Caller(1, 0, 0, netns, own_users)) is inside
