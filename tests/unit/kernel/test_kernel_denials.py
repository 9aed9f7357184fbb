"""Aggregation of refused packets: the first at once, nothing lost, memory bounded."""

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from netmgr.kernel.denials import MAX_KEYS, MAX_LINKS, WINDOW_S, Denial, Denials, Report
from netmgr.kernel.nflog import DeniedPacket
from netmgr.kernel.ruleset import GROUPS


def packet(ip: int = 1, port: int = 443, group: int = 5, sport: int = 1000) -> DeniedPacket:
    source, destination = IPv4Address("10.77.0.2"), IPv4Address("192.0.2.0") + ip
    return DeniedPacket(group, source, destination, 6, sport, port, 7, 0x0800)


def test_the_first_is_told_at_once_and_repeats_are_counted() -> None:
    denials = Denials()
    first = denials.take(packet(), "nm2", 0.0)
    denial = Denial("nm2", 5, "10.77.0.2", "192.0.2.1", 443, "tcp")
    assert first == Report(denial, 1000, 1)
    assert denials.take(packet(sport=1001), "nm2", 0.1) is None
    assert denials.take(packet(sport=1002), "nm2", 9.9) is None
    assert denials.flush(WINDOW_S - 0.1) == []
    assert denials.flush(WINDOW_S) == [Report(denial, 1001, 2)]


def test_a_quiet_kind_is_forgotten_and_then_new_again() -> None:
    denials = Denials()
    assert denials.take(packet(), "nm2", 0.0) is not None
    assert denials.flush(WINDOW_S) == []
    assert len(denials) == 0
    assert denials.take(packet(), "nm2", WINDOW_S + 1) is not None


def test_a_loud_kind_is_told_every_window() -> None:
    denials = Denials()
    denials.take(packet(), "nm2", 0.0)
    counts = []
    for window in range(1, 4):
        for _ in range(window):
            assert denials.take(packet(), "nm2", window * WINDOW_S - 1) is None
        counts += [report.count for report in denials.flush(window * WINDOW_S)]
    assert counts == [1, 2, 3]


def test_one_link_cannot_use_up_another_s_share() -> None:
    denials = Denials()
    told = [denials.take(packet(ip=n % 250, port=n), "nm2", 0.0) for n in range(5000)]
    assert sum(report is not None for report in told) == MAX_KEYS + 1
    assert told[MAX_KEYS] is not None
    assert told[MAX_KEYS].denial == Denial("nm2", 5)  # all the rest together
    assert denials.take(packet(), "nm3", 0.0) is not None
    assert len(denials) == MAX_KEYS + 2


def test_more_links_than_can_be_share_one_account() -> None:
    denials = Denials()
    for n in range(MAX_LINKS + 500):
        denials.take(packet(), f"nm{n}", 0.0)
    assert len(denials) <= MAX_LINKS + MAX_KEYS + len(GROUPS)
    assert sum(report.count for report in denials.drain()) >= 400


takes = st.tuples(
    st.just("take"),
    st.integers(0, 200),
    st.sampled_from(GROUPS),
    st.sampled_from(["nm1", "nm2", ""]),
    st.floats(0, 3),
)
flushes = st.tuples(st.just("flush"), st.floats(0, 12))


@given(st.lists(takes | flushes, max_size=200))
def test_nothing_is_lost_in_the_counts(steps: list[tuple[object, ...]]) -> None:
    denials, now, taken, told = Denials(), 0.0, 0, 0
    for step in steps:
        match step:
            case ("take", int(port), int(group), str(link), float(wait)):
                now += wait
                taken += 1
                report = denials.take(packet(port=port, group=group), link, now)
                told += 0 if report is None else report.count
            case ("flush", float(wait)):
                now += wait
                told += sum(report.count for report in denials.flush(now))
        assert len(denials) <= 3 * (MAX_KEYS + len(GROUPS))
    told += sum(report.count for report in denials.drain())
    assert told == taken
    assert denials.drain() == []
