"""Namespaces as such, on the real kernel."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netmgr.errors import BadInput, Conflict, HostFailed, NotFound
from netmgr.kernel import netns, syscalls
from netmgr.kernel.ipset import Ipset
from netmgr.kernel.ipset_codec import SetType
from netmgr.testing.netns_thread import NetnsThread

pytestmark = pytest.mark.root


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "netns"
    netns.prepare_directory(made)
    yield made
    for path in netns.list_pins(made, ""):
        netns.delete(path)
    syscalls.umount(made)


def own() -> int:
    return os.stat(netns.OWN).st_ino


def test_prepare_twice_is_once_and_shared(directory: Path) -> None:
    netns.prepare_directory(directory)
    mounts = [
        line.split()
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if line.split()[4] == str(directory)
    ]
    assert len(mounts) == 1
    assert any(word.startswith("shared:") for word in mounts[0])


def test_create_leaves_the_thread_where_it_was(directory: Path) -> None:
    before = own()
    made = netns.create(directory / "a")
    assert own() == before
    fd = netns.open_path(directory / "a")
    assert netns.identity(fd) == made
    assert netns.in_namespace(fd, own) == made.inode != before
    assert own() == before
    os.close(fd)


def test_a_failure_inside_comes_home(directory: Path) -> None:
    netns.create(directory / "a")
    fd = netns.open_path(directory / "a")
    before = own()
    with pytest.raises(ZeroDivisionError):
        netns.in_namespace(fd, lambda: 1 // 0)
    assert own() == before
    os.close(fd)


def test_ip_sees_what_we_made(directory: Path) -> None:
    made = netns.create(directory / "a")
    out = subprocess.run(
        ["nsenter", f"--net={directory / 'a'}", "readlink", "/proc/self/ns/net"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.strip() == f"net:[{made.inode}]"


def test_create_twice_is_a_conflict_and_changes_nothing(directory: Path) -> None:
    made = netns.create(directory / "a")
    with pytest.raises(Conflict):
        netns.create(directory / "a")
    fd = netns.open_path(directory / "a")
    assert netns.identity(fd) == made
    os.close(fd)


def test_a_pin_is_the_same_namespace(directory: Path) -> None:
    made = netns.create(directory / "a")
    fd = netns.open_path(directory / "a")
    netns.pin(fd, directory / "b")
    os.close(fd)
    netns.delete(directory / "a")
    fd = netns.open_path(directory / "b")
    assert netns.identity(fd) == made
    os.close(fd)


def test_delete_is_tolerant(directory: Path) -> None:
    netns.delete(directory / "absent")
    (directory / "half").touch()  # a creation that was killed before its mount
    netns.delete(directory / "half")
    netns.create(directory / "a")
    netns.delete(directory / "a")
    netns.delete(directory / "a")
    assert netns.list_pins(directory, "") == []


def test_list_by_prefix(directory: Path) -> None:
    for name in ("one-a", "one-b", "two-a"):
        (directory / name).touch()
    assert [path.name for path in netns.list_pins(directory, "one-")] == ["one-a", "one-b"]
    assert netns.list_pins(directory / "absent", "") == []


@pytest.mark.parametrize("wrong", ["/etc/passwd", "/dev/null", "/proc/self/ns/mnt", "/tmp"])
def test_what_is_no_namespace(wrong: str) -> None:
    with pytest.raises(BadInput):
        netns.open_path(Path(wrong))


@pytest.mark.parametrize("absent", ["/run/netns/absent/x", "/proc/4194305/ns/net"])
def test_what_is_not_there(absent: str) -> None:
    with pytest.raises(NotFound):
        netns.open_path(Path(absent))


def test_a_fifo_does_not_hold_us_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BadInput):
        netns.open_path(tmp_path / "fifo")


def test_entering_is_of_one_thread(directory: Path) -> None:
    netns.create(directory / "a")
    fd = netns.open_path(directory / "a")
    before, seen = own(), []
    with netns.entered(fd):
        other = threading.Thread(target=lambda: seen.append(own()))
        # a thread starts where its parent is: what matters is that we come back alone
        other.start()
        other.join()
        assert own() != before
    assert own() == before
    os.close(fd)


def test_a_missing_set_type_names_its_module() -> None:
    class Absent:
        kernel_name = "hash:no,such"

    thread = NetnsThread()

    def probe() -> None:
        ipsets = Ipset()
        try:
            for kind in SetType:
                assert ipsets.revision(kind) >= 0
            with pytest.raises(HostFailed, match="ip_set_hash_nosuch"):
                ipsets.revision(Absent())  # type: ignore[arg-type]
        finally:
            ipsets.close()

    thread.run(probe)
    thread.close()
