"""A user's own NSS database as a command in a sandbox sees it: ours, writable, and gone with it."""

from collections.abc import Iterator

import pytest
from runtimes.leftovers import assert_nothing_is_left
from runtimes.machine import Machine

pytestmark = pytest.mark.root

HOME = "/var/lib/surfer"
PLACES = (".pki/nssdb", ".local/share/pki/nssdb")


@pytest.fixture
def user(machine: Machine) -> Iterator[str]:
    """Somebody with a home; the machine's /etc is its own."""
    passwd = machine.own / "etc/passwd"
    before = passwd.read_text()
    passwd.write_text(f"{before}surfer:x:1998:1998::{HOME}:/bin/sh\n")
    machine.must("sh", "-c", f"mkdir {HOME} && chown 1998:1998 {HOME}")
    yield "surfer"
    machine.must("rm", "-rf", HOME)
    passwd.write_text(before)
    machine.must("netmgr", "sandbox", "delete", "--all")
    assert_nothing_is_left(machine)


@pytest.mark.parametrize("place", PLACES)
def test_a_command_has_a_database_of_its_own(machine: Machine, user: str, place: str) -> None:
    """Chromium takes none that it cannot write."""
    theirs = f"{HOME}/{place}"
    make = f"mkdir -p {theirs} && certutil -N -d sql:{theirs} --empty-password"
    machine.must("setpriv", "--reuid=1998", "--regid=1998", "--clear-groups", "sh", "-c", make)
    machine.must("netmgr", "sandbox", "create", "surfing")
    inside = ("netmgr", "sandbox", "exec", "--user", user, "surfing", "--", "sh", "-c")
    listed = machine.must(*inside, f"cd {theirs} && touch mark && certutil -L -d sql:.")
    assert "netmgr sandbox" in listed
    anew = f"cd {theirs} && certutil -D -n 'netmgr sandbox' -d sql:. && certutil -L -d sql:."
    assert "netmgr sandbox" not in machine.must(*inside, anew)
    assert "netmgr sandbox" in machine.must(*inside, f"certutil -L -d sql:{theirs}")
    assert not (machine.own / theirs.lstrip("/") / "mark").exists()
    assert "netmgr sandbox" not in machine.must("certutil", "-L", "-d", f"sql:{theirs}")


def test_a_link_out_of_the_home_covers_nothing(machine: Machine, user: str) -> None:
    machine.must("sh", "-c", f"mkdir {HOME}/.pki && ln -s /etc {HOME}/.pki/nssdb")
    words = ("netmgr", "run", "--user", user, "--", "cat", "/etc/resolv.conf")
    assert "169.254.77.1" in machine.must(*words)
