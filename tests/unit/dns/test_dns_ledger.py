"""Counts are exact, first occurrences are told, memory is bounded."""

from netmgr.model import Destination, Record
from netmgr.reasons import Kind, Reason, Verdict
from netmgr_dns.budget import Budget
from netmgr_dns.ledger import MAX_TALLIES, Ledger


def record(name: str) -> Record:
    return Record(
        time=1.0,
        sandbox="box",
        kind=Kind.DNS,
        verdict=Verdict.DENIED,
        reason=Reason.NO_MATCHING_RULE,
        destination=Destination(name=name),
    )


def test_first_then_counted_then_first_again() -> None:
    ledger = Ledger()
    tally, first = ledger.note(("a",), record("a"), 0.0)
    assert first is not None
    assert ledger.note(("a",), record("a"), 0.1) == (tally, None)
    ledger.hit(tally)
    (told,) = ledger.drain(10.0)
    assert (told.count, told.time, told.destination.name) == (2, 10.0, "a")
    assert ledger.drain(20.0) == []  # nothing happened: nothing is told, and it is forgotten
    assert ledger.note(("a",), record("a"), 21.0)[1] is not None


def test_a_tally_that_a_cache_holds_counts_on() -> None:
    ledger = Ledger()
    tally, _ = ledger.note(("a",), record("a"), 0.0)
    assert ledger.drain(10.0) == []
    ledger.hit(tally)
    assert [told.count for told in ledger.drain(20.0)] == [1]


def test_every_decision_is_counted_exactly_once_whatever_the_flood() -> None:
    ledger = Ledger()
    total = 10 * MAX_TALLIES
    at_once = sum(
        ledger.note((str(n),), record(str(n)), n / 1000)[1] is not None for n in range(total)
    )
    assert len(ledger._tallies) <= MAX_TALLIES + 1
    assert at_once + sum(told.count for told in ledger.drain(10.0)) == total


def test_a_restart_forgets_and_tells() -> None:
    ledger = Ledger()
    ledger.note(("a",), record("a"), 0.0)
    ledger.note(("a",), record("a"), 0.0)
    assert [told.count for told in ledger.restart(5.0)] == [1]
    assert ledger.note(("a",), record("a"), 5.0)[1] is not None


def test_a_budget_grows_back_at_its_rate() -> None:
    budget = Budget(rate=10.0, burst=2.0)
    assert [budget.take(100.0) for _ in range(3)] == [True, True, False]
    assert [budget.take(100.05), budget.take(100.11)] == [False, True]
    assert [budget.take(1000.0) for _ in range(3)] == [True, True, False]
    assert not budget.take(999.0)  # a clock that goes back gives nothing
