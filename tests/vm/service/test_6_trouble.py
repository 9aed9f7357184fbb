"""What a host does to its services at night: the clock jumps, the disk fills up."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import (
    asks_model,
    ensure_service,
    model_server,
    netmgr,
    route_to_model,
    run,
    wait_for,
)

YEAR_S = 365 * 86400

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", autouse=True)
def night() -> Iterator[None]:
    """A sandbox with a model, before the trouble begins."""
    ensure_service()
    with model_server() as address:
        route_to_model(address)
        netmgr("sandbox", "create", "night")
        yield
        netmgr("sandbox", "delete", "night")
        netmgr("inference", "delete")


def set_clock(epoch: float) -> None:
    """The machine's clock, at once."""
    time.clock_settime(time.CLOCK_REALTIME, epoch)


@pytest.mark.parametrize("years", [2, -1])
def test_a_clock_that_jumps_breaks_nothing(years: int) -> None:
    """Leaf certificates live a year: after the jump old ones are of no use, and new ones come."""
    assert asks_model("night")
    began, steady = time.time(), time.monotonic()
    set_clock(began + years * YEAR_S)
    try:
        wait_for("a call after the jump", lambda: asks_model("night"), 60)
        netmgr("sandbox", "create", "later")
        netmgr("sandbox", "delete", "later")
    finally:
        set_clock(began + time.monotonic() - steady)
    assert asks_model("night")


def test_a_full_disk_refuses_changes_and_recovers() -> None:
    ballast = Path("/var/lib/netmgr-ballast")
    with ballast.open("wb") as file:
        free = os.statvfs("/var/lib")
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - 64 * 1024)
        try:
            fill(file.fileno())
            refused = netmgr("sandbox", "create", "unborn", check=False)
            assert refused.returncode == 1, refused
            assert "space" in refused.stderr
            assert "unborn" not in netmgr("sandbox", "list").stdout
            assert not Path("/run/netns/netmgr-unborn").exists()
        finally:
            ballast.unlink()
    wait_for("room again", lambda: netmgr("sandbox", "create", "born", check=False).returncode == 0)
    netmgr("sandbox", "delete", "born")
    assert asks_model("night")


def fill(fd: int) -> None:
    """The rest, block by block, until the disk says no."""
    os.lseek(fd, 0, os.SEEK_END)
    try:
        while True:
            os.write(fd, b"\0" * 4096)
    except OSError:
        os.fsync(fd)


def test_the_service_is_still_the_one_it_was() -> None:
    assert run("systemctl", "is-active", "netmgr").stdout.strip() == "active"
