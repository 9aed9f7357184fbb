"""kill -9 of each process in mid-flow: the fence stands, nothing leaves, service comes back."""

import os
import signal
import socket
from collections.abc import Callable

import pytest
from chaos.talk import NAME, POLICY, talk, wait_until
from dnslib import DNSRecord
from world import Sandbox, World
from world.namespaces import inside

pytestmark = pytest.mark.root

PUBLIC = "198.51.100.99"


@pytest.fixture
def broken(make_world: Callable[[], World]) -> tuple[World, Sandbox]:
    """A world of its own with one sandbox and a server that answers."""
    world = make_world()
    world.daemon()
    world.internet.tcp(NAME, 5432)
    world.internet.tcp("public.test", 443, address=PUBLIC)
    return world, world.sandbox("a", POLICY)


def assert_fenced(world: World, box: Sandbox, since: float) -> None:
    """Direct ways are shut, and nothing of the sandbox's was in the internet."""
    for address, port in ((PUBLIC, 443), ("8.8.8.8", 443), ("192.0.2.1", 22)):
        with box.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(0.3)
            assert sock.connect_ex((address, port)) != 0, address
    with box.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"tag-chaos", (PUBLIC, 443))
    world.capture.assert_silent("inet", dst=PUBLIC, since=since)
    world.capture.assert_silent("inet", src=box.address, since=since)
    world.capture.assert_silent("inet", containing=b"tag-chaos", since=since)


@pytest.mark.parametrize("kind", ["dns", "proxy", "dialer", "watch"])
def test_a_killed_worker_comes_back(broken: tuple[World, Sandbox], kind: str) -> None:
    world, box = broken
    wait_until(lambda: talk(box))
    since = world.capture.mark()
    killed = [pid for pid, which in world.netmgrd.processes().items() if which == kind]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert_fenced(world, box, since)
    wait_until(lambda: talk(box))
    after = [pid for pid, which in world.netmgrd.processes().items() if which == kind]
    assert len(after) == len(killed)
    assert not set(after) & set(killed)
    assert world.netmgr("sandbox", "check", "a").returncode == 0


def test_a_killed_daemon_leaves_the_fence_and_is_adopted(broken: tuple[World, Sandbox]) -> None:
    world, box = broken
    wait_until(lambda: talk(box))
    since = world.capture.mark()
    world.netmgrd.kill()
    wait_until(lambda: not world.netmgrd.hub.processes())
    assert not talk(box, timeout=0.3)
    assert_fenced(world, box, since)
    world.netmgrd.start()
    wait_until(lambda: talk(box))
    assert world.netmgr("sandbox", "check", "a").returncode == 0


def test_a_killed_proxy_cuts_its_flows_at_once(broken: tuple[World, Sandbox]) -> None:
    world, box = broken
    with inside(box.namespace.path):
        raw = DNSRecord.question(NAME).send("169.254.77.1", timeout=2)
    address = str(DNSRecord.parse(raw).rr[0].rdata)
    with box.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as flow:
        flow.settimeout(3)
        flow.connect((address, 5432))
        flow.sendall(b"\0one")
        assert flow.recv(100) == b"\0one"
        for pid, kind in world.netmgrd.processes().items():
            if kind == "proxy":
                os.kill(pid, signal.SIGKILL)
        try:
            assert flow.recv(100) == b""
        except ConnectionError:
            return  # a reset is as good an end


def test_many_sandboxes_are_served_and_leave_nothing(make_world: Callable[[], World]) -> None:
    world = make_world()
    world.daemon()
    world.internet.tcp(NAME, 5432)
    boxes = [world.sandbox(f"m{number}", POLICY) for number in range(100)]
    assert all(talk(box) for box in boxes)
    entries = world.netmgrd.hub.run("iptables-legacy-save").stdout
    assert not [box.address for box in boxes if box.address in entries]
