"""Workers that share one memory agree on what may be asked, and one of them alone finds out."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.reasons import Reason
from netmgr.routing.language import Breaker as BreakerRule
from netmgr_proxy.routing.availability import LOOK_AGAIN_S, TICK_S, Availability, number_of
from netmgr_proxy.routing.breaker import State
from netmgr_proxy.routing.failure import CONNECT, Fault
from netmgr_proxy.routing.others import News
from netmgr_proxy.vitals import NEWS, SLOTS, Vitals, make_vitals

RULE = BreakerRule(failures=3, window_s=10.0, open_s=5.0)
DOWN = Fault(CONNECT, Reason.UPSTREAM_UNREACHABLE)
LIMITED = Fault(429, Reason.UPSTREAM_UNREACHABLE, 429, retry_after_s=7.0)
NAMES = frozenset(("a", "b"))


class Clock:
    """Everybody's."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def shared(workers: int) -> Iterator[tuple[list[Vitals], Clock]]:
    """The memory of some workers."""
    clock, fd = Clock(), make_vitals(workers)
    opened = [Vitals(fd, index, workers, clock) for index in range(workers)]
    os.close(fd)
    try:
        yield opened, clock
    finally:
        for each in opened:
            each.close()


@contextmanager
def crew(workers: int = 2) -> Iterator[tuple[list[Availability], Clock]]:
    with shared(workers) as (opened, clock):
        made = [Availability(each) for each in opened]
        for each in made:
            each.in_force(NAMES, RULE)
        yield made, clock


def fail(worker: Availability, now: float, sandbox: str, fault: Fault = DOWN) -> None:
    assert worker.begin("a", sandbox, RULE, now)
    worker.failed("a", sandbox, RULE, fault, now)


def test_failures_of_all_workers_open_one_circuit_and_one_probe_goes_out() -> None:
    with crew(3) as (workers, clock):
        for number, worker in enumerate(workers):
            fail(worker, clock.now, f"10.0.0.{number}")
        for worker in workers:
            assert worker.states(clock.now)["a"] is State.OPEN
            assert not worker.begin("a", "10.0.0.9", RULE, clock.now + 1)
            assert worker.begin("b", "10.0.0.9", RULE, clock.now + 1), "the other one is well"
        clock.now += RULE.open_s
        let_in = [worker.begin("a", "10.0.0.9", RULE, clock.now) for worker in workers]
        assert let_in == [True, False, False]
        clock.now += LOOK_AGAIN_S
        assert not workers[1].begin("a", "10.0.0.9", RULE, clock.now), "it is still finding out"
        workers[0].succeeded("a", "10.0.0.9", 0.1, clock.now)
        assert all(worker.begin("a", "10.0.0.9", RULE, clock.now) for worker in workers)


def test_a_probe_that_fails_shuts_it_for_all_again() -> None:
    with crew() as (workers, clock):
        for number in range(3):
            fail(workers[0], clock.now, f"10.0.0.{number}")
        clock.now += RULE.open_s
        fail(workers[1], clock.now, "10.0.0.9")
        assert not workers[0].begin("a", "10.0.0.9", RULE, clock.now + RULE.open_s - 0.1)
        assert workers[0].begin("a", "10.0.0.8", RULE, clock.now + RULE.open_s)


def test_the_kernel_gives_a_dead_worker_s_probe_to_the_next() -> None:
    with shared(2) as (opened, clock):
        first, second = Availability(opened[0]), Availability(opened[1])
        for each in (first, second):
            each.in_force(NAMES, RULE)
        for number in range(3):
            fail(first, clock.now, f"10.0.0.{number}")
        clock.now += RULE.open_s
        assert first.begin("a", "10.0.0.9", RULE, clock.now)
        assert not second.begin("a", "10.0.0.9", RULE, clock.now)
        opened.pop(0).close()
        assert second.begin("a", "10.0.0.9", RULE, clock.now + LOOK_AGAIN_S)


def test_what_one_sandbox_was_told_holds_for_it_alone_and_everywhere() -> None:
    with crew() as (workers, clock):
        fail(workers[0], clock.now, "10.0.0.2", LIMITED)
        assert workers[1].free_at("a", "10.0.0.2", clock.now) == clock.now + 7.0
        assert workers[1].free_at("a", "10.0.0.3", clock.now) == clock.now


def test_a_worker_that_starts_anew_knows_what_stood() -> None:
    fd, clock = make_vitals(1), Clock()
    before = Vitals(fd, 0, 1, clock)
    worker = Availability(before)
    worker.in_force(NAMES, RULE)
    for number in range(3):
        fail(worker, clock.now, f"10.0.0.{number}")
    assert worker.begin("b", "10.0.0.1", RULE, clock.now)
    before.close()
    after = Vitals(fd, 0, 1, clock)
    os.close(fd)
    worker = Availability(after)
    worker.in_force(NAMES, RULE)
    assert worker.states(clock.now)["a"] is State.OPEN
    assert worker.board(clock.now).of("b").in_flight == 0, "its calls ended with it"
    after.close()


def test_calls_and_latencies_are_those_of_all() -> None:
    with crew() as (workers, clock):
        for worker, seconds in zip(workers, (0.1, 0.3), strict=True):
            for _ in range(10):
                assert worker.begin("a", "10.0.0.2", RULE, clock.now)
                worker.succeeded("a", "10.0.0.2", seconds, clock.now)
                clock.now += 0.01
            assert worker.begin("a", "10.0.0.2", RULE, clock.now)
        boards = [worker.board(clock.now + TICK_S).of("a") for worker in workers]
        assert boards[0] == boards[1]
        assert boards[0].in_flight == 2
        assert boards[0].latency_p95_s == 0.3
        assert 0.27 < (boards[0].latency_ewma_s or 0) < 0.3, "the newest count most"


def test_numbers_of_many_endpoints_are_bounded() -> None:
    with shared(2) as (opened, clock):
        for number in range(1, SLOTS + 2):
            opened[0].count(number, 1)
        assert opened[1].seen(SLOTS) == (1, [])
        assert opened[1].seen(SLOTS + 1) == (0, []), "there is no room: nobody else knows"
        for number in range(1, SLOTS + 2):
            opened[0].count(number, -1)
        opened[0].keep_only(frozenset((5,)))
        opened[0].note(SLOTS + 1, clock.now, 0.5)
        assert opened[1].seen(SLOTS + 1) == (0, [(clock.now, 0.5)])


@given(st.lists(st.integers(0, 3 * NEWS), min_size=1, max_size=4))
def test_news_come_once_and_the_newest_survive(bursts: list[int]) -> None:
    with shared(2) as (opened, clock):
        for burst in bursts:
            for number in range(burst):
                opened[0].tell(News(1, number, clock.now, well=False))
            heard = [each.sandbox for each in opened[1].news()]
            assert heard == list(range(burst))[-NEWS:]
            assert opened[1].news() == ()
            assert opened[0].news() == (), "nobody tells himself"


@given(st.binary(min_size=8, max_size=64), st.integers(0, 400))
def test_whatever_a_worker_writes_the_others_live(junk: bytes, place: int) -> None:
    """A hijacked worker has the whole memory."""
    with shared(2) as (opened, clock):
        worker = Availability(opened[1])
        worker.in_force(NAMES, RULE)
        opened[0].count(number_of("a"), 1)
        opened[0].note(number_of("a"), clock.now, 0.5)
        whole = junk[: len(junk) // 8 * 8] * 100
        start = place * 8
        opened[0]._memory[start : start + len(whole)] = whole
        free = worker.free_at("a", "10.0.0.1", clock.now)
        assert free <= clock.now + 3600
        health = worker.board(clock.now + TICK_S).of("a")
        assert health.latency_p95_s is None or 0 <= health.latency_p95_s <= 3600
        assert health.in_flight >= 0


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), -1.0, 1e9])
def test_times_that_are_none_are_not_believed(moment: float) -> None:
    with shared(2) as (opened, clock):
        opened[0].tell(News(1, 2, moment, well=False))
        opened[0].tell(News(1, 2, clock.now, False, True, moment, 0.0))
        assert list(opened[1].news()) == []
