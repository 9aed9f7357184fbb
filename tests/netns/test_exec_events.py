"""The kernel tells of programs that begin, and one with too much power is known by that alone."""

import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netmgr.kernel.exec_events import ExecEvents
from netmgr.kernel.powers import find_holder

pytestmark = pytest.mark.root

HEARD_S = 60.0


@pytest.fixture
def events() -> Iterator[ExecEvents]:
    opened = ExecEvents.open()
    if opened is None:
        pytest.skip("this machine is no first namespace: its kernel tells nobody here")
    yield opened
    opened.close()


def wait_for(events: ExecEvents, pid: int, heard: set[int] | None = None) -> None:
    """Until the kernel has told of a process.

    Args:
        heard: of whom it has told already; more are added.
    """
    heard = set() if heard is None else heard
    end = time.monotonic() + HEARD_S
    while pid not in heard:
        assert time.monotonic() < end, f"nothing was heard of {pid}"
        select.select([events], [], [], 0.1)
        heard.update(events.read())


def test_a_program_that_begins_is_told(events: ExecEvents) -> None:
    child = subprocess.Popen(["/bin/true"])
    wait_for(events, child.pid)
    child.wait()


def test_after_more_than_fits_the_next_one_is_heard(events: ExecEvents) -> None:
    words = ["timeout", "3", "sh", "-c", "while :; do /bin/true; done"]  # thousands, mostly
    subprocess.run(words, check=False, timeout=HEARD_S)
    while events.read():
        pass  # the kernel tells nothing more until what it has kept is read
    late = subprocess.Popen(["/bin/true"])
    wait_for(events, late.pid)
    late.wait()


def test_a_container_with_every_power_is_known_by_its_first_program(events: ExecEvents) -> None:
    words = ["unshare", "--net", "--pid", "--fork", "--kill-child", "sleep", "60"]
    child = subprocess.Popen(words)
    try:
        heard: set[int] = set()
        wait_for(events, child.pid, heard)
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        end = time.monotonic() + HEARD_S
        while not (found := children.read_text().split()):
            assert time.monotonic() < end
        inner = int(found[0])
        wait_for(events, inner, heard)
        netns = os.stat(f"/proc/{inner}/ns/net")
        holder = find_holder(inner, {(netns.st_dev, netns.st_ino)})
        assert holder is not None
        assert (holder.capability, holder.starting) == ("CAP_NET_ADMIN", False)
        assert find_holder(inner, set()) is None
    finally:
        child.kill()
        child.wait()
