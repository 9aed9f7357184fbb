"""Bytes per hour, counted over all workers in shared memory."""

import fcntl
import os
from collections.abc import Callable, Iterator

import pytest

from netmgr_proxy.tally import HOUR_S, SLOTS, Tally, TallyFull, key_of, make_tally


class Clock:
    now = 1000.0 * HOUR_S

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory() -> Iterator[int]:
    fd = make_tally(3)
    yield fd
    os.close(fd)


@pytest.fixture
def worker(memory: int, clock: Clock) -> Iterator[Callable[[int], Tally]]:
    started: list[Tally] = []

    def start(index: int) -> Tally:
        started.append(Tally(memory, index, clock))
        return started[-1]

    yield start
    for tally in started:
        tally.close()


Start = Callable[[int], Tally]
KEY = key_of("box", "10.77.0.2", "web")


def test_every_worker_sees_what_all_have_moved(worker: Start, clock: Clock) -> None:
    first, second, third = (worker(index) for index in range(3))
    assert [tally.used(KEY) for tally in (first, second, third)] == [0, 0, 0]
    first.add(KEY, 100)
    assert third.used(KEY) == 100
    second.add(KEY, 20)
    first.add(KEY, 3)
    assert [tally.used(KEY) for tally in (first, second, third)] == [123, 123, 123]
    assert first.used(key_of("box", "10.77.0.2", "other")) == 0


def test_a_worker_that_is_started_anew_takes_up_the_count(worker: Start, clock: Clock) -> None:
    worker(1).add(KEY, 100)
    again = worker(1)
    assert again.used(KEY) == 100
    again.add(KEY, 1)
    assert worker(0).used(KEY) == 101


def test_the_hour_slides(worker: Start, clock: Clock) -> None:
    tally = worker(0)
    tally.add(KEY, 1000)
    clock.now += HOUR_S
    assert tally.used(KEY) == 1000
    clock.now += HOUR_S / 4
    assert tally.used(KEY) == 750
    tally.add(KEY, 8)
    clock.now += HOUR_S
    assert tally.used(KEY) == 6
    clock.now += 2 * HOUR_S
    assert tally.used(KEY) == 0


def test_a_clock_that_is_set_back_forgives_nothing(worker: Start, clock: Clock) -> None:
    tally = worker(0)
    tally.add(KEY, 1000)
    clock.now -= 10 * HOUR_S
    assert tally.used(KEY) == 1000


def test_a_full_table_counts_no_more_until_slots_are_stale(worker: Start, clock: Clock) -> None:
    tally, other = worker(0), worker(1)
    for number in range(SLOTS):
        tally.add(key_of(str(number)), 1)
    with pytest.raises(TallyFull):
        tally.add(KEY, 1)
    assert other.used(key_of("7")) == 1
    clock.now += 2 * HOUR_S
    tally.add(KEY, 5)
    assert other.used(KEY) == 5
    assert other.used(key_of("7")) == 0


def test_nobody_can_take_memory_from_under_the_others() -> None:
    fd = make_tally(2)
    try:
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    finally:
        os.close(fd)
