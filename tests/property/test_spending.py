"""A budget is never passed, whatever order calls begin, end and get lost in."""

from hypothesis import example, given
from hypothesis import strategies as st

from netmgr.accounts.spending import SLOTS, Claim, Spending

CLAIM = Claim("month", 1000, 6000.0)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("reserve", "settle", "drop", "wait")),
        st.integers(0, 600),
        st.integers(0, 5),
    ),
    max_size=80,
)


@given(STEPS)
@example([("reserve", 0, 0), ("reserve", 0, 0), ("drop", 0, 0)])
@example([("reserve", 0, 0), ("reserve", 5, 0), ("settle", 5, 1), ("drop", 0, 0)])
def test_what_was_spent_and_may_be_spent_never_passes_the_limit(
    steps: list[tuple[str, int, int]],
) -> None:
    spending, now, number = Spending(), 1e9, 0
    under_way: list[tuple[str, int, int]] = []
    for what, amount, place in steps:
        if what == "reserve":
            number += 1
            holder = f"proxy-{place % 2}"
            room = spending.left(CLAIM, now)
            short = spending.reserve(holder, number, [CLAIM], amount, now)
            assert bool(short) == (room < amount)
            # What is dearer than the whole budget is not worth a wait.
            assert all((each.retry_after_s >= 1) == (amount <= 1000) for each in short)
            if not short:
                under_way.append((holder, number, amount))
        elif what == "settle" and under_way:
            holder, which, most = under_way.pop(place % len(under_way))
            assert spending.settle(holder, which, min(amount, most), now) == [CLAIM]
            assert spending.settle(holder, which, most, now) == [], "once"
        elif what == "drop":
            holder = f"proxy-{place % 2}"
            spending.drop(holder)
            under_way = [each for each in under_way if each[0] != holder]
        else:
            now += amount * 10
        reserved = sum(each[2] for each in under_way)
        assert spending.left(CLAIM, now) == 1000 - spending.used(CLAIM, now) - reserved
        assert spending.used(CLAIM, now) + reserved <= 1000


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 3000)), max_size=20))
def test_what_is_stored_is_what_is_known(spent: list[tuple[int, int]]) -> None:
    before, after, now = Spending(), Spending(), 1e9
    stored: dict[tuple[str, str], list[tuple[str, str, int, int]]] = {}
    for number, (cost, wait) in enumerate(spent):
        now += wait
        if before.reserve("p", number, [CLAIM], 0, now) == []:
            before.settle("p", number, cost, now)
        stored |= before.changes()
    after.load(row for rows in stored.values() for row in rows)
    after.load([("sandbox:1", "money_per_day", 1, 10**6)])
    assert after.used(CLAIM, now) == before.used(CLAIM, now)
    later = now + CLAIM.per_s + CLAIM.per_s / SLOTS
    assert after.used(CLAIM, later) == 0


def test_all_budgets_of_a_call_have_room_or_none_is_drawn_on() -> None:
    spending, tight = Spending(), Claim("day", 10, 600.0)
    (short,) = spending.reserve("p", 1, [CLAIM, tight], 11, 0.0)
    assert short.budget == "day"
    assert spending.left(CLAIM, 0.0) == CLAIM.limit
    assert spending.reserve("p", 1, [CLAIM], 1000, 0.0) == []
    spending.settle("p", 1, 900, 30.0)
    (short,) = spending.reserve("p", 2, [CLAIM], 200, 60.0)
    assert short.retry_after_s == 6040, "the first slot is over a width later"
