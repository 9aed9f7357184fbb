"""What else lives on a host: other firewalls, container engines. None of it is touched."""

import subprocess
from pathlib import Path

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


def test_a_container_of_crun_lives_in_a_sandbox(tmp_path: Path) -> None:
    """Podman with its default runtime here, crun, in a namespace that netmgr made."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    run("cp", "/bin/busybox", str(root / "bin/busybox"))
    for applet in ("sh", "nslookup", "wget", "nc"):
        (root / "bin" / applet).symlink_to("busybox")
    image = tmp_path / "box.tar"
    run("tar", "-C", str(root), "-cf", str(image), ".")
    run("podman", "import", str(image), "box")
    netmgr("sandbox", "create", "contained", "--allow", "host.openshell.internal:9100")
    try:
        words = ["podman", "--runtime", "crun", "run", "--rm"]
        words += ["--network", "ns:/run/netns/netmgr-contained"]
        words += ["-v", "/run/netmgr/sandboxes/contained/resolv.conf:/etc/resolv.conf:ro", "box"]
        found = run(*words, "nslookup", "inference.local", check=False)
        assert "198.18.0.1" in found.stdout, found
        refused = run(*words, "nslookup", "a.example", check=False)
        assert "NXDOMAIN" in refused.stdout + refused.stderr
        assert run(*words, "nc", "-w", "5", "192.0.2.7", "80", check=False).returncode != 0
    finally:
        netmgr("sandbox", "delete", "contained")
        run("podman", "rmi", "-f", "box", check=False)


def test_a_container_that_could_open_another_door_is_refused() -> None:
    """A privileged container's process may enter other namespaces: attaching it is no fence."""
    sleeper = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    try:
        wait_for("its namespace", lambda: other_namespace(sleeper.pid))
        done = netmgr("sandbox", "create", "mighty", "--pid", str(sleeper.pid), check=False)
        assert done.returncode != 0
        assert "CAP_SYS_ADMIN" in done.stderr or "capabilit" in done.stderr, done.stderr
    finally:
        sleeper.kill()
        sleeper.wait()
        netmgr("sandbox", "delete", "mighty", check=False)


def other_namespace(pid: int) -> bool:
    """Whether a process has left this host's network namespace."""
    return Path(f"/proc/{pid}/ns/net").stat().st_ino != Path("/proc/self/ns/net").stat().st_ino
