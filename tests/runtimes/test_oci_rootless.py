"""Rootless podman: what works with it, and what fails closed (docs/runtimes/rootless.md)."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from runtimes.podman import IMAGE, Podman, box_image
from runtimes.site import RUNTIME, Site
from world.environment import READABLE

pytestmark = pytest.mark.root

UID = "1999"
GROUP = 1997
HOME = "/var/lib/worker"
RUN = f"/run/user/{UID}"
SYSTEM_PYTHON = "/usr/bin/python3"  # the tests' own may be root's alone to read
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


# As on most hosts, whatever this one allows: who has a network namespace may have tunnels there.
_TUNNELS = "mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200"


class Worker:
    """A user without privileges and its podman."""

    def __init__(self, site: Site) -> None:
        self.machine = site.machine

    def podman(
        self, *argv: str, group: int | None = None, before: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """`podman ARGV...` as that user.

        Args:
            group: one more that the user is in.
            before: words of a command that runs it.
        """
        groups = ("--clear-groups",) if group is None else (f"--groups={group}",)
        who = (*before, "setpriv", "--reuid", UID, "--regid", UID, *groups, "env", "-i")
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
    machine.must("sh", "-c", _TUNNELS)
    made.must("import", "--quiet", f"{HOME}/box.tar", IMAGE)
    yield made
    machine.must("umount", "/dev/net")
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


@pytest.fixture(scope="module")
def copied(site: Site) -> str:
    """A runtime that everybody may read, interpreter and all."""
    words = ("--copy-to", "/opt/system", "--python", SYSTEM_PYTHON, "--runtime", "/usr/sbin/runc")
    site.machine.must("netmgr", "oci", "install", *words, "/opt/system")
    return "/opt/system/netmgr-runc"


def test_the_runtime_fails_closed(worker: Worker, copied: str) -> None:
    for runtime, told in ((RUNTIME, REFUSAL), (copied, "ermission denied")):
        done = worker.podman("--runtime", runtime, "run", "--network", "none", IMAGE, "id")
        assert done.returncode != 0
        assert told in done.stderr
        assert "uid=" not in done.stdout


def test_the_sockets_group_does_not_help(site: Site, worker: Worker, copied: str) -> None:
    socket = site.daemon.run_dir / "api.sock"
    before = socket.stat()
    os.chown(socket, 0, GROUP)  # as netmgr makes it where there is such a group
    socket.chmod(0o660)
    words = ("--runtime", copied, "run", "--network", "none", IMAGE, "id")
    try:
        done = worker.podman(*words, group=GROUP)
    finally:
        os.chown(socket, 0, before.st_gid)
        socket.chmod(before.st_mode & 0o777)
    assert done.returncode != 0
    assert "setns into net namespace: Operation not permitted" in done.stderr
    assert "uid=" not in done.stdout
    assert site.sandboxes() == []


@pytest.mark.parametrize("network", ["host", "slirp4netns"])
def test_podman_inside_a_sandbox_shares_its_door(site: Site, worker: Worker, network: str) -> None:
    policy = "/etc/netmgr/policies/agent.yaml"
    site.machine.must("netmgr", "sandbox", "create", "outer", "--policy", policy)
    netns = site.the_sandbox()["netns"]
    script = (
        "nslookup api.example.com 169.254.77.1; nslookup evil.example.com 169.254.77.1; "
        "nc -w 5 192.0.2.254 80 </dev/null || echo refused: $?"
    )
    words = ("run", "--rm", "--network", network, IMAGE, "sh", "-c", script)
    done = worker.podman(*words, before=("nsenter", f"--net={netns}"))
    assert "198.18." in done.stdout, done.stderr
    assert "NXDOMAIN" in done.stdout
    assert "refused: 1" in done.stdout
    site.machine.must("netmgr", "sandbox", "delete", "outer")
