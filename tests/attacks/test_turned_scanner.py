"""A hijacked scan worker, for real: its ends of the proxies' channels, taken from it.

It is shown every request of a policy with middlewares. What it says counts for the request that it
was asked about and for no other, and whatever it says, no endpoint is added to what rules permit.
"""

import ctypes
import json
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from world import Sandbox, World
from world.internet import Model

pytestmark = pytest.mark.root

PIDFD_GETFD = 438  # the same on every architecture
URL = "https://inference.local/v1/chat/completions"
FILE = """\
version: 1
sensitivity: {order: [public, secret], unlabelled: public, unscanned: secret}
metadata:
  dlp:
    required: true
    promote: {level: {key: level, type: label}, fine: {key: fine, type: bool}}
endpoints:
  far: {provider: far, model: far-1, facts: {operated_by: third_party}}
  near: {provider: near, model: near-1, facts: {operated_by: self, clearance: secret}}
rules:
  - {id: ours-stay, when: {tenant: ours}, require: {operated_by: self}}
"""
POLICY = """\
version: 1
network_policies: {}
network_middlewares:
  dlp:
    middleware: netmgr/pii
    endpoints: {include: [inference.local]}
"""
Answer = dict[str, Any]


def result(**more: Any) -> Answer:
    answer = {"decision": "allow", "findings": [], "metadata": {}, **more}
    return {"status": "ok", "trouble": "", "answer": answer, "replaced": False}


# What it says -> the status that the call gets, or None where the rules decide: an answer that
# breaks the contract is none, and a call that was not looked at counts as `secret`.
LIES: dict[str, tuple[Callable[[], Answer], int | None]] = {
    "all is fine": (lambda: {"results": [result(metadata={"level": "public"})]}, None),
    "no such label": (lambda: {"results": [result(metadata={"level": "lowest"})]}, None),
    "a stage of another": (
        lambda: {"results": [result(metadata={"fine": "true", "endpoint": "far", "tenant": "x"})]},
        None,
    ),
    "a stage too many": (lambda: {"results": [result(), result()]}, None),
    "no stage": (lambda: {"results": []}, None),
    "junk": (lambda: {"results": "yes"}, None),
    "a body that is not there": (
        lambda: {"results": [result(decision="transform") | {"replaced": True}]},
        None,
    ),
    "a header of netmgr's": (
        lambda: {
            "results": [
                result(
                    decision="transform",
                    headers=[{"write": "authorization", "value": "x", "existing": "overwrite"}],
                )
            ]
        },
        None,
    ),
    "no": (lambda: {"results": [result(decision="deny", reason_code="lies")]}, 403),
}


class Turned(threading.Thread):
    """Answers every chain that proxies ask, in the scan worker's place."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        os.kill(pid, signal.SIGSTOP)
        self.says: Callable[[], Answer] = lambda: {"results": [result()]}
        self.asked: list[Answer] = []
        self._sockets = list(sockets_of(pid))
        self._over = False

    def run(self) -> None:
        held: dict[socket.socket, bytes] = dict.fromkeys(self._sockets, b"")
        while not self._over:
            ready, _, _ = select.select(list(held), [], [], 0.1)
            for sock in ready:
                with suppress(BlockingIOError):
                    data, fds, _, _ = socket.recv_fds(sock, 1 << 20, 16)
                    for fd in fds:
                        os.close(fd)
                    held[sock] = self._read(sock, held[sock] + data)
                    if not data:
                        del held[sock]

    def _read(self, sock: socket.socket, data: bytes) -> bytes:
        while len(data) >= 5:
            size, _ = struct.unpack("!IB", data[:5])
            if len(data) < 5 + size:
                break
            message, data = json.loads(data[5 : 5 + size]), data[5 + size :]
            if message.get("ask") == "chain":
                self.asked.append(message["body"])
                body = json.dumps({"answer": message["id"], "body": self.says()}).encode()
                sock.sendall(struct.pack("!IB", len(body), 0) + body)
        return data

    def end(self) -> None:
        self._over = True
        self.join()
        for sock in self._sockets:
            sock.close()


def sockets_of(pid: int) -> Iterator[socket.socket]:
    """Copies of a stopped process's unix sockets, but for that to the daemon."""
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    daemon = int(argv[argv.index(b"netmgr_cli.worker") + 2])
    libc, handle = ctypes.CDLL(None, use_errno=True), os.pidfd_open(pid)
    for name in os.listdir(f"/proc/{pid}/fd"):
        if int(name) == daemon or not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
            continue
        fd = libc.syscall(PIDFD_GETFD, handle, int(name), 0)
        sock = socket.socket(fileno=fd)
        if sock.family is socket.AF_UNIX:
            yield sock
        else:
            sock.close()
    os.close(handle)


@pytest.fixture
def stage(make_world: Callable[[], World], tmp_path: Path) -> tuple[World, dict[str, Model]]:
    """A world with two endpoints and the file."""
    world = make_world()
    world.daemon()
    models = {}
    for name in ("near", "far"):
        models[name] = model = world.internet.model(f"{name}.turned.test")
        world.provider(name, model.base_url)
    path = tmp_path / "routing.yaml"
    path.write_text(FILE)
    world.do("route", "set", str(path))
    return world, models


def call(box: Sandbox, text: str) -> int:
    body = json.dumps({"model": "any", "messages": [{"role": "user", "content": text}]})
    words = ["-o", "/dev/null", "-w", "%{http_code}", "--max-time", "9"]
    return int(box.run("curl", "-sS", *words, URL, "-d", body).stdout)


def test_it_speaks_for_the_request_that_it_was_asked_about_and_widens_nothing(
    stage: tuple[World, dict[str, Model]],
) -> None:
    world, models = stage
    ours = world.sandbox("ours", POLICY, tenant="ours")
    other = world.sandbox("other", POLICY, tenant="other")
    daemon = world.netmgrd
    main = daemon.pid
    pid = next(pid for pid, kind in daemon.processes().items() if kind == "scan")
    turned = Turned(pid)
    turned.start()
    try:
        for name, (says, status) in LIES.items():
            turned.says = says
            assert call(ours, f"write to me@mail.example: {name}") == (status or 200), name
            assert models["far"].requests == [], name
        assert len(turned.asked) == len(LIES)
        turned.says = lambda: {"results": [result(metadata={"level": "secret"})]}
        assert call(other, "hello") == 200
        assert models["far"].requests == [], "it may be too careful with any request"
        turned.says = LIES["all is fine"][0]
        assert call(other, "hello") == 200
        assert len(models["far"].requests) == 1, "and careless with what rules let go"
    finally:
        turned.end()
        os.kill(pid, signal.SIGKILL)
    assert daemon.pid == main
