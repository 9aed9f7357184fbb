"""A hijacked worker at the daemon's channel, for real: its own end of the socket, taken from it.

Whatever it writes, the daemon lives, keeps its descriptors and its memory, answers operators, and
the worker is replaced by an honest one.
"""

import ctypes
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from world import World
from world.daemon import Daemon

pytestmark = pytest.mark.root

PIDFD_GETFD = 438  # the same on every architecture
KINDS = ("proxy", "dns", "watch", "dialer", "scan")
RECOVERY_S = 15.0  # restarts of a worker that keeps failing come five seconds apart at last
MAX_GROWTH_KIB = 64 * 1024  # of the daemon's memory, for one attack
POLICY = """\
version: 1
network_policies:
  a:
    endpoints: [{host: echo.test, port: 5432}]
    binaries: [{path: "/**"}]
"""

Attack = Callable[[socket.socket, str], None]


def frame(message: Any, raw: bytes | None = None) -> bytes:
    payload = json.dumps(message).encode() if raw is None else raw
    return struct.pack("!IB", len(payload), 0) + payload


def flood(what: str, **body: Any) -> Attack:
    """Thousands of questions, none of whose answers is read."""

    def attack(channel: socket.socket, address: str) -> None:
        for number in range(3000):
            filled = {k: v % number if k == "name" else v for k, v in body.items()}
            message = {"ask": what, "id": 10**6 + number, "body": {"address": address, **filled}}
            channel.sendall(frame(message))

    return attack


def descriptors(channel: socket.socket, _: str) -> None:
    for _ in range(100):
        socket.send_fds(channel, [frame({"tell": "record", "body": {}})], [0] * 16)


def say(*frames: bytes) -> Attack:
    return lambda channel, _: channel.sendall(b"".join(frames))


DENIED = {"group": 5, "link": "", "ip": "x", "port": {}, "protocol": "tcp", "count": "9"}
ATTACKS: dict[str, Attack] = {
    "descriptors": descriptors,
    "no JSON": say(frame(None, b"{" * 50)),
    "deep JSON": say(frame(None, b"[" * 1_000_000)),
    "a frame of 60 MB": say(struct.pack("!IB", 60 << 20, 0) + b"x"),
    "no record": say(frame({"tell": "record", "body": {"x": 1}})),
    "no denial": say(frame({"tell": "denied", "body": DENIED})),
    "answers to other questions": say(
        frame({"answer": 1, "body": {}}), frame({"answer": 2, "error": {"code": 1}})
    ),
    "certificates": flood("leaf", name="x%d.example"),
    "names": flood("name", name="x%d.example"),
    "owners": flood("owner", sport=1, ip="198.18.0.3", dport=5432),
}


def channel_of(pid: int) -> socket.socket:
    """The worker's end of its channel to the daemon."""
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    number = int(argv[argv.index(b"netmgr_cli.worker") + 2])
    handle = os.pidfd_open(pid)
    try:
        fd = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, handle, number, 0)
    finally:
        os.close(handle)
    return socket.socket(fileno=fd)


def memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def await_health(daemon: Daemon) -> None:
    end = time.monotonic() + RECOVERY_S
    while True:
        status, shown = daemon.api("GET", "/v1/status")
        if status == 200 and shown["ok"]:
            return
        assert time.monotonic() < end, shown
        time.sleep(0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_daemon_stands(make_world: Callable[[], World], kind: str) -> None:
    world = make_world()
    daemon = world.daemon(scan_ready=kind == "scan")
    world.sandbox("a", POLICY)
    address = daemon.api("GET", "/v1/sandboxes/a")[1]["address"]
    main = daemon.pid
    held = len(os.listdir(f"/proc/{main}/fd"))
    for name, attack in ATTACKS.items():
        before = memory_kib(main)
        pid = next(pid for pid, found in daemon.processes().items() if found == kind)
        with channel_of(pid) as channel:
            channel.settimeout(10)
            with suppress(OSError):  # it is cut off in the middle
                attack(channel, address)
        time.sleep(0.3)
        await_health(daemon)
        assert daemon.pid == main, name
        assert len(os.listdir(f"/proc/{main}/fd")) <= held + 4, name
        assert memory_kib(main) - before < MAX_GROWTH_KIB, name
    assert daemon.api("GET", "/v1/records?limit=50")[0] == 200
    policy = {"text": "version: 1\nnetwork_policies: {}\n", "source": "p"}
    assert daemon.api("PUT", "/v1/sandboxes/a/policy", policy)[0] == 200
