"""The ledger admits no more than its limits, whatever happens in whatever order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from netmgr.accounts.ledger import Excess, Ledger, Used
from netmgr.accounts.limits import Claim, Measure

BEGIN = 1_780_000_000.0
steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "drop", "restart"]),
        st.sampled_from(["proxy-0", "proxy-1"]),
        st.floats(0, 25),  # seconds that pass
        st.integers(0, 40),  # tokens
    ),
    max_size=60,
)
limits = st.dictionaries(st.sampled_from(list(Measure)), st.integers(0, 5), min_size=1, max_size=4)


def again(ledger: Ledger, stored: dict, now: float) -> Ledger:
    """The ledger of the next daemon: what was stored, and no call under way."""
    for key, rows in ledger.changes(now).items():
        stored[key] = rows
    fresh = Ledger()
    fresh.load(row for rows in stored.values() for row in rows)
    return fresh


@given(limits, limits, steps)
def test_never_more_than_the_limit(own, shared, story):
    ledger, stored, now, number = Ledger(), {}, BEGIN, 0
    claims = [Claim("sandbox:1", "box", own), Claim("tenant:t", "t", shared)]
    running: dict[str, list[int]] = {"proxy-0": [], "proxy-1": []}
    admitted: list[float] = []
    for what, holder, pause, tokens in story:
        now += pause
        if what == "reserve":
            number += 1
            spent = {
                (c.subject, m): ledger.used(c.subject, m, now) for c in claims for m in c.limits
            }
            excess = ledger.reserve(holder, number, claims, now)
            if excess is None:
                assert all(
                    spent[c.subject, m] < limit for c in claims for m, limit in c.limits.items()
                )
                running[holder].append(number)
                admitted.append(now)
            else:
                assert excess.retry_after_s >= 1
                assert excess.used >= excess.limit
        elif what == "settle" and running[holder]:
            ledger.settle(holder, running[holder].pop(), Used(tokens, tokens), now)
        elif what == "drop":
            ledger.drop(holder)
            running[holder].clear()
        elif what == "restart":
            ledger = again(ledger, stored, now)
            running = {"proxy-0": [], "proxy-1": []}
        for claim in claims:
            concurrency = claim.limits.get(Measure.CONCURRENCY)
            if concurrency is not None:
                assert sum(map(len, running.values())) <= concurrency
    for claim in claims:
        most = claim.limits.get(Measure.REQUESTS)
        if most is not None:
            for start in admitted:
                assert sum(start <= t < start + 60 for t in admitted) <= most


@given(st.integers(1, 6), st.lists(st.floats(0, 30), min_size=1, max_size=40))
def test_waiting_as_long_as_told_is_enough(most, pauses):
    ledger, now = Ledger(), BEGIN
    claim = Claim("sandbox:1", "box", {Measure.REQUESTS: most})
    for number, pause in enumerate(pauses):
        now += pause
        excess = ledger.reserve("p", number, [claim], now)
        if isinstance(excess, Excess):
            assert ledger.reserve("p", 1000 + number, [claim], now + excess.retry_after_s) is None
            now += excess.retry_after_s


@given(st.lists(st.tuples(st.floats(0, 86_400), st.integers(0, 1000)), max_size=30))
def test_a_day_is_exact_and_ends_at_midnight(calls):
    ledger, now = Ledger(), BEGIN
    claim = Claim("tenant:t", "t", {Measure.TOKENS_DAY: 10**9, Measure.MONEY_MONTH: 10**9})
    days: Counter[int] = Counter()
    for number, (pause, tokens) in enumerate(calls):
        now += pause
        assert ledger.reserve("p", number, [claim], now) is None
        ledger.settle("p", number, Used(tokens, tokens), now)
        days[int(now // 86_400)] += tokens
    assert ledger.used("tenant:t", Measure.TOKENS_DAY, now) == days[int(now // 86_400)]


def test_a_month_ends_with_its_last_day():
    ledger = Ledger()
    claim = Claim("tenant:t", "t", {Measure.MONEY_MONTH: 5})
    end_of_may = 1_780_271_999.0  # 2026-05-31T23:59:59Z
    assert ledger.reserve("p", 1, [claim], end_of_may) is None
    ledger.settle("p", 1, Used(0, 7), end_of_may)
    excess = ledger.reserve("p", 2, [claim], end_of_may)
    assert isinstance(excess, Excess)
    assert (excess.retry_after_s, excess.is_budget) == (1, True)
    assert ledger.reserve("p", 2, [claim], end_of_may + 1) is None


def test_what_one_worker_settles_twice_or_for_another_counts_once():
    ledger = Ledger()
    claim = Claim("s", "s", {Measure.CONCURRENCY: 1, Measure.TOKENS: 100})
    assert ledger.reserve("p", 1, [claim], BEGIN) is None
    ledger.settle("q", 1, Used(5), BEGIN)
    assert isinstance(ledger.reserve("p", 2, [claim], BEGIN), Excess)
    for _ in range(2):
        ledger.settle("p", 1, Used(5), BEGIN)
    assert ledger.used("s", Measure.TOKENS, BEGIN) == 5


def test_rows_that_could_not_be_stored_are_given_again():
    ledger = Ledger()
    claim = Claim("s", "s", {Measure.REQUESTS: 9})
    ledger.reserve("p", 1, [claim], BEGIN)
    rows = ledger.changes(BEGIN)
    assert ledger.changes(BEGIN) == {}
    ledger.not_stored(rows)
    assert ledger.changes(BEGIN) == rows
    ledger.forget("s")
    assert ledger.changes(BEGIN) == {("s", "requests_per_minute"): []}
