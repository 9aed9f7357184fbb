"""A link of others in a namespace is found and shut, unless who is inside may have made it."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netmgr.kernel.doors import find_second_doors, shut_second_doors
from netmgr.kernel.powers import Identity

pytestmark = pytest.mark.root

SETUP = """
ip link add eth0 type veth peer name eth1
ip link set eth0 up && ip link set eth1 up && echo ready && exec sleep 60
"""


@contextmanager
def inhabited(*words: str) -> Iterator[Identity]:
    """A namespace with a process, a sandbox's link, and one of somebody else."""
    process = subprocess.Popen([*words, "sh", "-c", SETUP], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        netns = os.stat(f"/proc/{process.pid}/ns/net")
        yield netns.st_dev, netns.st_ino
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_door_is_shut() -> None:
    with inhabited("unshare", "--net") as netns:
        [door] = find_second_doors({netns})
        assert (door.netns, door.links) == (netns, ("eth1",))
        assert shut_second_doors(door) == ("eth1",)
        enter = ("nsenter", f"--net=/proc/{door.pid}/ns/net", "ip", "-o", "link", "show", "up")
        left = subprocess.run(enter, capture_output=True, text=True, check=True, timeout=20)
        assert "eth0" in left.stdout
        assert " eth1" not in left.stdout
        assert shut_second_doors(door) == ()  # twice is once
        assert find_second_doors(set()) == []


def test_what_somebody_inside_may_have_made_is_let_be() -> None:
    with inhabited("unshare", "--net", "--user", "--map-root-user") as netns:
        assert find_second_doors({netns}) == []


def test_a_process_that_is_gone_is_no_fault() -> None:
    with inhabited("unshare", "--net") as netns:
        [door] = find_second_doors({netns})
    end = time.monotonic() + 10
    while Path(f"/proc/{door.pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert shut_second_doors(door) == ()
