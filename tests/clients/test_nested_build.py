"""`podman build` inside a sandbox: what its RUN steps trust, without and with docs/trust.md.

The sandbox is a container with a user namespace of its own, as one that builds images has to be.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clients.build_context import BUNDLE, make_context
from world import World
from world.environment import clean_environment

pytestmark = pytest.mark.root

DOCKERFILE = """\
FROM scratch
ADD root /
RUN ["/bin/curl", "-sS", "-o", "/dev/null", "-w", "answered %{http_code}", \
"https://inference.local/"]
"""
CONTAINERS_CONF = f"""\
[containers]
volumes = ["{{bundle}}:{BUNDLE}:ro"]
env = ["SSL_CERT_FILE={BUNDLE}"]
"""
BUILD_S = 60.0


@pytest.fixture(scope="module")
def context(world: World) -> Iterator[Path]:
    path = world.directory / "build"
    make_context(path, DOCKERFILE)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def build(world: World, context: Path) -> Iterator[Callable[..., str]]:
    """Build the context inside a sandbox; what podman said."""
    storage = world.directory / "build-storage"
    words = ["unshare", "--user", "--net", "--mount", "sleep", "600"]
    child = subprocess.Popen(world.host.command(*words), env=clean_environment())
    _give_ids(child.pid)
    words = ["sandbox", "create", "builds", "--pid", str(child.pid), "-o", "json"]
    box = json.loads(world.netmgr(*words).stdout)
    enter = ["nsenter", "--target", str(child.pid), "--net", "--mount", "--user"]
    enter += ["--setuid", "0", "--setgid", "0"]
    for mount in box["mounts"]:
        if mount["target"].startswith("/etc/") and Path(mount["target"]).exists():
            target = os.path.realpath(mount["target"])
            subprocess.run([*enter, "mount", "--bind", mount["source"], target], check=True)
    podman = ["podman", "--root", str(storage / "root"), "--runroot", str(storage / "run")]
    podman += ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
    podman += ["build", "--no-cache", "--isolation", "chroot", "--network", "host"]

    def run(*options: str, **env: str) -> str:
        inner = clean_environment(**box["env"], HOME=str(storage), **env)
        done = subprocess.run(
            [*enter, *podman, *options, str(context)],
            env=inner, capture_output=True, text=True, timeout=BUILD_S, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    run.bundle = box["files"]["ca_bundle"]  # type: ignore[attr-defined]
    yield run
    child.kill()
    child.wait()
    world.netmgr("sandbox", "delete", "builds")
    shutil.rmtree(storage, ignore_errors=True)


def _give_ids(pid: int) -> None:
    """A user namespace with all of the host's ids under their own names: podman needs a range."""
    own = os.readlink("/proc/self/ns/user")
    deadline = time.monotonic() + 10
    while os.readlink(f"/proc/{pid}/ns/user") == own:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}", name).write_text("0 0 65536")


def test_a_step_of_a_build_does_not_trust_by_itself(build: Callable[..., str]) -> None:
    said = build()
    assert "error setting certificate file" in said or "SSL certificate problem" in said
    assert "answered 000" in said


def test_a_mount_and_a_variable_make_it_trust(build: Any) -> None:
    said = build("-v", f"{build.bundle}:{BUNDLE}:ro", "--env", f"SSL_CERT_FILE={BUNDLE}")
    assert "answered 403" in said


def test_a_setting_makes_every_build_trust(build: Any, tmp_path: Path) -> None:
    conf = tmp_path / "containers.conf"
    conf.write_text(CONTAINERS_CONF.format(bundle=build.bundle))
    assert "answered 403" in build(CONTAINERS_CONF=str(conf))
