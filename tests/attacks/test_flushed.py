"""Whatever is flushed, set to ACCEPT or switched on in the hub: nothing is opened.

The matrix of hub attacks, one thing at a time, each in a world that is spoilt by it.
"""

import socket
import time
from collections.abc import Callable

import pytest
from attacks.vectors import VECTORS, Field
from world import Sandbox, World

pytestmark = pytest.mark.root

TABLES = ("raw", "mangle", "filter")
OPEN = [f"iptables-legacy -t filter -P {chain} ACCEPT" for chain in ("INPUT", "OUTPUT", "FORWARD")]
OPEN += ["iptables-legacy -t raw -P PREROUTING ACCEPT"]
FLUSH = [f"iptables-legacy -t {table} -F" for table in TABLES]

SPOILT = {
    "raw": ["iptables-legacy -t raw -F"],
    "mangle": ["iptables-legacy -t mangle -F"],
    "filter": ["iptables-legacy -t filter -F"],
    "sets": ["ipset flush"],
    "ip-rules": ["ip rule flush"],
    "policies-accept": [*FLUSH, *OPEN],
    "forwarding": [
        *FLUSH,
        *OPEN,
        "sysctl -qw net.ipv4.ip_forward=1",
        "sysctl -qw net.ipv4.conf.all.rp_filter=0",
    ],
}
REMOVALS = [
    "ipset flush",
    "ip route flush table main",
    "ip route flush table local",
    "ip rule flush",
]
POLICY = """\
version: 1
network_policies:
  db:
    endpoints: [{host: echo.flush.test, port: 5432}]
    binaries: [{path: "/**"}]
"""
HEAL_S = 30.0
SHOTS = ("udp_anywhere", "tcp_syn_anywhere", "other_protocols", "icmp", "spoofed_source", "ipv6")


@pytest.fixture(params=sorted(SPOILT))
def spoilt(request: pytest.FixtureRequest, make_world: Callable[[], World]) -> World:
    """A world whose hub an operator has spoilt."""
    made = make_world()
    made.daemon(rules_check_s=3600)  # so that what is shown is shown without rules
    made.internet.tcp("echo.flush.test", 5432)
    made.sandbox("a", POLICY)
    for command in SPOILT[request.param]:
        done = made.netmgrd.hub.run(*command.split())
        assert done.returncode == 0, done.stderr
    return made


def test_nothing_leaves_and_no_address_is_reached(spoilt: World) -> None:
    status, facts = spoilt.netmgrd.api("GET", "/v1/sandboxes/a")
    assert status == 200
    box = Sandbox(spoilt.netmgrd, facts)
    public = spoilt.internet.https("denied.test")
    since = spoilt.capture.mark()
    field = Field(
        me=box.address,
        mac=b"\x02\0\0\0\0\1",
        hub_mac=_hub_mac(box),
        neighbour="10.77.0.99",
        neighbour_mac=b"\x02\0\0\0\0\2",
        allowed="198.18.0.1",
        host="192.0.2.1",
    )
    with box.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0))
        for name in SHOTS:
            for frame in VECTORS[name](field, b"tag-flushed"):
                sock.send(frame)
    for port in (22, 80, 443, 8443):
        with box.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(0.3)
            if sock.connect_ex((public.address, port)) == 0:
                sock.sendall(b"tag-flushed")  # a worker may accept; it decides again and ends it
    for place in ("inet", "host"):
        spoilt.capture.assert_silent(place, containing=b"tag-flushed", since=since)
        spoilt.capture.assert_silent(place, dst=public.address, since=since)
    assert public.connections == []


def test_the_operator_is_told(spoilt: World) -> None:
    """What is the sandbox's own, `check` says; what is the hub's, `status` says. Both read anew."""
    told = [spoilt.netmgr("sandbox", "check", "a"), spoilt.netmgr("status")]
    assert any(done.returncode == 1 for done in told), "\n".join(done.stdout for done in told)


def test_rules_stand_again_and_it_is_a_finding(make_world: Callable[[], World]) -> None:
    made = make_world()
    made.daemon(rules_check_s=0.5)
    echo = made.internet.https("again.test")
    box = made.sandbox(allow=["again.test:443"])
    for command in (*OPEN, *FLUSH):
        assert made.netmgrd.hub.run(*command.split()).returncode == 0
    end = time.monotonic() + HEAL_S
    while "changed by hand" not in made.netmgr("observe", "--kind", "finding").stdout:
        assert time.monotonic() < end, "the rules were not installed again"
    assert made.netmgr("status").returncode == 0
    assert box.run("curl", "-sk", "-o", "/dev/null", "https://again.test/").returncode == 0
    assert len(echo.connections) == 1


def test_routing_and_sets_stand_again_and_each_is_a_finding(
    make_world: Callable[[], World],
) -> None:
    made = make_world()
    made.daemon(rules_check_s=0.5)
    echo = made.internet.https("again.test")
    box = made.sandbox(allow=["again.test:443"])
    assert _reached(box)
    for number, command in enumerate(REMOVALS):
        assert len(echo.connections) == number + 1
        seen = _findings(made)
        assert bool(seen) is bool(number), "a finding before anybody did anything"
        assert made.netmgrd.hub.run(*command.split()).returncode == 0
        end = time.monotonic() + HEAL_S
        while len(_findings(made)) == len(seen):
            assert time.monotonic() < end, f"nobody noticed {command}"
        # A look in the middle of the removal mends what was gone by then, the next look the rest.
        while not _reached(box):
            assert time.monotonic() < end, f"{command} was not put right"


def _reached(box: Sandbox) -> bool:
    done = box.run("curl", "-sk", "-m", "5", "-o", "/dev/null", "https://again.test/")
    return done.returncode == 0


def _findings(made: World) -> list[str]:
    told = made.netmgr("observe", "--kind", "finding").stdout.splitlines()
    return [line for line in told if "by hand" in line]


def _hub_mac(box: Sandbox) -> bytes:
    text = box.namespace.run("ip", "neigh", "show", "dev", "eth0").stdout
    word = text.partition("lladdr ")[2].split()[0]
    return bytes.fromhex(word.replace(":", ""))
