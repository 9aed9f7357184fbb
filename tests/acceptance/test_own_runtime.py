"""A runtime that somebody wrote with `netmgr.Client`: examples/runtime, as its users run it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from world import World
from world.environment import clean_environment
from world.web import fixed

import netmgr

pytestmark = pytest.mark.root

BOXED = Path(__file__).parents[2] / "examples" / "runtime" / "boxed.py"
SITE = "own-runtime.test"


def boxed(world: World, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        world.host.command(sys.executable, str(BOXED), *words),
        env=clean_environment(NETMGR_SOCKET=str(world.netmgrd.socket)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def done(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


def test_its_container_reaches_what_is_allowed_and_nothing_else(world: World) -> None:
    world.internet.https(SITE, fixed(b"hello\n"))
    curl = ["curl", "-sS", "-m", "10"]
    status, out, err = done(boxed(world, "own", "--allow", SITE, "--", *curl, f"https://{SITE}/"))
    assert (status, out) == (0, "hello\n"), err
    status, out, _ = done(boxed(world, "own", "--", *curl, f"https://{SITE}/"))
    assert status == 6  # "could not resolve host"
    ask = [*curl, "-o", "/dev/null", "-w", "%{ssl_verify_result}", "https://inference.local/"]
    assert done(boxed(world, "own", "--", *ask))[:2] == (0, "0")
    powers = done(boxed(world, "own", "--", "grep", "Cap", "/proc/self/status"))[1]
    assert {line.split()[1] for line in powers.splitlines()} == {"0" * 16}
    assert world.netmgrd.api("GET", "/v1/sandboxes/own")[0] == 404
    assert done(boxed(world, "own", "--", "sh", "-c", "exit 7"))[0] == 7
    assert done(boxed(world, "Own", "--", "true"))[0] == 2


def test_what_a_killed_runtime_left_the_next_one_removes(make_world: Callable[[], World]) -> None:
    world = make_world()
    world.daemon()
    with netmgr.Client(str(world.netmgrd.socket)) as client:
        child = boxed(world, "left", "--", "sh", "-c", "echo up; exec sleep 60 >&- 2>&-")
        assert child.stdout is not None
        child.stdout.readline()
        [left] = client.sandbox_list(["runtime=boxed"])["sandboxes"]
        client.sandbox_create("others")
        child.kill()
        child.communicate()
        assert done(boxed(world, "next", "--", "true"))[0] == 0
        names = {box["name"] for box in client.sandbox_list()["sandboxes"]}
        assert names == {"left", "others"}  # its program runs on
        _end(int(left["labels"]["pid"]))
        assert done(boxed(world, "next", "--", "true"))[0] == 0
        assert [box["name"] for box in client.sandbox_list()["sandboxes"]] == ["others"]
        assert client.sandbox_check("others")["ok"], json.dumps(client.sandbox_check("others"))


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
