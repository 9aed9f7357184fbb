"""`docker build` by buildx and Docker 26's BuildKit, by a dockerd inside a sandbox: what its RUN
steps trust, without and with docs/trust.md. tests/clients has the same with Debian 12's Docker."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clients.build_context import make_context
from clients.test_nested_buildkit import BUILD_S, DOCKERFILE, ENTER, NEEDS, READY_S, STOP_S
from runtimes.machine import Machine

pytestmark = [pytest.mark.root, pytest.mark.newer]

BOX = "kit"


@pytest.fixture(scope="module")
def build(machine: Machine) -> Iterator[Callable[..., Any]]:
    """Build the context by the sandbox's dockerd; what docker said."""
    world = machine.world
    machine.must("netmgr", "sandbox", "create", BOX)
    home = world.directory / BOX
    make_context(home / "context", DOCKERFILE)
    socket = f"unix://{home}/socket"
    places = ("--data-root", f"{home}/data", "--exec-root", f"{home}/exec", "-H", socket)
    words = ("/usr/sbin/dockerd", *places, "--pidfile", f"{home}/pid", *NEEDS)
    words += ("--default-ulimit", "nofile=1024:1024")
    files = world.netmgrd.run_dir / "sandboxes" / BOX
    with (home / "log").open("wb") as log:
        enter = ("nsenter", f"--net=/run/netns/{world.id}-{BOX}", "unshare", "--mount")
        process = machine.start(
            *(*enter, "sh", "-ec", ENTER, "-", *words),
            env=machine.env | {"FILES": str(files)}, stdout=log, stderr=log,
        )  # fmt: skip
    env = machine.env | {"DOCKER_HOST": socket, "HOME": str(home)}
    try:
        deadline = time.monotonic() + READY_S
        while machine.run("docker", "info", env=env).returncode:
            assert process.poll() is None, (home / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, (home / "log").read_text()[-3000:]
            time.sleep(0.2)

        def run(*options: str) -> "subprocess.CompletedProcess[str]":
            words = ("buildx", "build", "--progress", "plain", "--no-cache", "--network", "host")
            words = (*words, *options, str(home / "context"))
            return machine.run("docker", *words, env=env, timeout=BUILD_S)

        run.bundle = f"{files}/ca-bundle.pem"  # type: ignore[attr-defined]
        yield run
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)
    machine.must("netmgr", "sandbox", "delete", BOX)


def test_a_step_does_not_trust_by_itself(build: Callable[..., Any]) -> None:
    done = build()
    assert "exit code: 77" in done.stderr  # CURLE_SSL_CACERT_BADFILE: the empty list
    assert done.returncode != 0


def test_a_secret_makes_it_trust(build: Callable[..., Any]) -> None:
    done = build("--secret", f"id=ca,src={build.bundle}")
    assert done.returncode == 0, done.stderr
    assert "answered 403" in done.stderr
