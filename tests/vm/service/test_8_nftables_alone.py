"""A kernel without the legacy tables: named, refused, and nothing is made (DECISIONS 50)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import ensure_service, netmgr, run, wait_for

HIDING = Path("/etc/modprobe.d/no-legacy-tables.conf")
TABLES = ("iptable_raw", "iptable_mangle", "iptable_filter", "iptable_nat", "iptable_security")
TABLES6 = ("ip6table_raw", "ip6table_mangle", "ip6table_filter", "ip6table_nat")
MODULES = (*TABLES, *TABLES6, "ip_tables", "ip6_tables")
HUB = Path("/run/netns/netmgr-hub")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", autouse=True)
def nftables_alone() -> Iterator[None]:
    """The modules are gone and cannot come back, as where the kernel was built without them."""
    ensure_service()
    run("systemctl", "stop", "netmgr")
    if HUB.exists():
        run("ip", "netns", "delete", HUB.name)
    HIDING.write_text("".join(f"install {module} /bin/false\n" for module in MODULES))
    try:
        wait_for("the end of the hub, whose rules hold the modules", unloaded)
        assert run("iptables-legacy", "-L", check=False).returncode != 0
        assert run("nft", "list", "ruleset").returncode == 0
        yield
    finally:
        HIDING.unlink()
        ensure_service()


def unloaded() -> bool:
    """Whether none of the modules is loaded any more."""
    loaded = {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}
    left = [module for module in MODULES if module in loaded]
    return not left or run("rmmod", *left, check=False).returncode == 0


def test_the_doctor_names_what_is_missing() -> None:
    done = netmgr("doctor", check=False)
    assert done.returncode != 0
    assert "ip_tables" in done.stdout + done.stderr
    assert "legacy" in done.stdout + done.stderr


def test_the_daemon_does_not_start_and_makes_nothing() -> None:
    done = netmgr("daemon", check=False)
    assert done.returncode not in (0, 2), done
    assert "legacy" in done.stderr
    assert "CONFIG_IP_NF_IPTABLES_LEGACY" in done.stderr
    assert list(Path("/run/netns").glob("netmgr*")) == []
    assert "netmgr" not in run("ip", "-brief", "link").stdout
