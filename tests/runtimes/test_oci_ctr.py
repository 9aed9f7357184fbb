"""containerd's own client with netmgr-runc as the shim's runtime."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtimes.containerd import Containerd, load_image
from runtimes.docker import kill
from runtimes.leftovers import assert_nothing_is_left, sandboxes
from runtimes.machine import Machine
from runtimes.podman import Podman, box_tree
from runtimes.site import PROGRAMS, RUNTIME, Site, probe

pytestmark = pytest.mark.root

OURS = ("--runc-binary", RUNTIME)
AGENT = ("--annotation", "netmgr.policy=agent")
MOUNTS = tuple(
    word
    for place in PROGRAMS
    for word in ("--mount", f"type=bind,src={place},dst={place},options=rbind:ro")
)


@pytest.fixture(scope="module")
def tree(site: Site, containerd: Containerd) -> Path:
    return box_tree(site.machine.own)


@pytest.fixture(autouse=True)
def clean(site: Site, tree: Path) -> Iterator[None]:
    yield
    for task in site.machine.must("ctr", "task", "ls", "-q").split():
        site.machine.run("ctr", "task", "kill", "-s", "9", task)
        site.machine.run("ctr", "task", "rm", "-f", task)
    for container in site.machine.must("ctr", "container", "ls", "-q").split():
        site.machine.must("ctr", "container", "rm", container)
    site.assert_nothing_is_left()


def run(*argv: str) -> tuple[str, ...]:
    return ("ctr", "run", *OURS, *argv)


def test_names_trust_and_the_fence_are_there(site: Site, tree: Path) -> None:
    words = run("--rm", *AGENT, *MOUNTS, "--rootfs", str(tree), "box")
    site.judge(site.machine.must(*words, *probe()))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--net-host",), "--network=none"),
        (("--privileged",), "CAP_NET_ADMIN"),
        (("--cap-add", "CAP_SYS_ADMIN"), "CAP_SYS_ADMIN"),
    ],
)
def test_the_reason_reaches_whoever_ran_ctr(
    site: Site, tree: Path, flags: tuple[str, ...], told: str
) -> None:
    done = site.machine.run(*run("--rm", *flags, "--rootfs", str(tree), "box", "/bin/id"))
    assert done.returncode != 0
    assert told in done.stderr


def test_a_killed_shim_and_a_restarted_containerd(site: Site, tree: Path) -> None:
    site.machine.must(*run("-d", *AGENT, "--rootfs", str(tree), "box", "/bin/sleep", "600"))
    sandbox = site.the_sandbox()
    assert sandbox["name"] == "box"
    (shim,) = [
        pid
        for pid, words in site.machine.processes().items()
        if "containerd-shim" in words and "-id box" in words
    ]
    kill(shim)
    assert site.checks_out("box")
    site.machine.must("netmgr", "oci", "gc", "--older-than", "0")
    left = site.sandboxes()
    # Where the shim's end took the container along, its sandbox went with it; else it lives on.
    assert left in ([], [sandbox])


def test_one_id_in_two_namespaces_is_two_containers(site: Site, tree: Path) -> None:
    site.machine.must(*run("-d", *AGENT, "--rootfs", str(tree), "box", "/bin/sleep", "600"))
    words = run("--rm", *AGENT, "--rootfs", str(tree), "box", "/bin/id")
    done = site.machine.run("ctr", "-n", "other", *words[1:])
    assert done.returncode != 0
    assert "exists with other parameters" in done.stderr
    assert site.checks_out("box")
    site.machine.run("ctr", "-n", "other", "container", "rm", "box")


HANDLER = f"""
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wrapped]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wrapped.options]
    BinaryName = "{RUNTIME}"
"""


def test_a_class_of_pods_joins_what_the_cni_plugin_made(machine: Machine) -> None:
    """The plugin has the policy and the door; the runtime adds names, trust and variables."""
    Site(machine)
    machine.must("netmgr", "cni", "install")
    plugin = {"type": "netmgr", "policy": "agent"}
    network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]}
    machine.write("etc/cni/net.d/pods.conflist", json.dumps(network))
    Podman(machine)
    with Containerd(machine, HANDLER) as engine:
        load_image(machine)
        pod = engine.run_pod("classed", handler="wrapped")
        try:
            status, hosts = pod.shell("cat /etc/hosts; env")
            assert status == 0
            assert "inference.local" in hosts
            assert "SSL_CERT_FILE=/" in hosts
            assert len(sandboxes(machine)) == 1
        finally:
            pod.remove()
    assert_nothing_is_left(machine)
