"""Trust, judged by the programs themselves: `netmgr trust doctor` in sandboxes that have what
netmgr gives, and in containers that have not."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from world import World
from world.environment import clean_environment

from netmgr_cli.trust_programs import NSS_READERS

pytestmark = pytest.mark.root

# What packaging/setup.sh installs. Others (go, cargo, deno) are asked where they are.
EVERYWHERE = {"curl", "wget", "git", "openssl", "python ssl", "java", "ruby"}
if shutil.which("node"):  # the tests' own Node is on nobody's path
    EVERYWHERE.add("node")
# A browser reads no database but a user's own, and nobody has none.
BROWSERS = [name for name in NSS_READERS if shutil.which(name)]
DOCTOR_S = 300.0  # sixteen programs; Java and Go take seconds each on two busy cores
POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")


def examine(world: World, name: str, *words: str) -> tuple[int, dict[str, Any]]:
    """The doctor's status and what it found, by program."""
    done = world.netmgr("trust", "doctor", name, "-o", "json", *words, timeout=DOCTOR_S)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    return done.returncode, {item["name"]: item for item in found["programs"]} | {"": found}


def test_every_program_trusts_where_netmgr_runs_the_command(
    world: World, make_sandbox: Callable[..., Any]
) -> None:
    box = make_sandbox()
    made = world.netmgr("trust", "stores", box.name, "java", "nss")
    assert made.returncode == 0, made.stderr
    status, found = examine(world, box.name)
    doubtful = [name for name, item in found.items() if name and item["verdict"] != "trusts"]
    assert doubtful == (["nss"] if BROWSERS else [])
    assert (status, found[""]["ok"]) == ((1, False) if BROWSERS else (0, True))
    assert {*EVERYWHERE, "nss"} <= found.keys()
    assert found[""]["where"] == "the host's files, as user nobody"


@pytest.fixture
def container(world: World) -> Iterator[Callable[..., int]]:
    """A process in namespaces of its own, as a container's first one is; its pid."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*unshare: str, **env: str) -> int:
        words = ["unshare", "--net", "--mount", *unshare, "sleep", "600"]
        child = subprocess.Popen(world.host.command(*words), env=clean_environment(**env))
        started.append(child)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{child.pid}/comm").read_text().strip() != "sleep":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return child.pid

    yield start
    for child in started:
        child.kill()
        child.wait()
    world.netmgr("sandbox", "delete", "boxed")


def test_a_container_is_examined_with_its_own_files_and_environment(
    world: World, container: Callable[..., int]
) -> None:
    pid = container("--user", "--map-root-user")
    done = world.netmgr("sandbox", "create", "boxed", "--pid", str(pid), "-o", "json")
    box = json.loads(done.stdout)
    status, found = examine(world, "boxed")
    assert (status, found[""]["ok"]) == (1, False)
    assert found[""]["where"] == f"the container of pid {pid}"
    assert found["curl"]["verdict"] == "does_not_trust"
    assert found["curl"]["remedy"] == [f"CURL_CA_BUNDLE={box['env']['CURL_CA_BUNDLE']}"]
    assert found["java"]["remedy"] == ["netmgr trust stores boxed java"]


def test_each_container_of_a_pod_is_examined(world: World, container: Callable[..., int]) -> None:
    first = container(*POWERLESS)
    words = ["nsenter", f"--net=/proc/{first}/ns/net", "unshare", "--mount", *POWERLESS]
    with subprocess.Popen([*words, "sleep", "600"], env=clean_environment()) as second:
        try:
            done = world.netmgr("sandbox", "create", "boxed", "--pid", str(first))
            assert done.returncode == 0, done.stderr
            _, found = examine(world, "boxed")
            places = {item["where"] for item in found[""]["programs"]}
            assert places == {f"the container of pid {pid}" for pid in (first, second.pid)}
        finally:
            second.kill()


def test_the_bundle_in_its_place_serves_those_that_read_it(
    world: World, container: Callable[..., int]
) -> None:
    pid = container(*POWERLESS)
    done = world.netmgr("sandbox", "create", "boxed", "--pid", str(pid), "-o", "json")
    bundle = os.path.realpath("/etc/ssl/certs/ca-certificates.crt")
    words = ["mount", "--bind", json.loads(done.stdout)["files"]["ca_bundle"], bundle]
    subprocess.run(["nsenter", "--target", str(pid), "--mount", *words], check=True)
    status, found = examine(world, "boxed")
    merged = ("curl", "wget", "git", "openssl", "ruby")
    assert [found[name]["verdict"] for name in merged] == ["trusts"] * len(merged)
    assert found["java"]["verdict"] == "does_not_trust"
    if "node" in EVERYWHERE:
        assert found["node"]["verdict"] == "does_not_trust"
    assert status == 1


def test_a_container_with_what_the_api_answers_trusts(
    world: World, container: Callable[..., int]
) -> None:
    """Its variables and its stores; a container is started with them, so they are known before:
    the paths follow from the sandbox's name."""
    env = json.loads(world.netmgr("sandbox", "create", "first", "-o", "json").stdout)["env"]
    env = {key: value.replace("/first/", "/boxed/") for key, value in env.items()}
    world.netmgr("sandbox", "delete", "first")
    pid = container(*POWERLESS, **env)
    words = ["--pid", str(pid), "--trust-store", "java"]
    box = json.loads(world.netmgr("sandbox", "create", "boxed", *words, "-o", "json").stdout)
    for mount in box["mounts"]:
        if Path(mount["target"]).exists() and mount["source"] != mount["target"]:
            target = os.path.realpath(mount["target"])
            enter = ["nsenter", "--target", str(pid), "--mount"]
            subprocess.run([*enter, "mount", "--bind", mount["source"], target], check=True)
    _, found = examine(world, "boxed")
    wrong = {n for n, item in found.items() if n and item["verdict"] != "trusts"}
    assert wrong <= {"python certifi", "nss"}


def test_there_is_no_such_sandbox(world: World) -> None:
    assert world.netmgr("trust", "doctor", "nobody").returncode == 3
