"""Birth, change and end of sandboxes on the real kernel, and what is left of them: nothing."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from dnslib import DNSRecord
from world import Sandbox, World
from world.namespaces import inside

pytestmark = pytest.mark.root

NAME = "echo.lives.test"
POLICY = f"""\
version: 1
network_policies:
  db:
    endpoints: [{{host: {NAME}, port: 5432}}]
    binaries: [{{path: "/**"}}]
"""
NOTHING = "version: 1\nnetwork_policies: {}\n"


def resolve(sandbox: Sandbox, name: str = NAME) -> str | None:
    """The private address of `name` in a sandbox; None where it does not exist."""
    with inside(sandbox.namespace.path):
        raw = DNSRecord.question(name).send("169.254.77.1", timeout=2)
    answers = DNSRecord.parse(raw).rr
    return str(answers[0].rdata) if answers else None


def open_flow(sandbox: Sandbox) -> socket.socket:
    """A connection of the sandbox to the echo server, proven to work."""
    address = resolve(sandbox)
    assert address is not None
    flow = sandbox.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    flow.settimeout(5)
    flow.connect((address, 5432))
    flow.sendall(b"\0hello")
    assert flow.recv(100) == b"\0hello"
    return flow


def ended(flow: socket.socket) -> bool:
    """Whether a flow is cut: by a reset, an end, or a link that is no more."""
    flow.settimeout(1.0)
    try:
        flow.sendall(b"\0late")
        return flow.recv(100) == b""
    except OSError:
        return True


@pytest.fixture(autouse=True)
def echo_server(world: World) -> None:
    """The server behind NAME, once."""
    if not world.internet.zone.asked(NAME) and not hasattr(world, "_lives"):
        world.internet.tcp(NAME, 5432)
        world._lives = True  # type: ignore[attr-defined]  # a mark for this file only


def test_delete_with_a_live_flow_leaves_nothing(
    world: World, make_sandbox: Callable[..., Sandbox]
) -> None:
    box = make_sandbox(POLICY)
    hub, run_dir = world.netmgrd.hub, world.netmgrd.run_dir / "sandboxes" / box.name
    assert run_dir.is_dir()
    with open_flow(box) as flow:
        assert world.netmgr("sandbox", "delete", box.name).returncode == 0
        assert ended(flow)
    assert not box.namespace.exists
    assert box.link not in hub.links()
    assert f" {box.address}" not in hub.run("ipset", "save").stdout
    assert box.address not in hub.run("ss", "-Htan").stdout
    assert box.address not in hub.run("ip", "route", "show", "table", "all").stdout
    assert not run_dir.exists()


def test_an_address_rests_before_it_is_used_again(
    world: World, make_sandbox: Callable[..., Sandbox]
) -> None:
    first = make_sandbox(POLICY)
    first.delete()
    assert make_sandbox(POLICY).address != first.address


def test_twice_is_once(world: World) -> None:
    for _ in range(2):
        done = world.netmgr("sandbox", "create", "twice", "--allow", f"{NAME}:5432", "-o", "json")
        assert done.returncode == 0, done.stderr
    other = world.netmgr("sandbox", "create", "twice", "--allow", "x.test:1")
    assert other.returncode == 4, other.stderr
    assert world.netmgr("sandbox", "delete", "twice").returncode == 0
    assert world.netmgr("sandbox", "delete", "twice").returncode == 3


def test_a_change_cuts_what_it_denies_and_nothing_else(
    world: World, make_sandbox: Callable[..., Sandbox]
) -> None:
    changed, other = make_sandbox(POLICY), make_sandbox(POLICY)
    with open_flow(changed) as cut, open_flow(other) as kept:
        changed.policy(NOTHING)
        assert ended(cut)
        kept.sendall(b"\0still here")
        assert kept.recv(100) == b"\0still here"
    assert resolve(changed) is None
    assert resolve(other) is not None


def test_a_change_that_still_allows_cuts_nothing(
    world: World, make_sandbox: Callable[..., Sandbox]
) -> None:
    box = make_sandbox(POLICY)
    with open_flow(box) as flow:
        box.policy(POLICY.replace("db:", "database:"))
        flow.sendall(b"\0still here")
        assert flow.recv(100) == b"\0still here"


@pytest.mark.parametrize(
    "spoil",
    [
        ["ipset", "flush"],
        ["ip", "link", "set", "{link}", "down"],
        ["ip", "route", "del", "{address}/32"],
    ],
    ids=["set", "link", "route"],
)
def test_check_tells_what_a_hand_has_changed(
    make_world: Callable[[], World], spoil: list[str]
) -> None:
    world = make_world()
    daemon = world.daemon()
    world.internet.tcp(NAME, 5432)
    box = world.sandbox("a", POLICY)
    assert world.netmgr("sandbox", "check", "a").returncode == 0
    words = [word.format(link=box.link, address=box.address) for word in spoil]
    done = daemon.hub.run(*words)
    assert done.returncode == 0, done.stderr
    checked = world.netmgr("sandbox", "check", "a", "-o", "json")
    assert checked.returncode == 1, checked.stdout
    differences = json.loads(checked.stdout)["differences"]
    assert differences
    assert all(d["what"] and d["remedy"] for d in differences), differences


def test_a_restart_adopts_what_stands(make_world: Callable[[], World]) -> None:
    world = make_world()
    daemon = world.daemon()
    world.internet.tcp(NAME, 5432)
    box = world.sandbox("kept", POLICY)
    before, inode = resolve(box), box.namespace.inode
    daemon.stop()
    assert box.namespace.exists
    daemon.start()
    status, facts = daemon.api("GET", "/v1/sandboxes/kept")
    assert (status, facts["address"]) == (200, box.address)
    assert box.namespace.inode == inode
    assert resolve(box) == before
    open_flow(box).close()
    assert world.netmgr("sandbox", "check", "kept").returncode == 0


def test_an_orphan_is_removed_at_start(make_world: Callable[[], World]) -> None:
    world = make_world()
    daemon = world.daemon()
    box = world.sandbox("orphan", NOTHING)
    daemon.stop()
    for path in Path(daemon.state_dir).glob("*.db*"):
        path.unlink()
    daemon.start()
    assert not box.namespace.exists
    assert box.link not in daemon.hub.links()
    told = world.netmgr("observe", "--kind", "finding").stdout
    assert "the state does not know it: namespace of orphan" in " ".join(told.split())


def test_ipv6_is_off_inside_but_on_the_loopback(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(NOTHING)
    assert "inet6" not in box.enter("ip", "address", "show", "eth0").stdout
    with box.namespace.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::1", 0))


def test_a_sandbox_has_exactly_one_door(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(NOTHING)
    assert sorted(box.namespace.links()) == ["eth0", "lo"]
    assert "permanent" in box.enter("ip", "neigh").stdout.lower()


def test_an_attached_namespace_is_served_and_given_back(world: World) -> None:
    name = f"{world.id}.guest"
    world.host.run("ip", "netns", "add", name)
    try:
        path = f"/run/netns/{name}"
        done = world.netmgr(
            "sandbox", "create", "guest", "--netns", path, "--policy", "-", stdin=POLICY
        )
        assert done.returncode == 0, done.stderr
        with inside(Path(path)):
            raw = DNSRecord.question(NAME).send("169.254.77.1", timeout=2)
        assert DNSRecord.parse(raw).rr
        again = world.netmgr("sandbox", "create", "second", "--netns", path)
        assert again.returncode == 4, again.stderr
        assert world.netmgr("sandbox", "delete", "guest").returncode == 0
        assert Path(path).exists()
        links = world.host.run("ip", "-n", name, "-br", "link").stdout
        assert "eth0" not in links
    finally:
        world.host.run("ip", "netns", "del", name)
