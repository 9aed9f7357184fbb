"""netmgr behind podman's netavark: real containers, through the front or as a driver."""

import json
import subprocess
import time
from collections.abc import Iterator

import pytest
from runtimes.docker import kill
from runtimes.leftovers import assert_nothing_is_left, checks_out, names, sandboxes
from runtimes.machine import NEWER, Machine
from runtimes.podman import IMAGE, REACHING, Podman
from runtimes.site import SDK, Site, probe, volumes
from world.web import fixed

pytestmark = pytest.mark.root

ALLOW = "api.example.com:80"
NOTICED_S = 20.0
URL = "http://api.example.com/"
HELPERS = '[engine]\nhelper_binaries_dir = ["/opt/netmgr/libexec", "/usr/lib/podman"]\n'


def network(name: str, number: int, options: dict[str, str]) -> str:
    return json.dumps(
        {
            "name": name,
            "id": f"{number:064x}",
            "driver": "netmgr",
            "network_interface": "eth0",
            "created": "2026-01-01T00:00:00Z",
            "ipv6_enabled": False,
            "internal": False,
            "dns_enabled": False,
            "options": options,
            "ipam_options": {"driver": "none"},
        }
    )


@pytest.fixture(scope="module")
def site(machine: Machine) -> Site:
    return Site(machine)


@pytest.fixture(scope="module")
def podman(site: Site, machine: Machine) -> Iterator[Podman]:
    """Debian 12's netavark (1.4) takes no drivers of others and has the front before it."""
    where = () if NEWER else ("--front", "/opt/netmgr/libexec")
    machine.must("netmgr", "netavark", "install", *where)
    machine.write("etc/netmgr/policies/agents.yaml", "version: 1\nnetwork_policies: {}\n")
    networks = {
        "sandboxes": network("sandboxes", 1, {"name": "container", "allow": ALLOW}),
        "strict": network("strict", 2, {"policy": "agents", "tenant": "t"}),
        "wrong": network("wrong", 3, {"polici": "agents"}),
        "sdks": network("sdks", 4, {"name": "container", "policy": "agent"}),
    }
    for name, text in networks.items():
        machine.write(f"etc/containers/networks/{name}.json", text)
    machine.world.internet.http("api.example.com", fixed(b"hello from outside\n"))
    made = Podman(machine, "netavark")
    if not NEWER:
        machine.write("etc/containers/containers.conf.d/netmgr.conf", HELPERS)
    yield made
    made.remove_all()


def inside(podman: Podman, *words: str, script: str) -> subprocess.CompletedProcess[str]:
    return podman.run("--rm", *words, IMAGE, "sh", "-c", script)


GUARDED = """
    ip -o link | grep -c -v lo:
    wget -q -O - http://api.example.com/
    wget -q -O - http://denied.example.com/ || echo "denied: $?"
"""


def test_a_container_on_our_network_is_a_sandbox(podman: Podman, machine: Machine) -> None:
    done = inside(podman, "--name", "demo", "--network", "sandboxes", script=GUARDED)
    assert done.stdout == "1\nhello from outside\ndenied: 1\n", done.stderr
    assert_nothing_is_left(machine)


def test_a_real_sdk_through_netavark_and_a_device(
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
    container = podman.must("run", "-d", "--network", "strict", IMAGE, "sleep", "60").strip()
    [box] = sandboxes(machine)
    assert box["name"] == container[:12]
    assert box["tenant"] == "t"
    assert box["labels"]["netavark.container"] == container
    [told] = podman.inspect(container)["NetworkSettings"]["Networks"].values()
    assert (told["IPAddress"], told["MacAddress"]) == (box["address"], box["mac"])
    podman.must("rm", "--force", "--time", "0", container)
    assert_nothing_is_left(machine)


def test_networks_of_others_stay_netavarks(podman: Podman, machine: Machine) -> None:
    done = inside(podman, "--network", "podman", script="ip -o -4 addr show eth0")
    assert "10.88.0." in done.stdout, done.stderr
    assert_nothing_is_left(machine)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--network", "sandboxes", "--network", "podman"], "one door"),
        (["--network", "sandboxes", "--publish", "8080:80"], "no port can be published"),
        (["--network", "wrong"], "unknown option 'polici'"),
    ],
)
def test_what_a_sandbox_cannot_have_starts_nothing(
    podman: Podman, machine: Machine, words: list[str], says: str
) -> None:
    done = inside(podman, *words, script="touch /tmp/ran")
    assert done.returncode != 0
    assert says in done.stderr
    assert_nothing_is_left(machine)


@pytest.mark.older
def test_without_the_front_our_network_starts_nothing(podman: Podman, machine: Machine) -> None:
    conf = "etc/containers/containers.conf.d/netmgr.conf"
    machine.forget(conf)
    try:
        done = inside(podman, "--network", "sandboxes", script="touch /tmp/ran")
    finally:
        machine.write(conf, HELPERS)
    assert done.returncode != 0
    assert "netmgr" in done.stderr
    assert_nothing_is_left(machine)


@pytest.mark.parametrize(("flags", "told"), REACHING)
def test_what_reaches_past_its_door_is_refused_by_the_guard(
    podman: Podman, machine: Machine, flags: tuple[str, ...], told: str
) -> None:
    """netavark does not see what a container may do; podman's hook does."""
    podman.refuses("sandboxes", flags, told)
    assert_nothing_is_left(machine)


def test_what_a_killed_engine_leaves_is_collected(podman: Podman, machine: Machine) -> None:
    words = ("--name", "lost", "--network", "strict", IMAGE, "sleep", "600")
    container = podman.must("run", "-d", *words).strip()
    (name,) = names(machine)
    state = podman.inspect("lost")["State"]
    kill(state["ConmonPid"])
    kill(state["Pid"])
    assert checks_out(machine, name)
    collect = ("netmgr", "sandbox", "gc", "--by", "netavark.container", "--keep")
    machine.must(*collect, container)
    assert names(machine) == [name]
    machine.must(*collect, "none")
    assert_nothing_is_left(machine)
    podman.forget("lost")
    assert_nothing_is_left(machine)


def test_the_daemon_dies_and_the_network_comes_back(podman: Podman, machine: Machine) -> None:
    words = ("--name", "through", "--network", "sandboxes", IMAGE, "sleep", "600")
    podman.must("run", "-d", *words)
    daemon = machine.world.netmgrd
    daemon.kill()
    try:
        done = inside(podman, "--name", "late", "--network", "sandboxes", script="id")
        assert done.returncode != 0
        assert "no netmgr daemon" in done.stderr
    finally:
        daemon.start()
    assert names(machine) == ["through"]
    assert checks_out(machine, "through")
    assert podman.must("exec", "through", "wget", "-q", "-O", "-", URL) == "hello from outside\n"
    podman.must("rm", "--force", "--time", "0", "through")
    assert_nothing_is_left(machine)


def test_the_driver_answers_as_netavarks_plugin_api_has_it(
    podman: Podman, machine: Machine
) -> None:
    """By hand, since Debian 12's netavark calls no driver: the shapes, not the engine's part, which
    `make test-newer` has."""
    machine.must("netmgr", "netavark", "install", "--plugin-dir", "/opt/netmgr/drivers")
    driver, where = "/opt/netmgr/drivers/netmgr", f"{machine.world.id}.driver"
    assert json.loads(machine.must(driver, "info"))["api_version"] == "1.0.0"
    ours = json.loads(network("sandboxes", 1, {"allow": ALLOW}))
    assert json.loads(machine.must(driver, "create", input=json.dumps(ours))) == ours
    options = {"interface_name": "eth0"}
    call = {"container_id": "c" * 64, "container_name": "x", "port_mappings": None}
    call |= {"network": ours, "network_options": options}
    machine.must("ip", "netns", "add", where)
    try:
        path = f"/run/netns/{where}"
        told = json.loads(machine.must(driver, "setup", path, input=json.dumps(call)))
        [box] = sandboxes(machine)
        link = told["interfaces"]["eth0"]
        assert link["mac_address"] == box["mac"]
        assert link["subnets"] == [{"ipnet": f"{box['address']}/32", "gateway": box["gateway"]}]
        for _ in range(2):  # twice is once
            machine.must(driver, "teardown", path, input=json.dumps(call))
    finally:
        machine.must("ip", "netns", "delete", where)
    assert_nothing_is_left(machine)


@pytest.mark.newer
def test_a_network_is_created_by_command(podman: Podman, machine: Machine) -> None:
    options = ("--opt", f"allow={ALLOW}", "--disable-dns", "--ipam-driver", "none")
    podman.must("network", "create", "--driver", "netmgr", *options, "made")
    done = inside(podman, "--network", "made", script=GUARDED)
    assert done.stdout == "1\nhello from outside\ndenied: 1\n", done.stderr
    wrong = ("podman", "network", "create", "--driver", "netmgr", "--opt", "polici=x", "wrong2")
    assert "unknown option 'polici'" in machine.run(*wrong).stderr
    podman.must("network", "rm", "made")
    assert_nothing_is_left(machine)


def test_a_network_that_is_connected_later_is_no_door(podman: Podman, machine: Machine) -> None:
    """`podman network connect` runs no hook. The front refuses it; a driver is not asked, and the
    daemon sets the link down; podman takes it away at the end."""
    podman.must("run", "-d", "--name", "later", "--network", "sandboxes", IMAGE, "sleep", "60")
    sandbox = names(machine)[0]
    done = machine.run("podman", "network", "connect", "podman", "later")
    assert NEWER or "one door" in done.stderr, done
    deadline = time.monotonic() + NOTICED_S
    while "eth1" in podman.must("exec", "later", "ip", "-o", "link", "show", "up"):
        assert time.monotonic() < deadline, "the second door stays open"
        time.sleep(0.1)
    assert checks_out(machine, sandbox)
    assert podman.must("exec", "later", "wget", "-q", "-O", "-", URL) == "hello from outside\n"
    podman.must("rm", "--force", "--time", "0", "later")
    assert_nothing_is_left(machine)
