"""A container with every capability, in a sandbox that came without its configuration (CNI):
the time until the daemon ends it.

What it can do to its neighbours' links in that time is said in docs/security.md. Here: whatever
links it makes meanwhile, nothing of it comes to the host or to the internet, even if nobody ever
ended it; and it is ended.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks.test_inside import open_canaries
from world import World
from world.environment import clean_environment
from world.namespaces import Namespace, ip_batch

pytestmark = pytest.mark.root

REACHER = Path(__file__).with_name("reacher.py")
TAG = "reached-past-the-door"
ENDED_S = 60.0
# A container by what the daemon goes by: every power, and processes of its own.
CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", sys.executable, "-I", str(REACHER))
# What the id of the hub lets it do, as documents say: or the rest would prove nothing.
REACHES = ("list the hub", "a link into the hub", "macvlan over a neighbour", "up mine")
SENT = ("eth0", "mine", "theirs", "hubvx")


@pytest.fixture
def namespace(world: World) -> Iterator[Namespace]:
    """One that an engine has made, attached as its network plugin does it."""
    made = Namespace(f"{world.id}.reacher")
    ip_batch([f"netns add {made.name}"])
    world.do("sandbox", "create", "reacher", "--netns", str(made.path))
    yield made
    world.netmgr("sandbox", "delete", "reacher")
    made.delete()


def test_nothing_leaves_before_it_is_ended(world: World, namespace: Namespace) -> None:
    neighbour = world.sandbox("beside", None)
    hub, capture = world.netmgrd.hub, world.capture
    canaries = open_canaries(hub)
    target = hub.run("ip", "-o", "link", "show", neighbour.link).stdout.partition(":")[0]
    since = capture.mark()
    daemon = world.netmgrd.pid
    os.kill(daemon, signal.SIGSTOP)  # it has all the time that it wants
    words = namespace.command(*CONTAINER, TAG, target)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env=clean_environment())
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        capture.settle()
        for place in ("inet", "host"):
            capture.assert_silent(place, containing=TAG.encode(), since=since)
        capture.assert_silent("inet", src="0.0.0.0/0", since=since)
        heard = [one for one in canaries if _has_heard(one)]
        assert heard == [], said
    finally:
        os.kill(daemon, signal.SIGCONT)
        for canary in canaries:
            canary.close()
        process.stdout.close()
    assert [said[move] for move in REACHES] == ["done"] * len(REACHES), said
    assert [said.get(f"sent on {link}") for link in SENT] == ["done"] * len(SENT), said
    assert process.wait(timeout=ENDED_S) != 0  # it would have slept
    deadline = time.monotonic() + ENDED_S
    while "reacher" in world.do("sandbox", "list"):
        assert time.monotonic() < deadline, "its sandbox was not removed"
        time.sleep(0.1)
    neighbour.delete()


def _has_heard(canary: object) -> bool:
    try:
        return bool(canary.recv(65535))  # type: ignore[attr-defined]
    except OSError:  # nothing there; a listening one has no bytes at all
        return False
