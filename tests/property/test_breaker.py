"""Breakers, health and failures against their laws, whatever order things happen in."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.reasons import Reason
from netmgr.routing.language import Breaker as BreakerRule
from netmgr.routing.language import Failure
from netmgr_proxy.routing.availability import Availability
from netmgr_proxy.routing.breaker import MAX_HOLD_S, NEVER, Breaker, State
from netmgr_proxy.routing.failure import (
    CONNECT,
    RESET,
    TIMEOUT,
    TLS,
    Fault,
    fault_of,
    fault_of_status,
    is_repairable,
    retry_after,
)
from netmgr_proxy.routing.latency import WINDOW, Latency
from netmgr_proxy.wire.face import Refusal

RULE = BreakerRule(failures=3, window_s=10.0, open_s=5.0)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("begin", "succeed", "fail", "leave")), st.floats(0.0, 4.0, allow_nan=False)
    ),
    max_size=60,
)
DOWN = Fault(CONNECT, Reason.UPSTREAM_UNREACHABLE)
BROKEN = Fault(500, Reason.UPSTREAM_UNREACHABLE, 500)


@given(STEPS)
def test_a_breaker_lets_one_probe_through_and_nothing_while_it_is_open(
    steps: list[tuple[str, float]],
) -> None:
    breaker, now, probes, under_way = Breaker(RULE), 0.0, 0, 0
    for what, wait in steps:
        now += wait
        before = breaker.state(now)
        if what == "begin":
            let_in = breaker.begin(now)
            assert let_in == (
                before is State.CLOSED or (before is State.HALF_OPEN and not probes)
            ), "open: none; half open: one; closed: all"
            under_way += let_in
            probes += let_in and before is State.HALF_OPEN
        elif under_way:
            under_way -= 1
            if what == "succeed":
                breaker.succeed()
                assert breaker.state(now) is State.CLOSED
            elif what == "fail":
                breaker.fail(now)
                if probes:
                    assert breaker.state(now) is State.OPEN, "a probe that fails opens it again"
            else:
                breaker.leave()
            probes = 0
        free = breaker.free_at(now)
        assert free >= now
        assert free <= now + RULE.open_s or free == NEVER


@given(st.lists(st.floats(0.01, 30.0), min_size=1, max_size=40))
def test_a_breaker_opens_exactly_when_enough_failures_lie_within_the_window(
    gaps: list[float],
) -> None:
    breaker, now, failures = Breaker(RULE), 0.0, list[float]()
    for gap in gaps:
        now += gap
        failures.append(now)
        opened = breaker.fail(now)
        recent = [moment for moment in failures if moment >= now - RULE.window_s]
        assert opened == (len(recent) >= RULE.failures)
        if opened:
            return


def test_what_one_sandbox_can_provoke_stops_that_sandbox_alone() -> None:
    worker = Availability()
    for _ in range(20):
        if worker.begin("e", "10.0.0.2", RULE, 0.0):
            worker.failed("e", "10.0.0.2", RULE, BROKEN, 0.0)
    assert not worker.begin("e", "10.0.0.2", RULE, 1.0)
    assert worker.begin("e", "10.0.0.3", RULE, 1.0)
    worker.left("e", "10.0.0.3")
    assert worker.begin("e", "10.0.0.2", RULE, 6.0), "one probe of its own"
    assert not worker.begin("e", "10.0.0.2", RULE, 6.0)
    worker.succeeded("e", "10.0.0.2", 0.1, 6.0)
    assert worker.begin("e", "10.0.0.2", RULE, 6.0)


def test_what_none_can_provoke_stops_all_and_is_told_once() -> None:
    opened: list[bool] = []
    worker = Availability()
    for number in range(RULE.failures):
        assert worker.begin("e", f"10.0.0.{number}", RULE, 0.0)
        opened.append(worker.failed("e", f"10.0.0.{number}", RULE, DOWN, 0.0))
    assert opened == [False, False, True]
    assert not worker.begin("e", "10.0.0.99", RULE, 1.0)
    assert worker.board(1.0).of("e").available is False
    assert worker.board(1.0).tick == worker.board(1.5).tick, "one tick lasts a while"
    assert worker.board(6.0).of("e").available is True, "half open: a probe may go"


def test_many_sandboxes_that_see_an_endpoint_fail_are_believed() -> None:
    worker = Availability()
    for number in range(RULE.failures):
        assert worker.begin("e", f"10.0.0.{number}", RULE, 0.0)
        worker.failed("e", f"10.0.0.{number}", RULE, BROKEN, 0.0)
    assert not worker.begin("e", "10.0.0.99", RULE, 1.0)


def test_an_endpoint_found_elsewhere_is_shut_at_once() -> None:
    worker = Availability()
    assert worker.begin("e", "10.0.0.2", RULE, 0.0)
    worker.failed(
        "e", "10.0.0.2", RULE, Fault(CONNECT, Reason.ADDRESS_BLOCKED, elsewhere=True), 0.0
    )
    assert not worker.begin("e", "10.0.0.3", RULE, 4.9)


def test_a_retry_after_is_kept_by_who_was_told() -> None:
    worker = Availability()
    assert worker.begin("e", "10.0.0.2", RULE, 0.0)
    limited = Fault(429, Reason.UPSTREAM_UNREACHABLE, 429, retry_after_s=7.0)
    worker.failed("e", "10.0.0.2", RULE, limited, 0.0)
    assert worker.free_at("e", "10.0.0.2", 0.0) == 7.0
    assert worker.free_at("e", "10.0.0.3", 0.0) == 0.0


def test_who_waits_is_woken_and_what_is_gone_is_forgotten() -> None:
    worker, woken = Availability(), list[int]()
    leave = worker.wait(lambda: woken.append(1))
    assert worker.begin("e", "10.0.0.2", RULE, 0.0)
    worker.failed("e", "10.0.0.2", RULE, BROKEN, 0.0)
    leave()
    assert worker.begin("e", "10.0.0.2", RULE, 0.0)
    worker.succeeded("e", "10.0.0.2", None, 0.0)
    assert woken == [1]
    worker.forget_sandbox("10.0.0.2")
    worker.in_force(frozenset(), RULE)
    assert worker.states(0.0) == {}


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=3 * WINDOW))
def test_latency_lies_within_what_was_seen(seen: list[float]) -> None:
    latency = Latency()
    for number, seconds in enumerate(seen):
        latency.note(float(number), seconds)
    last = sorted(seen[-WINDOW:])
    mean, p95 = latency.summed_up()
    assert p95 in last
    assert sum(1 for each in last if each > (p95 or 0.0)) <= 0.05 * len(last)
    assert mean is not None
    assert min(seen) - 1e-9 <= mean <= max(seen) + 1e-9


@pytest.mark.parametrize(
    ("reason", "connected", "word"),
    [
        (Reason.UPSTREAM_TLS, False, TLS),
        (Reason.UPSTREAM_UNREACHABLE, False, CONNECT),
        (Reason.NAME_NOT_RESOLVED, False, CONNECT),
        (Reason.UPSTREAM_TIMEOUT, False, CONNECT),
        (Reason.UPSTREAM_TIMEOUT, True, TIMEOUT),
        (Reason.UPSTREAM_UNREACHABLE, True, RESET),
    ],
)
def test_what_an_attempt_without_an_answer_is_called(
    reason: Reason, connected: bool, word: str
) -> None:
    fault = fault_of(Refusal(reason, "it failed"), connected=connected)
    assert fault.word == word
    assert is_repairable(fault, Failure())


def test_a_refused_key_and_a_refused_request_are_no_ones_to_repair() -> None:
    greedy = Failure(retry_on=frozenset((400, 401, 403, 404, 413, 422, 500)))
    for status in (400, 401, 403, 404, 413, 422):
        assert not is_repairable(fault_of_status(status, (), 0.0), greedy)
    assert is_repairable(fault_of_status(500, (), 0.0), greedy)
    silent = Failure(retry_on=frozenset(("connect",)))
    assert not is_repairable(Fault(TIMEOUT, Reason.UPSTREAM_TIMEOUT), silent)


@given(st.integers(0, 10**7))
def test_a_retry_after_is_bounded_however_it_is_written(seconds: int) -> None:
    kept = min(float(seconds), MAX_HOLD_S)
    assert retry_after([(b"Retry-After", b"%d" % seconds)], 0.0) == kept
    moment = format_datetime(datetime.fromtimestamp(1e9 + seconds, UTC), usegmt=True)
    assert retry_after([(b"retry-after", moment.encode())], 1e9) == kept


@given(st.binary(max_size=60))
def test_a_retry_after_of_any_bytes_is_read_or_none(value: bytes) -> None:
    found = retry_after([(b"retry-after", value)], 1e9)
    assert found is None or 0.0 <= found <= MAX_HOLD_S
