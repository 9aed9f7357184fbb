"""What of the scenery is pure: the name service's file and the table of unix sockets. The building
is tried in tests/netns."""

import socket
from pathlib import Path

import pytest

from netmgr.errors import HostFailed
from netmgr_cli import scenery


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("hosts: files mdns4 resolve dns\n", "hosts: files dns\n"),
        ("passwd: files sss\nhosts:dns\ngroup: files\n",
         "passwd: files sss\nhosts: files dns\ngroup: files\n"),
        ("passwd: files\n", "passwd: files\n\nhosts: files dns\n"),
        ("# hosts: dns\n", "# hosts: dns\n\nhosts: files dns\n"),
        ("  hosts : dns\n", "hosts: files dns\n"),
    ],
)  # fmt: skip
def test_the_name_service_asks_files_and_dns_only(before: str, after: str) -> None:
    assert scenery.resolve_by_dns_only(before) == after


def test_listening_sockets_are_found_by_path(tmp_path: Path) -> None:
    path = tmp_path / "a socket with spaces"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert path in scenery.listening_sockets()
    assert path not in scenery.listening_sockets()


def test_too_many_sockets_start_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenery, "MAX_SOCKETS", 0)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(HostFailed, match="more than 0"):
            scenery.listening_sockets()


MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 0:22 / /sys ro,nosuid - sysfs sysfs ro
25 24 0:23 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup rw
26 22 0:21 / /srv/a\\040chroot/proc rw,nosuid master:1 - proc proc rw
27 22 0:22 / /srv/root/sys rw,nosuid - sysfs sysfs rw
28 22 0:30 / /srv/data rw - tmpfs data rw
"""


def test_kernel_views_of_chroots_are_found_and_the_usual_ones_left() -> None:
    found = scenery.kernel_views_elsewhere(MOUNTINFO)
    assert found == (Path("/srv/a chroot/proc"), Path("/srv/root/sys"))
