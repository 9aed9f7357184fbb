"""The disk of the state is full: changes are refused and say so, what runs goes on, and when there
is room again nothing has to be restarted and no number of a record is missing."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chaos.talk import NAME, POLICY, talk, wait_until
from world import World

pytestmark = pytest.mark.root

SIZE = "12m"  # the state of a small daemon is well under 1 MiB; SQLite's logs want some room


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """A file system of its own for one directory."""
    path.mkdir(mode=0o700)
    options = f"size={SIZE},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(path: Path) -> Path:
    """Take every byte that is left."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    return ballast


def test_a_full_disk_refuses_changes_and_nothing_else(make_world: Callable[[], World]) -> None:
    world = make_world()
    state = world.directory / "state"
    with small_disk(state):
        daemon = world.daemon()
        world.internet.tcp(NAME, 5432)
        box = world.sandbox("a", POLICY)
        assert talk(box)
        ballast = fill(state)
        refused = wait_until(lambda: world.netmgr("sandbox", "create", "b").returncode == 1, 20)
        assert refused >= 0
        told = world.netmgr("sandbox", "create", "c")
        assert told.returncode == 1
        assert "space" in told.stderr or "disk" in told.stderr, told.stderr
        names = [each["name"] for each in daemon.api("GET", "/v1/sandboxes")[1]["sandboxes"]]
        assert "c" not in names, "a refused change has left something"
        assert talk(box), "what ran does not run any more"
        ballast.unlink()
        wait_until(lambda: world.netmgr("sandbox", "create", "d").returncode == 0, 20)
        numbers = [record["seq"] for record in daemon.records(limit=10_000)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a gap in the numbers"
        daemon.delete_sandboxes()
        daemon.stop()
