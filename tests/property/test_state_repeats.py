"""Counting repeats: what comes out adds up to what went in, and the first of a kind is at once."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netmgr.journal.repeats import Repeats
from netmgr.reasons import Kind, Reason, Verdict

PERIOD_S = 10.0
SAME = ("kind", "verdict", "reason", "destination")
Steps = list[tuple[float, dict[str, Any]]]

records = st.fixed_dictionaries(
    {
        "time": st.just(0.0),
        "sandbox": st.sampled_from(["a", "b", None]),
        "kind": st.sampled_from(list(Kind)).map(str),
        "verdict": st.sampled_from(list(Verdict)).map(str),
        "reason": st.sampled_from([Reason.ALLOWED, Reason.RAW_IP]).map(str),
        "destination": st.fixed_dictionaries({"name": st.sampled_from(["x", "y", "z"])}),
        "count": st.integers(1, 5),
    },
    optional={
        "bytes_in": st.one_of(st.none(), st.integers(0, 1000)),
        "duration_ms": st.one_of(st.none(), st.integers(0, 1000)),
        "http": st.sampled_from([None, {"method": "GET", "path": "/", "status": 200}]),
    },
)
steps = st.lists(st.tuples(st.floats(0, 8), records), max_size=60)


def tally(items: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    counts: Counter[tuple[Any, ...]] = Counter()
    for record in items:
        what = (record["sandbox"], record["kind"], record["verdict"], record["reason"])
        counts[what] += record["count"]
        counts[(*what, "bytes")] += record.get("bytes_in") or 0
    return +counts


def play(repeats: Repeats, story: Steps) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    now = 0.0
    for wait, record in story:
        now += wait
        out += repeats.due(now)
        written = repeats.add(dict(record), now)
        if written is not None:
            out.append(written)
        due = repeats.next_due()
        assert due is None or due > now
    return out + repeats.rest()


@given(steps, st.integers(1, 4))
def test_nothing_is_lost_and_nothing_invented(story: Steps, max_keys: int) -> None:
    out = play(Repeats(PERIOD_S, max_keys), story)
    assert tally(out) == tally([record for _, record in story])


@given(steps)
def test_the_first_of_a_kind_is_written_at_once(story: Steps) -> None:
    repeats = Repeats(PERIOD_S)
    seen: set[tuple[str, ...]] = set()
    for _, record in story:
        plain = record | {"http": None, "duration_ms": None}
        alike = (str(plain["sandbox"]), *(str(plain[name]) for name in SAME))
        written = repeats.add(dict(plain), 0.0)
        if alike not in seen:
            assert written == plain
        elif plain["kind"] in ("dns", "connection", "http"):
            assert written is None
        seen.add(alike)


@given(steps)
def test_repeats_wait_no_longer_than_a_period(story: Steps) -> None:
    repeats = Repeats(PERIOD_S)
    now = 0.0
    for wait, record in story:
        now += wait
        repeats.due(now)
        repeats.add(dict(record), now)
    repeats.due(now + PERIOD_S)
    assert repeats.rest() == []


@given(st.integers(1, 50), st.integers(1, 5))
def test_what_is_held_is_bounded_for_each_sandbox(hosts: int, max_keys: int) -> None:
    repeats = Repeats(PERIOD_S, max_keys)
    written = []
    for number in range(hosts):
        for sandbox in ("scanner", "neighbour"):
            record = {
                "time": 0.0,
                "sandbox": sandbox,
                "kind": "connection",
                "verdict": "denied",
                "reason": "raw_ip",
                "destination": {"ip": f"192.0.2.{number}"},
                "count": 1,
            }
            written.append(repeats.add(record, 0.0))
    told = [record for record in written if record is not None]
    assert len(told) == 2 * min(hosts, max_keys + 1)  # one more tells of all the others
    assert sum(record["count"] for record in told + repeats.rest()) == 2 * hosts
