"""Rootless podman: what works with it, and what fails closed (docs/runtimes/rootless.md)."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtimes.podman import IMAGE, Podman, box_image
from runtimes.site import RUNTIME, Site
from world.environment import READABLE

pytestmark = pytest.mark.root

UID = "1999"
HOME = "/var/lib/worker"
RUN = f"/run/user/{UID}"
SYSTEM_PYTHON = Path("/usr/bin/python3")  # the tests' own may be root's alone to read
# Where the tests' own copy of netmgr is root's alone to read, it does not get that far.
REFUSAL = "ermission denied" if READABLE else "No module named 'netmgr_cli'"
_SETUP = f"""
set -e
echo worker:x:{UID}:{UID}::{HOME}:/bin/sh >> /etc/passwd
echo worker:x:{UID}: >> /etc/group
echo worker:200000:65536 | tee /etc/subuid > /etc/subgid
mkdir -p {HOME} {RUN} && chown {UID}:{UID} {HOME} {RUN} && chmod 700 {RUN}
cp "$TAR" {HOME}/box.tar && chmod 644 {HOME}/box.tar
"""


class Worker:
    """A user without privileges and its podman."""

    def __init__(self, site: Site) -> None:
        self.machine = site.machine

    def podman(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """`podman ARGV...` as that user."""
        who = ("setpriv", "--reuid", UID, "--regid", UID, "--clear-groups", "env", "-i")
        env = (
            f"HOME={HOME}",
            f"XDG_RUNTIME_DIR={RUN}",
            "USER=worker",
            "PATH=/usr/bin:/bin:/usr/sbin",
        )
        words = ("/usr/bin/podman", "--storage-driver", "vfs", *argv)
        return self.machine.run(*who, *env, *words, cwd="/")

    def must(self, *argv: str) -> str:
        """The output of a podman command that has to succeed."""
        done = self.podman(*argv)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def worker(site: Site) -> Iterator[Worker]:
    machine = site.machine
    saved = {name: (machine.own / "etc" / name).read_bytes() for name in ("passwd", "group")}
    Podman(machine)  # its configuration of this kind of machine
    tar = box_image(machine.own)
    machine.must("sh", "-c", _SETUP, env=machine.env | {"TAR": str(tar)})
    made = Worker(site)
    made.must("import", "--quiet", f"{HOME}/box.tar", IMAGE)
    yield made
    made.must("rm", "--all", "--force", "--time", "0")
    pause = machine.own / f"run/user/{UID}/libpod/tmp/pause.pid"
    if pause.exists():
        os.kill(int(pause.read_text()), signal.SIGKILL)
    # What podman leaves behind to clean up after its containers may still write.
    again = f"for _ in 1 2 3 4 5; do rm -rf {HOME} {RUN} && exit; sleep 1; done; exit 1"
    machine.must("sh", "-c", again)
    for name, content in saved.items():
        (machine.own / "etc" / name).write_bytes(content)
    site.assert_nothing_is_left()


def test_a_running_container_is_attached_by_its_process(site: Site, worker: Worker) -> None:
    worker.must("run", "-d", "--name", "a", "--network", "none", IMAGE, "sleep", "600")
    pid = worker.must("inspect", "--format", "{{.State.Pid}}", "a").strip()
    policy = "/etc/netmgr/policies/agent.yaml"
    site.machine.must("netmgr", "sandbox", "create", "rootless", "--pid", pid, "--policy", policy)
    assert site.checks_out("rootless")
    server = "169.254.77.1"
    assert "198.18." in worker.must("exec", "a", "nslookup", "api.example.com", server)
    denied = worker.podman("exec", "a", "nslookup", "evil.example.com", server)
    assert "NXDOMAIN" in denied.stdout
    # With every capability: over its own end, and nobody else's.
    links = worker.must("exec", "--privileged", "a", "ip", "-o", "link")
    assert len(links.splitlines()) == 2
    site.machine.must("netmgr", "sandbox", "delete", "rootless")


def test_the_runtime_fails_closed(site: Site, worker: Worker) -> None:
    directory = site.machine.own / "opt/system"
    directory.mkdir()
    python = ("--python", str(SYSTEM_PYTHON), "--runtime", "/usr/sbin/runc")
    site.machine.must("netmgr", "oci", "install", *python, "/opt/system")
    for runtime in (RUNTIME, "/opt/system/netmgr-runc"):
        done = worker.podman("--runtime", runtime, "run", "--network", "none", IMAGE, "id")
        assert done.returncode != 0
        assert REFUSAL in done.stderr
        assert "uid=" not in done.stdout
