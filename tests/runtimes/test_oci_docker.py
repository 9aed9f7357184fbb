"""Docker with netmgr-runc among its runtimes: one runtime for each policy, and no network of
Docker's inside, whatever was asked for."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from runtimes.containerd import Containerd
from runtimes.docker import Docker, kill
from runtimes.podman import IMAGE
from runtimes.site import RUNTIME, Site, probe, volumes

pytestmark = pytest.mark.root

RUNTIMES = {
    "netmgr": {"path": RUNTIME},
    "netmgr-agent": {"path": RUNTIME, "runtimeArgs": ["--netmgr-policy=agent"]},
}
AGENT = ("--runtime", "netmgr-agent")


@pytest.fixture(scope="module")
def docker(site: Site, containerd: Containerd) -> Iterator[Docker]:
    with Docker(site.machine, RUNTIMES) as made:
        yield made


@pytest.fixture(autouse=True)
def clean(site: Site, docker: Docker) -> Iterator[None]:
    yield
    docker.remove_all()
    site.assert_nothing_is_left()


def start(docker: Docker, *argv: str) -> str:
    """The id of a container that sleeps."""
    return docker.must("run", "-d", *argv, IMAGE, "sleep", "600").strip()


def test_names_trust_and_the_fence_are_there(site: Site, docker: Docker) -> None:
    words = ("run", "--rm", *AGENT, *volumes(), IMAGE)
    site.judge(docker.must(*words, *probe()))


def test_a_runtime_is_bound_to_its_policy(site: Site, docker: Docker) -> None:
    container = start(docker, *AGENT)
    sandbox = site.the_sandbox()
    assert sandbox["name"] == container[:12]
    assert (sandbox["labels"]["container"], sandbox["labels"]["policy"]) == (container, "agent")
    words = ("docker", "run", "--rm", "--runtime", "netmgr", *volumes(), IMAGE)
    refused = docker.machine.run(*words, *probe("allowed"))
    assert "URLError" in refused.stderr  # the other runtime has none: models alone


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--network", "host"), "the host's network namespace"),
        (("--privileged",), "CAP_NET_ADMIN in the host's user namespace"),
        (("--cap-add", "SYS_ADMIN"), "CAP_SYS_ADMIN"),
        (("--pid", "host"), "--pid=host"),
        (("--network", "container:other"), "--network=none"),
    ],
)
def test_the_reason_reaches_whoever_ran_docker(
    docker: Docker, flags: tuple[str, ...], told: str
) -> None:
    if "container:other" in flags:
        start(docker, "--name", "other", "--network", "host")  # with runc itself
    done = docker.machine.run("docker", "run", "--rm", *AGENT, *flags, IMAGE, "id")
    assert done.returncode == 125
    assert told in done.stderr


def test_dockers_networks_stay_outside(site: Site, docker: Docker) -> None:
    """A second door, at the creation and afterwards."""
    docker.must("network", "create", "second")
    start(docker, *AGENT, "--name", "joined", "--network", "second")
    links = docker.must("exec", "joined", "ip", "-o", "link")
    assert len(links.splitlines()) == 2  # lo and ours
    docker.machine.run("docker", "network", "connect", "second", "joined")
    assert docker.must("exec", "joined", "ip", "-o", "link") == links
    assert site.checks_out(site.the_sandbox()["name"])
    docker.remove_all()
    docker.must("network", "rm", "second")


def test_names_and_files_of_dockers_are_joined_with_ours(site: Site, docker: Docker) -> None:
    """--dns, --add-host, a network with aliases, a read-only root: as a composition has them."""
    docker.must("network", "create", "stack")
    flags = ("--network", "stack", "--network-alias", "web", "--dns", "192.0.2.8", "--read-only")
    flags = (*flags, "--add-host", "db.corp.example:192.0.2.9", "--restart", "always")
    start(docker, *AGENT, *flags, *volumes(), "--name", "web-1")
    site.judge(docker.must("exec", "web-1", *probe("allowed", "denied")))
    resolver = docker.must("exec", "web-1", "cat", "/etc/resolv.conf")
    assert "nameserver 169.254.77.1" in resolver
    assert "192.0.2.8" not in resolver
    hosts = docker.must("exec", "web-1", "cat", "/etc/hosts")
    assert "db.corp.example" in hosts
    assert "inference.local" in hosts
    docker.must("kill", "web-1")  # by command, so nothing starts it again
    docker.must("start", "web-1")
    site.judge(docker.must("exec", "web-1", *probe("allowed")))
    docker.must("rm", "-f", "web-1")
    docker.must("network", "rm", "stack")


def test_exec_is_judged_and_trusts(site: Site, docker: Docker) -> None:
    start(docker, *AGENT, *volumes(), "--name", "exec")
    site.judge(docker.must("exec", "exec", *probe("sdk")))
    done = docker.machine.run("docker", "exec", "--privileged", "exec", "id")
    assert done.returncode != 0
    assert "CAP_NET_ADMIN" in done.stdout + done.stderr


@pytest.mark.parametrize(("kit", "sandboxed"), [("0", True), ("1", False)])
def test_steps_of_a_build_have_a_sandbox_unless_it_is_buildkits(
    site: Site, docker: Docker, kit: str, sandboxed: bool
) -> None:
    """docs/runtimes/docker.md: BuildKit starts runc by itself, whatever the default runtime is."""
    machine = docker.machine
    kept = (machine.own / "etc/docker/daemon.json").read_text()
    standing = json.dumps({"runtimes": RUNTIMES, "default-runtime": "netmgr-agent"})
    machine.write("etc/docker/daemon.json", standing)
    lines = ("FROM localhost/box", f"LABEL kit={kit}", "RUN env; cat /etc/hosts")
    machine.write("opt/step/Dockerfile", "\n".join(lines))
    try:
        docker.reload()
        env = machine.env | {"DOCKER_BUILDKIT": kit, "BUILDKIT_PROGRESS": "plain"}
        words = ("docker", "build", "--no-cache", "--network", "none", "/opt/step")
        done = machine.run(*words, env=env)
    finally:
        machine.write("etc/docker/daemon.json", kept)
        docker.reload()
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert ("SSL_CERT_FILE=/" in said and "inference.local" in said) is sandboxed


@pytest.mark.newer
def test_a_device_brings_trust_to_who_joins_a_sandbox(site: Site, docker: Docker) -> None:
    """CDI came with Docker 25. docs/runtimes/cdi.md: Docker's own runtime, and the device."""
    start(docker, *AGENT, "--name", "door")
    name = site.the_sandbox()["name"]
    docker.machine.must("netmgr", "cdi", "generate", name)
    join = ("--network", "container:door", "--device", f"netmgr.dev/sandbox={name}")
    site.judge(docker.must("run", "--rm", *join, *volumes(), IMAGE, *probe()))
    docker.machine.must("netmgr", "cdi", "remove", "--all")


def test_a_restart_and_a_new_dockerd(site: Site, docker: Docker) -> None:
    start(docker, *AGENT, *volumes(), "--name", "kept")
    docker.must("restart", "-t", "0", "kept")
    site.judge(docker.must("exec", "kept", *probe("allowed", "denied")))
    docker.kill()
    assert site.checks_out(site.the_sandbox()["name"])
    docker.start()
    site.judge(docker.must("exec", "kept", *probe("allowed", "denied")))
    docker.must("rm", "-f", "kept")
    site.assert_nothing_is_left()


def test_a_killed_shim_leaves_what_gc_finds(site: Site, docker: Docker) -> None:
    container = start(docker, *AGENT, "--name", "lost")
    inspected = json.loads(docker.must("inspect", "lost"))[0]
    (shim,) = [
        pid for pid, words in docker.machine.processes().items()
        if "containerd-shim" in words and container in words
    ]  # fmt: skip
    name = site.the_sandbox()["name"]
    kill(shim)
    assert site.checks_out(name)
    if pid := inspected["State"]["Pid"]:
        with suppress(ProcessLookupError):  # dockerd may have ended it for want of its shim
            kill(pid)
    end = time.monotonic() + 10
    while site.sandboxes():
        site.machine.must("netmgr", "oci", "gc", "--older-than", "0")
        assert time.monotonic() < end
        time.sleep(0.1)
    site.assert_nothing_is_left()


def test_a_container_starts_again_after_all_were_killed(site: Site, docker: Docker) -> None:
    """Its sandbox is still there, with nobody in it: the same container, the same door."""
    container = start(docker, *AGENT, *volumes(), "--name", "back")
    inspected = json.loads(docker.must("inspect", "back"))[0]
    docker.kill()
    for pid, words in docker.machine.processes().items():
        if "containerd-shim" in words and container in words:
            kill(pid)
    kill(inspected["State"]["Pid"])
    docker.start()
    docker.machine.run("docker", "start", "back")
    site.judge(docker.must("exec", "back", *probe("allowed", "denied")))
    assert len(site.sandboxes()) == 1
