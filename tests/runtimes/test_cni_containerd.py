"""netmgr as the CNI plugin of containerd's CRI: pods, as a kubelet makes them."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
import yaml
from runtimes import leftovers
from runtimes.containerd import PRIVILEGED, Containerd, Pod, load_image
from runtimes.docker import kill
from runtimes.leftovers import checks_out, names, sandboxes
from runtimes.machine import Machine
from runtimes.podman import Podman
from world.web import fixed

pytestmark = pytest.mark.root

DOCUMENT = Path(__file__).parents[2] / "docs/runtimes/cni.md"
# docs/runtimes/cni.md puts the guard into the runtime of all pods; here it has one of its own.
GUARDED = DOCUMENT.read_text().partition("```toml\n")[2].partition("```")[0]
MANIFESTS = Path(__file__).parents[2] / "packaging/kubernetes/netmgr.yaml"
POLICY = """\
version: 1
network_policies:
  api:
    endpoints: [{{host: {host}, port: 80}}]
    binaries: [{{path: "/**"}}]
"""
BRIDGE = {
    "type": "bridge",
    "bridge": "cni-pods",
    "isGateway": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.10.0/24"}]]},
}
NETMGR = {
    "type": "netmgr",
    "policy": "agents",
    "nameFrom": "pod",
    "earlierLinks": "remove",
    "selectable": {"policy": ["build"]},
    "capabilities": {"io.kubernetes.cri.pod-annotations": True},
}


@pytest.fixture(scope="module")
def containerd(machine: Machine) -> Iterator[Containerd]:
    machine.must("netmgr", "cni", "install")
    copy = ("--copy-to", "/opt/cni/netmgr", "--python", sys.executable)
    machine.must("netmgr", "oci", "install", *copy, "/opt/cni/netmgr")
    (machine.own / "opt/cni/bin/bridge").symlink_to("/usr/lib/cni/bridge")
    (machine.own / "opt/cni/bin/host-local").symlink_to("/usr/lib/cni/host-local")
    for name, host in (("agents", "api.example.com"), ("build", "registry.example.com")):
        machine.write(f"etc/netmgr/policies/{name}.yaml", POLICY.format(host=host))
        machine.world.internet.http(host, fixed(f"hello from {name}\n".encode()))
    conflist = {"cniVersion": "1.0.0", "name": "pods", "plugins": [BRIDGE, NETMGR]}
    machine.write("etc/cni/net.d/10-pods.conflist", json.dumps(conflist))
    Podman(machine)
    guard = "ctr oci spec | netmgr cni guard > /etc/containerd/guarded.json"
    (machine.own / "etc/containerd").mkdir()
    machine.must("sh", "-e", "-c", guard)
    with Containerd(machine, GUARDED.replace("runtimes.runc]", "runtimes.guarded]")) as made:
        load_image(machine)
        yield made
        made.remove_all()


def assert_nothing_is_left(machine: Machine) -> None:
    """Of ours, and of the plugin before us."""
    leftovers.assert_nothing_is_left(machine)
    assert addresses(machine) == [], "the earlier plugin's addresses are not freed"


def addresses(machine: Machine) -> list[str]:
    """What the plugin before us has given away."""
    leases = machine.own / "var/lib/cni/networks/pods"
    return [path.name for path in leases.glob("10.*")] if leases.exists() else []


CLEANED_S = 60.0  # process 1 may be slow to bury what the shim leaves
FETCH = "wget -q -O - http://{}/ || echo refused"


def test_a_pod_is_a_sandbox_behind_an_earlier_plugin(
    containerd: Containerd, machine: Machine
) -> None:
    pod = containerd.run_pod("web-0")
    assert names(machine) == ["team-web-0"]
    assert pod.shell("ip -o link | grep -c -v lo:") == (0, "1\n")
    assert pod.shell(FETCH.format("api.example.com")) == (0, "hello from agents\n")
    assert "refused" in pod.shell(FETCH.format("registry.example.com"))[1]
    [box] = sandboxes(machine)
    assert box["labels"]["pod.namespace"] == "team"
    assert box["labels"]["cni.container"] == pod.id
    pod.remove()
    assert_nothing_is_left(machine)


def test_an_annotation_chooses_among_what_is_offered(
    containerd: Containerd, machine: Machine
) -> None:
    pod = containerd.run_pod("web-1", {"netmgr.policy": "build"})
    assert pod.shell(FETCH.format("registry.example.com")) == (0, "hello from build\n")
    assert "refused" in pod.shell(FETCH.format("api.example.com"))[1]
    pod.remove()
    with pytest.raises(grpc.RpcError, match="does not offer"):
        containerd.run_pod("web-2", {"netmgr.policy": "everything"})
    assert_nothing_is_left(machine)


@pytest.mark.newer
def test_a_device_brings_trust_into_a_pod(containerd: Containerd, machine: Machine) -> None:
    """containerd 1.7 with enable_cdi; its predecessor has no CDI."""
    machine.must("netmgr", "cdi", "generate", "team-web-9")
    device = {"cdi.k8s.io/netmgr": "netmgr.dev/sandbox=team-web-9"}
    pod = containerd.run_pod("web-9", devices=device)
    look = "env | grep -c ^SSL_CERT_FILE; grep -c BEGIN $SSL_CERT_FILE; cat /etc/resolv.conf"
    status, said = pod.shell(look)
    assert (status, said.split()[0], said.split()[-1]) == (0, "1", "169.254.77.1"), said
    assert int(said.split()[1]) > 0
    pod.remove()
    machine.must("netmgr", "cdi", "remove", "--all")
    assert_nothing_is_left(machine)


def test_the_guard_refuses_a_pod_that_reaches_past_its_door(
    containerd: Containerd, machine: Machine
) -> None:
    """Chained, with the engine's own runtime: nothing of such a container runs at all."""
    pod = containerd.run_pod("web-7", handler="guarded")
    assert pod.shell(FETCH.format("api.example.com")) == (0, "hello from agents\n")
    pod.remove()
    for power in (PRIVILEGED, "NET_ADMIN", "SYS_ADMIN"):
        with pytest.raises(grpc.RpcError, match="in the host's user namespace"):
            containerd.run_pod("web-8", handler="guarded", powers=[power])
    assert_nothing_is_left(machine)


def test_containerd_may_be_killed_and_its_pods_live_and_go(
    containerd: Containerd, machine: Machine
) -> None:
    pod = containerd.run_pod("web-3")
    containerd.stop(9)
    containerd.start()
    assert pod.shell(FETCH.format("api.example.com")) == (0, "hello from agents\n")
    pod.remove()
    assert_nothing_is_left(machine)


def processes_of(pod: Pod, machine: Machine) -> list[int]:
    """Its shim, and the engine's programs that deal with it."""
    return [pid for pid, words in machine.processes().items() if pod.id in words]


def test_a_pods_shim_may_be_killed(containerd: Containerd, machine: Machine) -> None:
    pod = containerd.run_pod("web-6")
    (shim,) = processes_of(pod, machine)
    kill(shim)
    assert checks_out(machine, "team-web-6")
    deadline = time.monotonic() + CLEANED_S
    while pod.id in containerd.pods():  # as a kubelet: containerd 1.7 has to notice first
        assert time.monotonic() < deadline
        with suppress(grpc.RpcError):
            pod.remove()
    assert_nothing_is_left(machine)
    while left := processes_of(pod, machine):  # containerd cleans up aside
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_a_pod_cannot_go_while_the_daemon_is_away_and_goes_then(
    containerd: Containerd, machine: Machine
) -> None:
    """What could not be removed is not forgotten: the engine is told to try again."""
    pod = containerd.run_pod("web-4")
    daemon = machine.world.netmgrd
    daemon.kill()
    with pytest.raises(grpc.RpcError, match="no netmgr daemon"):
        pod.remove()
    with pytest.raises(grpc.RpcError, match="no netmgr daemon"):
        containerd.run_pod("web-5")
    assert len(addresses(machine)) == 1  # of the pod that was; the other's is freed at once
    daemon.start()
    assert names(machine) == ["team-web-4"]
    containerd.remove_all()
    assert_nothing_is_left(machine)


def test_a_runtime_class_has_sandboxes_and_other_pods_have_the_clusters_network(
    containerd: Containerd, machine: Machine
) -> None:
    """As packaging/kubernetes and docs/runtimes/kubernetes.md have it. The last test of this file:
    it puts its own networks and policies in the place of the others'."""
    manifests = list(yaml.safe_load_all(MANIFESTS.read_text()))
    [handler] = [m["handler"] for m in manifests if m["kind"] == "RuntimeClass"]
    found = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "ConfigMap"}
    network = found["netmgr-network"]["data"]["netmgr.conflist"]
    machine.write("etc/cni/netmgr.d/netmgr.conflist", network)
    for name, text in found["netmgr-policies"]["data"].items():
        machine.write(f"etc/netmgr/policies/{name}", text)
    others = {"cniVersion": "1.0.0", "name": "cluster", "plugins": [BRIDGE]}
    machine.write("etc/cni/net.d/05-cluster.conflist", json.dumps(others))
    containerd.stop()
    containerd.start()
    plain = containerd.run_pod("plain")
    assert names(machine) == []
    inside = containerd.run_pod("agent", {"netmgr.policy": "agents"}, handler)
    assert names(machine) == ["team-agent"]
    assert inside.shell("nslookup example.com | grep -c 198.18")[1] == "1\n"
    assert plain.shell("ip -o -4 addr show eth0 | grep -c 10.88.10")[1] == "1\n"
    assert "inference.local" in inside.shell("cat /etc/hosts")[1]
    assert "SSL_CERT_FILE=" in inside.shell("env")[1]
    for power in (PRIVILEGED, "NET_ADMIN"):
        with pytest.raises(grpc.RpcError, match="CAP_NET_ADMIN in the host's user namespace"):
            containerd.run_pod("reaching", handler=handler, powers=[power])
    assert names(machine) == ["team-agent"]
    for pod in (plain, inside):
        pod.remove()
    assert_nothing_is_left(machine)
