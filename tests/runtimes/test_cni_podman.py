"""netmgr as CNI plugin of podman: real containers, nothing piped."""

import json
import subprocess
import time
from collections.abc import Iterator

import pytest
from runtimes.leftovers import assert_nothing_is_left, names, sandboxes
from runtimes.machine import Machine
from runtimes.podman import IMAGE, REACHING, Podman
from runtimes.site import SDK, Site, probe, volumes
from world.web import fixed

pytestmark = [pytest.mark.root, pytest.mark.older]  # podman 5 has no CNI

POLICY = """\
version: 1
network_policies:
  api:
    endpoints: [{host: api.example.com, port: 80}]
    binaries: [{path: "/**"}]
"""


def conflist(name: str, *before: dict[str, object], **ours: object) -> str:
    plugins = [*before, {"type": "netmgr", **ours}]
    return json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": plugins})


BRIDGE = {
    "type": "bridge",
    "bridge": "cni-earlier",
    "isGateway": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.9.0/24"}]]},
}


@pytest.fixture(scope="module")
def site(machine: Machine) -> Site:
    return Site(machine)


@pytest.fixture(scope="module")
def podman(site: Site, machine: Machine) -> Iterator[Podman]:
    machine.must("netmgr", "cni", "install")
    machine.write("etc/netmgr/policies/agents.yaml", POLICY)
    networks = {
        "sandboxes": conflist("sandboxes", policy="agents", tenant="t", labels={"team": "a"}),
        "named": conflist("named", nameFrom="pod", policy="/etc/netmgr/policies/agents.yaml"),
        "taken": conflist("taken", BRIDGE, earlierLinks="remove", policy="agents"),
        "second": conflist("second", BRIDGE),
        "wrong": conflist("wrong", policy="absent"),
        "aside": conflist("aside"),
        "sdks": conflist("sdks", nameFrom="pod", policy="agent"),
    }
    for name, text in networks.items():
        machine.write(f"etc/cni/net.d/{name}.conflist", text)
    machine.world.internet.http("api.example.com", fixed(b"hello from outside\n"))
    made = Podman(machine)
    yield made
    made.remove_all()


def inside(podman: Podman, network: str, script: str) -> subprocess.CompletedProcess[str]:
    return podman.run("--rm", "--network", network, IMAGE, "sh", "-c", script)


def test_a_container_has_one_door_and_it_is_guarded(podman: Podman, machine: Machine) -> None:
    script = """
        ip -o link | grep -c -v 'lo:'; ip -o -4 addr show eth0
        wget -q -O - http://api.example.com/
        wget -q -O - http://denied.example.com/ || echo "denied: $?"
        nc -w 5 192.0.2.254 80 </dev/null || echo "refused: $?"
        nslookup inference.local | tail -n +3
    """
    done = inside(podman, "sandboxes", script)
    assert "10.77.0." in done.stdout
    assert done.stdout.startswith("1\n")
    assert "hello from outside" in done.stdout
    assert "denied: 1" in done.stdout
    assert "refused: 1" in done.stdout
    assert "198.18.0.1" in done.stdout
    assert_nothing_is_left(machine)


def test_a_real_sdk_through_the_plugin_and_a_device(
    site: Site, podman: Podman, machine: Machine
) -> None:
    """Names and the fence by the network, trust and variables by CDI: one line, all of it."""
    machine.must("netmgr", "cdi", "generate", "sdk")
    device = ("--device", "netmgr.dev/sandbox=sdk", *volumes())
    done = podman.run("--rm", "--name", "sdk", "--network", "sdks", *device, IMAGE, *probe(*SDK))
    assert done.returncode == 0, done.stderr
    site.judge(done.stdout)
    machine.must("netmgr", "cdi", "remove", "--all")
    assert_nothing_is_left(machine)


def test_a_sandbox_says_whose_it_is(podman: Podman, machine: Machine) -> None:
    container = podman.must("run", "-d", "--network", "sandboxes", IMAGE, "sleep", "60").strip()
    [box] = sandboxes(machine)
    assert box["name"] == container[:12]
    assert box["tenant"] == "t"
    assert box["labels"]["team"] == "a"
    assert box["labels"]["cni.container"] == container
    [told] = podman.inspect(container)["NetworkSettings"]["Networks"].values()
    assert (told["IPAddress"], told["MacAddress"]) == (box["address"], box["mac"])
    assert machine.run("netmgr", "sandbox", "check", str(box["name"])).returncode == 0
    found = machine.must("netmgr", "sandbox", "list", "--label", "cni.network=named", "-o", "json")
    assert json.loads(found)["sandboxes"] == []
    podman.must("rm", "--force", "--time", "0", container)
    assert_nothing_is_left(machine)


def test_a_sandbox_named_after_its_container(podman: Podman, machine: Machine) -> None:
    podman.must("run", "-d", "--name", "demo", "--network", "named", IMAGE, "sleep", "60")
    assert names(machine) == ["demo"]
    podman.must("rm", "--force", "--time", "0", "demo")
    assert_nothing_is_left(machine)


def test_the_link_of_an_earlier_plugin_is_taken_away(podman: Podman, machine: Machine) -> None:
    script = "ip -o link | grep -c -v lo:; wget -q -O - http://api.example.com/"
    assert inside(podman, "taken", script).stdout == "1\nhello from outside\n"
    host = machine.must("ip", "-o", "link", "show", "type", "veth")
    assert "cni-earlier" not in host
    assert_nothing_is_left(machine)


@pytest.mark.parametrize(
    ("networks", "says"),
    [
        (["second"], "one door"),
        (["sandboxes", "aside"], "one door"),
        (["wrong"], "there is no /etc/netmgr/policies/absent.yaml"),
    ],
)
def test_what_would_be_a_second_door_or_no_policy_starts_nothing(
    podman: Podman, machine: Machine, networks: list[str], says: str
) -> None:
    words = [word for name in networks for word in ("--network", name)]
    done = podman.run("--rm", *words, IMAGE, "touch", "/tmp/ran")
    assert done.returncode != 0
    assert says in done.stderr
    assert_nothing_is_left(machine)


@pytest.mark.parametrize(("flags", "told"), REACHING)
def test_what_reaches_past_its_door_is_refused_by_the_guard(
    podman: Podman, machine: Machine, flags: tuple[str, ...], told: str
) -> None:
    """CNI does not see what a container may do; podman's hook does."""
    podman.refuses("sandboxes", flags, told)
    assert_nothing_is_left(machine)


def test_a_user_namespace_of_its_own_may_be_privileged(podman: Podman, machine: Machine) -> None:
    script = "wget -q -O - http://api.example.com/; ip link set eth0 down || echo not its own"
    ours = ("--uidmap", "0:100000:65536", "--cap-add", "NET_ADMIN", "--network", "sandboxes")
    done = podman.run("--rm", *ours, IMAGE, "sh", "-c", script)
    assert "hello from outside" in done.stdout, done.stderr
    assert_nothing_is_left(machine)


GONE_S = 15.0  # a look a second, two of them, and removing; on a busy machine


def test_what_comes_past_the_guard_is_ended(podman: Podman, machine: Machine) -> None:
    """As an engine without hooks has it: killed, its sandbox removed, its neighbour's not."""
    guard = machine.own / "usr/share/containers/oci/hooks.d/netmgr-cni.json"
    aside = guard.rename(guard.with_suffix(".aside"))
    try:
        words = ("run", "-d", "--network", "named", "--name")
        podman.must(*words, "neighbour", IMAGE, "sleep", "600")
        podman.must(*words, "reaching", "--privileged", IMAGE, "sh", "-c", "sleep 600 & wait")
    finally:
        aside.rename(guard)
    deadline = time.monotonic() + GONE_S
    while names(machine) != ["neighbour"]:
        assert time.monotonic() < deadline, sandboxes(machine)
        time.sleep(0.1)
    found = machine.must(
        "netmgr", "observe", "--sandbox", "reaching", "--kind", "finding", "-o", "json"
    )
    record = json.loads(found.splitlines()[-1])
    assert (record["verdict"], record["reason"]) == ("denied", "peer_blocked")
    assert "CAP_NET_ADMIN in the host's user namespace" in record["message"]
    assert podman.inspect("reaching")["State"]["Status"] == "exited"
    assert podman.inspect("neighbour")["State"]["Status"] == "running"
    for name in ("reaching", "neighbour"):
        podman.must("rm", "--force", "--time", "0", name)
    assert_nothing_is_left(machine)


def test_an_engine_that_was_killed_may_start_its_container_again(
    podman: Podman, machine: Machine
) -> None:
    """Its namespace is another one then, and the sandbox of the first must not stand in its way."""
    words = ("--name", "again", "--network", "named", IMAGE, "sleep", "60")
    container = podman.must("run", "-d", *words).strip()
    before = sandboxes(machine)[0]
    state = podman.inspect(container)
    for pid in (state["State"]["ConmonPid"], state["State"]["Pid"]):
        machine.must("kill", "-9", str(pid))
    podman.must("start", "again")
    [after] = sandboxes(machine)
    assert after["name"] == "again"
    assert after["netns"] == before["netns"]
    assert machine.run("netmgr", "sandbox", "check", "again").returncode == 0
    podman.forget("again")
    assert_nothing_is_left(machine)
