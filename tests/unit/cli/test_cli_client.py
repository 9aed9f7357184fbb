"""The client: answers and errors over a real socket, streams however they are cut."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import PlainTextResponse
from hypothesis import given
from hypothesis import strategies as st

import netmgr
from netmgr import calls
from netmgr.client import MAX_LINE, AsyncClient, Client, LineReader, error_of
from netmgr.errors import Conflict, HostFailed, NotFound, Refused, TryLater, Unreachable


def test_an_answer(daemon: Any) -> None:
    with Client(daemon.path) as client:
        assert client.send(calls.version()) == {"version": "9.9"}


def test_both_clients_ask_and_hear_the_same(daemon: Any) -> None:
    async def ask() -> Any:
        async with AsyncClient(daemon.path) as client:
            streamed = [r async for r in client.stream(_records())]
            return await client.send(calls.sandbox_show("demo")), streamed

    with Client(daemon.path) as client:
        here = client.send(calls.sandbox_show("demo")), list(client.stream(_records()))
    assert asyncio.run(ask()) == here
    assert daemon.asked[0] == daemon.asked[3]


def test_methods_are_the_calls_on_both_clients(
    daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETMGR_SOCKET", daemon.path)

    async def ask() -> Any:
        async with netmgr.AsyncClient() as client:
            box = await client.sandbox_create("demo", allow=["a.example"], idempotency_key="k")
            return box, [record async for record in client.records(limit=5)]

    with netmgr.Client() as client:
        assert client.sandbox_show.__name__ == "sandbox_show"
        assert "Record and kernel truth" in str(client.sandbox_show.__doc__)
        box = client.sandbox_create("demo", allow=["a.example"], idempotency_key="k")
        here = box, list(client.records(limit=5))
    assert asyncio.run(ask()) == here
    assert daemon.asked[:2] == daemon.asked[2:]


def test_a_timeout_for_all_calls(tmp_path: Path) -> None:
    path = str(tmp_path / "silent.sock")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen()
        with Client(path, timeout_s=0.05) as client, pytest.raises(TryLater, match=r"0\.05 s"):
            client.hub()


def test_the_package_is_the_library() -> None:
    assert netmgr.Client is Client
    assert {getattr(netmgr, name) for name in netmgr.__all__}
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        netmgr.Clint  # noqa: B018


def _records() -> calls.Call[calls.Json]:
    return calls.records(filters={"kind": "dns", "name": None}, after=3, limit=5, follow=False)


def test_filters_that_are_not_given_are_not_sent(daemon: Any) -> None:
    with Client(daemon.path) as client:
        list(client.stream(_records()))
    assert daemon.last[2] == {"kind": "dns", "after": "3", "limit": "5"}


@pytest.mark.parametrize("name", ["a/b", "../x", "a?b=c", "ä"])
def test_a_name_is_one_part_of_the_path(name: str) -> None:
    assert calls.sandbox_show(name).path.count("/") == 3


def test_errors_keep_class_message_and_details(daemon: Any) -> None:
    answer = Conflict("no")
    answer.details = {"revision": 3, "message": "a detail of that name"}
    daemon.answers["GET /v1/hub"] = answer
    with Client(daemon.path) as client, pytest.raises(Conflict, match="no") as caught:
        client.send(calls.hub())
    assert caught.value.details == {"revision": 3, "message": "a detail of that name"}


def test_an_error_of_a_stream(daemon: Any) -> None:
    daemon.answers["GET /v1/records"] = NotFound("no sandbox")
    with Client(daemon.path) as client, pytest.raises(NotFound, match="no sandbox"):
        list(client.stream(_records()))


def test_a_body_that_is_no_json(daemon: Any) -> None:
    daemon.answers["GET /v1/hub"] = PlainTextResponse("<html>", 502)
    with Client(daemon.path) as client, pytest.raises(HostFailed, match="no JSON"):
        client.send(calls.hub())


@pytest.mark.parametrize("body", [None, [], {}, {"error": "text"}])
def test_an_error_without_reason(body: object) -> None:
    assert isinstance(error_of(500, body), HostFailed)


def test_nobody_there(tmp_path: Path) -> None:
    with Client(str(tmp_path / "no.sock")) as client, pytest.raises(Unreachable, match="no such"):
        client.send(calls.version())


def test_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Client(str(path)) as client, pytest.raises(Unreachable, match="has ended"):
        client.send(calls.version())


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    with (
        Client(str(tmp_path / ("x" * 120))) as client,
        pytest.raises(Unreachable, match="too long"),
    ):
        client.send(calls.version())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to be")
def test_no_permission_says_who_may(tmp_path: Path) -> None:
    from netmgr.client import unreachable

    os.chmod(tmp_path, 0o700)
    pid = os.fork()
    if pid == 0:
        os.setresuid(65534, 65534, 65534)
        error = unreachable(str(tmp_path / "api.sock"))
        os._exit(0 if isinstance(error, Refused) and "group" in error.message else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_silent_daemon_is_told_from_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        call = calls.Call[Any]("GET", "/v1/version", deadline_s=0.2)
        with Client(str(path)) as client, pytest.raises(TryLater, match=r"0\.2 s"):
            client.send(call)


def _answering(tmp_path: Path, *answers: bytes) -> str:
    """A socket that gives each connection one answer, whatever is asked, and hangs up."""
    path = tmp_path / "scripted.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener:
            for answer in answers:
                with listener.accept()[0] as peer:
                    peer.recv(65536)
                    peer.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return str(path)


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 2",
        b"no http at all\r\n\r\n",
        HEAD + b"content-length: 9\r\n\r\n{",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{",
        HEAD + b"transfer-encoding: chunked\r\n\r\nno size\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_told_so(tmp_path: Path, answer: bytes) -> None:
    path = _answering(tmp_path, answer)
    with Client(path) as client, pytest.raises(Unreachable, match="broke off"):
        client.send(calls.version())


def test_a_stream_that_breaks_off_gives_what_came(tmp_path: Path) -> None:
    answer = HEAD + b'transfer-encoding: chunked\r\n\r\n8\r\n{"a":1}\n\r\n'
    with Client(_answering(tmp_path, answer)) as client:
        stream = client.stream(_records())
        assert next(stream) == {"a": 1}
        with pytest.raises(Unreachable, match="broke off"):
            next(stream)


def test_what_waits_loads_no_http_library() -> None:
    code = (
        "import sys, netmgr; netmgr.Client('/nowhere'); print({'httpx', 'rich'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True)
    assert done.stdout == b"set()\n"


def test_a_connection_that_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "rude.sock"
    with socket.socket(socket.AF_UNIX) as rude:
        rude.bind(str(path))
        rude.listen()

        async def meet() -> None:
            loop = asyncio.get_running_loop()

            async def hang_up() -> None:
                for _ in range(2):  # the client looks whether somebody is there first
                    peer, _address = await loop.run_in_executor(None, rude.accept)
                    peer.close()

            async with asyncio.TaskGroup() as group, AsyncClient(str(path)) as client:
                group.create_task(hang_up())
                with pytest.raises(Unreachable, match="broke off"):
                    await client.send(calls.version())

        asyncio.run(meet())


OBJECTS = st.lists(st.dictionaries(st.text(), st.text() | st.integers()))


@given(OBJECTS, st.data())
def test_lines_however_they_are_cut(objects: list[dict[str, Any]], data: st.DataObject) -> None:
    wire = b"".join(json.dumps(item).encode() + b"\n" for item in objects)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)))))
    reader, found = LineReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += reader.feed(wire[start:end])
    assert found + reader.end() == objects


@given(st.binary())
def test_only_our_error_escapes(data: bytes) -> None:
    reader = LineReader()
    with contextlib.suppress(HostFailed):
        assert all(isinstance(item, dict) for item in reader.feed(data) + reader.end())


def test_an_endless_line_is_cut_off() -> None:
    with pytest.raises(HostFailed, match="more than"):
        LineReader().feed(b"x" * (MAX_LINE + 1))
