"""Who is in a namespace: what is read again, and when numbers may have come round."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netmgr.kernel.facts import NetnsId
from netmgr.kernel.population import Population

PID_MAX = 2_000_000  # a million numbers are one second


class Host:
    """A /proc of our own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0.0
        (root / "sys/kernel").mkdir(parents=True)
        (root / "sys/kernel/pid_max").write_text(f"{PID_MAX}\n")
        self.tell(newest=0, begun=0)

    @property
    def netns(self) -> NetnsId:
        return NetnsId(4, 4_026_531_840)

    def begin(self, pid: int) -> None:
        """A process in the namespace."""
        (self.root / f"{pid}/ns").mkdir(parents=True)
        os.symlink(f"net:[{self.netns.inode}]", self.root / f"{pid}/ns/net")

    def tell(self, *, newest: int, begun: int) -> None:
        """What the kernel says of numbers."""
        (self.root / "loadavg").write_text(f"0.00 0.00 0.00 1/1 {newest}\n")
        (self.root / "stat").write_text(f"cpu 0\nprocesses {begun}\n")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.begin(100)
    host.tell(newest=100, begun=100)
    return host


@pytest.fixture
def of(host: Host) -> Iterator[Callable[[], tuple[int, ...]]]:
    population = Population(str(host.root), clock=lambda: host.now)
    yield lambda: population.of(host.netns)
    population.close()


def test_who_begins_is_found(host: Host, of: Callable[[], tuple[int, ...]]) -> None:
    assert of() == (100,)
    host.begin(102)
    host.tell(newest=102, begun=102)
    assert of() == (102, 100)


def test_where_the_last_number_stands_nobody_is_looked_at(
    host: Host, of: Callable[[], tuple[int, ...]]
) -> None:
    assert of() == (100,)
    host.begin(99)  # as if it had been given out before
    host.now = 0.99
    assert of() == (100,)


def test_numbers_that_came_round_to_the_same_one_are_noticed(
    host: Host, of: Callable[[], tuple[int, ...]]
) -> None:
    assert of() == (100,)
    host.begin(99)
    host.tell(newest=100, begun=100 + PID_MAX)
    host.now = 1.01  # no kernel takes less for a million of them
    assert of() == (100, 99)


def test_an_answer_without_a_count_does_not_put_the_next_count_off(
    host: Host, of: Callable[[], tuple[int, ...]]
) -> None:
    assert of() == (100,)
    for host.now in (0.4, 0.8):
        of()
    host.begin(99)
    host.tell(newest=100, begun=100 + PID_MAX)
    host.now = 1.2
    assert of() == (100, 99)


def test_who_begins_just_after_a_count_is_found_without_another(
    host: Host, of: Callable[[], tuple[int, ...]]
) -> None:
    assert of() == (100,)
    host.begin(102)
    (host.root / "stat").write_text("no count")
    (host.root / "loadavg").write_text("0.00 0.00 0.00 1/1 102\n")
    host.now = 0.99
    assert of() == (102, 100)


def test_a_count_reaches_back_to_the_one_before_whatever_was_looked_at_between(
    host: Host, of: Callable[[], tuple[int, ...]]
) -> None:
    assert of() == (100,)
    host.now = 0.99
    host.tell(newest=110, begun=110)
    of()
    host.begin(99)  # its number had come round
    host.tell(newest=110, begun=110 + PID_MAX)
    host.now = 1.01
    assert of() == (100, 99)
