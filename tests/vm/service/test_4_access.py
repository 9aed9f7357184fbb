"""Who may talk to the daemon: root, members of its group, nobody else."""

import grp
import stat
from pathlib import Path

import pytest
from machine import as_user, ensure_service, netmgr, run

SOCKET = Path("/run/netmgr/api.sock")


@pytest.fixture(scope="module", autouse=True)
def service() -> None:
    """The daemon runs."""
    ensure_service()


def test_the_socket_is_roots_and_the_groups() -> None:
    found = SOCKET.stat()
    assert (found.st_uid, grp.getgrgid(found.st_gid).gr_name) == (0, "netmgr")
    assert stat.S_IMODE(found.st_mode) == 0o660


def test_a_stranger_is_refused_and_told_what_to_do() -> None:
    done = as_user("stranger", "netmgr", "sandbox", "list")
    assert done.returncode != 0
    assert "netmgr" in done.stderr
    assert "group" in done.stderr


def test_a_member_reads_creates_and_deletes_but_decides_nothing() -> None:
    run("usermod", "-aG", "netmgr", "vagrant")
    try:
        assert as_user("vagrant", "netmgr", "sandbox", "create", "members").returncode == 0
        assert "members" in as_user("vagrant", "netmgr", "sandbox", "list").stdout
        words = ("policy", "update", "members", "--add-endpoint", "a.example:443")
        refused = as_user("vagrant", "netmgr", *words)
        assert refused.returncode == 1
        assert "root" in refused.stderr
        assert as_user("vagrant", "netmgr", "sandbox", "delete", "members").returncode == 0
    finally:
        run("gpasswd", "-d", "vagrant", "netmgr")
        netmgr("sandbox", "delete", "members", check=False)
