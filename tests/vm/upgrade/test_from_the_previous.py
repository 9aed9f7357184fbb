"""From the previous version to this one, and off the host again.

The host puts the previous version's tree beside this one before it starts this part.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import (
    INSTALL,
    PROJECT,
    asks_model,
    ensure_service,
    install,
    main_pid,
    model_server,
    netmgr,
    route_to_model,
    run,
    shown,
)

PREVIOUS = Path("/srv/netmgr-previous")
OURS = (
    "/opt/netmgr",
    "/usr/local/bin/netmgr",
    "/etc/systemd/system/netmgr.service",
    "/etc/netmgr",
    "/var/lib/netmgr",
    "/run/netmgr",
)


@pytest.fixture(scope="module", autouse=True)
def previous() -> Iterator[None]:
    """The previous version runs, with a route, a policy and two sandboxes."""
    if Path("/opt/netmgr").exists():
        run("make", "-C", str(PROJECT), "purge", timeout=INSTALL)
    run("make", "-C", str(PREVIOUS), "install", timeout=INSTALL)
    ensure_service()
    with model_server() as address:
        route_to_model(address)
        netmgr("sandbox", "create", "old", "--allow", "a.example:443", "--label", "kept=yes")
        netmgr("sandbox", "create", "older")
        yield


def test_what_was_made_lives_on() -> None:
    before, pid = netmgr("policy", "get", "old").stdout, main_pid()
    install()
    ensure_service()
    assert main_pid() not in (0, pid), "the previous version's daemon still runs"
    for name in ("old", "older"):
        netmgr("sandbox", "check", name)
    assert shown("sandbox", "show", "old")["labels"] == {"kept": "yes"}
    assert netmgr("policy", "get", "old").stdout == before


def test_the_providers_credential_is_still_to_be_read() -> None:
    assert asks_model("old")
    assert asks_model("older")


def test_what_is_new_works_beside_it() -> None:
    netmgr("sandbox", "create", "new")
    assert asks_model("new")
    netmgr("sandbox", "delete", "older")


def test_purged_it_leaves_nothing() -> None:
    run("make", "-C", str(PROJECT), "purge", timeout=INSTALL)
    assert [path for path in OURS if Path(path).exists()] == []
    assert run("getent", "group", "netmgr", check=False).returncode != 0
    assert [path.name for path in Path("/run/netns").glob("netmgr*")] == []
    links = run("ip", "-brief", "link").stdout
    assert {line.split()[0] for line in links.splitlines()} <= {"lo", "eth0", "eth1"}
    rules = "".join(run(f"{tool}-save").stdout for tool in ("iptables-legacy", "ip6tables-legacy"))
    assert [line for line in rules.splitlines() if line.startswith("-A")] == []
    assert run("ipset", "list", "-name").stdout == ""
