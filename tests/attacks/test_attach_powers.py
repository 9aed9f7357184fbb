"""Attaching a running container: refused where it could reach past its one door.

With CAP_NET_ADMIN in the host's user namespace a process reads and cuts off other sandboxes through
the id that its veth gives it of the hub, whatever rules stand.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from world import World

pytestmark = pytest.mark.root

DROP = ("setpriv", "--bounding-set", "-net_admin,-sys_admin", "--inh-caps", "-all")
WAIT = ("sleep", "60")


@contextmanager
def container(*argv: str) -> Iterator[int]:
    """A process in a network namespace of its own; its pid."""
    own = os.stat("/proc/self/ns/net").st_ino
    process = subprocess.Popen(argv)
    try:
        end = time.monotonic() + 10
        while True:
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            inode = os.stat(f"/proc/{process.pid}/ns/net").st_ino
            if inode != own and words.startswith(b"sleep"):
                break
            assert time.monotonic() < end
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("argv", "refused"),
    [
        (("unshare", "-n", *WAIT), True),
        (("unshare", "-n", "setpriv", "--bounding-set", "-net_admin", *WAIT), True),
        (("unshare", "-n", *DROP, *WAIT), False),
        (("unshare", "-Urn", *WAIT), False),
    ],
    ids=["all powers", "one of both", "neither", "user namespace of its own"],
)
def test_powers_decide(world: World, argv: tuple[str, ...], refused: bool) -> None:
    with container(*argv) as pid:
        done = world.netmgr("sandbox", "create", "powers", "--pid", str(pid))
        try:
            assert (done.returncode != 0) is refused, done.stderr
            if refused:
                assert f"pid {pid} holds CAP_" in done.stderr
                assert "user namespace" in done.stderr
        finally:
            if done.returncode == 0:
                world.netmgr("sandbox", "delete", "powers")


def test_a_runtime_that_still_holds_all_is_taken_at_its_callers_word(world: World) -> None:
    with container("unshare", "-n", *WAIT) as pid:
        wanted = {"name": "starting", "attach": {"pid": pid, "starting": True}}
        status, answer = world.netmgrd.api("POST", "/v1/sandboxes", wanted)
        assert status == 201, answer
        try:
            again = wanted | {"name": "second"}
            status, answer = world.netmgrd.api("POST", "/v1/sandboxes", again)
            assert status == 409
            assert answer["error"]["details"] == {"sandbox": "starting"}
        finally:
            world.netmgr("sandbox", "delete", "starting")


def test_nobody_else_in_the_namespace_is_taken_at_that_word(world: World) -> None:
    with container("unshare", "-n", *WAIT) as pid:
        enter = ("nsenter", "--net", f"--target={pid}")
        with container(*enter, *DROP, *WAIT) as second:
            wanted = {"name": "starting", "attach": {"pid": second, "starting": True}}
            status, answer = world.netmgrd.api("POST", "/v1/sandboxes", wanted)
            assert status == 403
            assert f"pid {pid} holds CAP_" in answer["error"]["message"]


def test_only_a_process_can_be_starting(world: World) -> None:
    wanted = {"name": "starting", "attach": {"netns": "/run/netns/x", "starting": True}}
    status, answer = world.netmgrd.api("POST", "/v1/sandboxes", wanted)
    assert status == 422
    assert "goes with pid" in answer["error"]["message"]
