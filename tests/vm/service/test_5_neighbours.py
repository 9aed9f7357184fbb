"""What else lives on a host: other firewalls and their rules. None of it is touched."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from machine import ensure_service, netmgr, run, wait_for

FOREIGN_NFT = """
table inet foreign {
  chain input { type filter hook input priority 5; policy accept; tcp dport 4242 counter drop; }
}
"""


@pytest.fixture(scope="module", autouse=True)
def service() -> None:
    """The daemon runs."""
    ensure_service()


def firewall() -> str:
    """Every rule of this host's own namespace, whoever made it, without its counters."""
    commands = (
        ("nft", "--stateless", "list", "ruleset"),
        ("iptables-legacy-save",),
        ("ip6tables-legacy-save",),
    )
    lines = "".join(run(*command).stdout for command in commands).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("#", ":")))


def network() -> str:
    """Links, addresses and routes of this host's own namespace."""
    return "".join(
        run("ip", "-brief" if what != "route" else "-4", what, "show").stdout
        for what in ("link", "address", "route")
    )


def through_a_life() -> tuple[str, str]:
    """Rules and network after a sandbox has come, worked and gone."""
    netmgr("run", "--allow", "a.example", "--", "true")
    netmgr("sandbox", "create", "passing")
    netmgr("sandbox", "delete", "passing")
    return firewall(), network()


def test_rules_of_others_stay_as_they_are() -> None:
    run("nft", "-f", "-", text=FOREIGN_NFT)
    run("iptables-legacy", "-A", "INPUT", "-p", "tcp", "--dport", "4243", "-j", "DROP")
    try:
        before = (firewall(), network())
        assert "4242" in before[0]
        assert "4243" in before[0]
        assert through_a_life() == before
        run("systemctl", "restart", "netmgr")
        ensure_service()
        assert (firewall(), network()) == before
    finally:
        run("nft", "delete", "table", "inet", "foreign")
        run("iptables-legacy", "-F", "INPUT")


@pytest.mark.long
def test_it_lives_beside_ufw() -> None:
    run("ufw", "default", "deny", "incoming")
    run("ufw", "allow", "22/tcp")
    run("ufw", "--force", "enable")
    try:
        before = (firewall(), network())
        assert through_a_life() == before
        assert "Status: active" in run("ufw", "status").stdout
        ensure_service()
    finally:
        run("ufw", "--force", "disable")


@contextmanager
def started(service: str) -> Iterator[None]:
    """A service of the distribution's, for as long as this lasts."""
    run("systemctl", "start", service)
    try:
        yield
    finally:
        run("systemctl", "stop", service, check=False)


@pytest.mark.long
def test_it_lives_beside_firewalld() -> None:
    """And a sandbox keeps its fence while firewalld throws all of its own rules away."""
    with started("firewalld"):
        wait_for("firewalld", lambda: run("firewall-cmd", "--state", check=False).returncode == 0)
        before = (firewall(), network())
        assert "firewalld" in before[0]
        netmgr("sandbox", "create", "beside")
        run("firewall-cmd", "--reload")
        netmgr("sandbox", "check", "beside")
        netmgr("sandbox", "delete", "beside")
        assert through_a_life() == before


@pytest.mark.long
def test_it_lives_beside_docker() -> None:
    """Its bridge and its rules stay, and so does what netmgr made when Docker goes."""
    with started("docker"):
        before = (firewall(), network())
        assert "DOCKER" in before[0]
        assert "docker0" in before[1]
        assert through_a_life() == before
        netmgr("sandbox", "create", "beside")
        run("systemctl", "restart", "docker")
        netmgr("sandbox", "check", "beside")
        netmgr("sandbox", "delete", "beside")
    run("systemctl", "stop", "docker.socket", "containerd", check=False)
    run("ip", "link", "delete", "docker0", check=False)
