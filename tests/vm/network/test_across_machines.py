"""Two machines on one wire: what a sandbox here makes the machine there see, and what not."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import ensure_service, fetch, netmgr, run, status_of, wait_for

OUTSIDE = "192.168.77.3"
CONFIG = Path("/etc/netmgr/netmgr.yaml")
POLICY = """\
version: 1
network_policies:
  outside:
    endpoints:
      - {host: api.outside.example, port: 8080, protocol: rest, access: read-only}
    binaries: [{path: "/**"}]
"""


@pytest.fixture(scope="module", autouse=True)
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The second link is up, the other machine is our name server, one sandbox stands."""
    ensure_service()
    run("ip", "address", "replace", "192.168.77.2/24", "dev", "eth1")
    run("ip", "link", "set", "eth1", "up")
    wait_for("the other machine", lambda: asked() is not None)
    kept = CONFIG.read_text()
    CONFIG.write_text(f"dns_servers: [{OUTSIDE}]\n")
    run("systemctl", "restart", "netmgr")
    ensure_service()
    policy = tmp_path_factory.mktemp("policy") / "outside.yaml"
    policy.write_text(POLICY)
    netmgr("sandbox", "create", "traveller", "--policy", str(policy))
    yield
    netmgr("sandbox", "delete", "traveller")
    CONFIG.write_text(kept)
    run("systemctl", "restart", "netmgr")


def asked() -> dict[str, int] | None:
    """What the other machine has seen of this one; None while it does not answer."""
    answer = run("curl", "-s", "-m", "10", f"http://{OUTSIDE}:9999/", check=False)
    return dict(json.loads(answer.stdout)) if answer.returncode == 0 else None


def seen() -> dict[str, int]:
    """The same of a machine that answers: its silence is no proof of anything."""
    found = asked()
    assert found is not None, "the other machine does not answer"
    return found


def new_since(before: dict[str, int]) -> set[str]:
    """What it has seen besides, ARP and the control port's packets never counted."""
    return {what for what, count in seen().items() if count > before.get(what, 0)}


def test_an_allowed_name_is_resolved_and_reached_across_the_wire() -> None:
    answer = fetch("traveller", "http://api.outside.example:8080/hello")
    assert answer.stdout.endswith("\n200"), (answer, netmgr("observe").stdout)
    assert "outside says api.outside.example:8080/hello" in answer.stdout
    assert "question api.outside.example." in seen()


def test_a_denied_method_of_it_is_answered_here() -> None:
    before = seen()
    url = "http://api.outside.example:8080/hello"
    assert status_of("traveller", url, "-X", "POST") == "403"
    assert not {what for what in new_since(before) if what.startswith("request")}


@pytest.mark.parametrize(
    "url",
    [
        "http://secret-data.attacker.example/",
        f"http://{OUTSIDE}:8080/",
        f"http://{OUTSIDE}:9999/",
        "http://api.outside.example:8081/",
    ],
)
def test_what_is_denied_sends_nothing_onto_the_wire(url: str) -> None:
    # What is allowed works, and its own answers are cached now.
    assert status_of("traveller", "http://api.outside.example:8080/warm") == "200"
    before = seen()
    assert fetch("traveller", url).returncode != 0
    assert new_since(before) == set()


def test_no_packet_of_a_sandboxs_own_leaves_the_machine() -> None:
    before = seen()
    script = (
        "import socket\n"
        "for kind in (socket.SOCK_DGRAM,):\n"
        f"    for where in (('{OUTSIDE}', 53), ('{OUTSIDE}', 443), ('255.255.255.255', 67)):\n"
        "        s = socket.socket(socket.AF_INET, kind)\n"
        "        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
        "        try: s.sendto(b'out', where)\n"
        "        except OSError: pass\n"
    )
    run("ip", "netns", "exec", "netmgr-traveller", "python3", "-c", script)
    run("ip", "netns", "exec", "netmgr-traveller", "ping", "-c1", "-W1", OUTSIDE, check=False)
    assert new_since(before) == set()
