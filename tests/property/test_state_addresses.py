"""Whatever happens in whatever order: no address serves two at once, or another one too early."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from netmgr.addresses import AddressPool, NameAddress, NamePool
from netmgr.errors import LimitExceeded

NETWORK = IPv4Network("198.18.0.0/28")  # 12 addresses beside the fixed two
QUARANTINE_S = 100.0
BUDGET = 4
NAMES = [f"h{number}.example" for number in range(20)]


class Leases(RuleBasedStateMachine):
    """A pool against what a careful clerk would write down."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = AddressPool(NETWORK, QUARANTINE_S)
        self.now = 0.0
        self.used: list[IPv4Address] = []
        self.freed: dict[IPv4Address, float] = {}

    @rule(seconds=st.floats(0, 60))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        fresh = self.pool.size - len(self.used) - len(self.freed)
        ready = [ip for ip, at in self.freed.items() if at + QUARANTINE_S <= self.now]
        try:
            address = self.pool.choose(self.now)
        except LimitExceeded:
            assert not fresh
            assert not ready
            return
        assert address not in self.used
        if fresh:
            assert address not in self.freed, "fresh ones go first"
        else:
            assert self.freed[address] == min(self.freed.values()), "then the first released"
            assert self.freed.pop(address) + QUARANTINE_S <= self.now
        self.pool.take(address)
        self.used.append(address)

    @rule(index=st.integers(0, 100))
    def release(self, index: int) -> None:
        if self.used:
            address = self.used.pop(index % len(self.used))
            self.pool.release(address, self.now)
            self.freed[address] = self.now

    @rule()
    def restart(self) -> None:
        self.pool = AddressPool(NETWORK, QUARANTINE_S, in_use=self.used, released=self.freed)

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.pool) == len(self.used)
        assert all(ip in self.pool for ip in self.used)


class Names(RuleBasedStateMachine):
    """A sandbox's names; `rows` is what the store would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = NamePool(NETWORK, BUDGET, QUARANTINE_S)
        self.now = 0.0
        self.rows: dict[str, NameAddress] = {}

    @rule(seconds=st.floats(0, 60))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from(NAMES), wildcard=st.booleans())
    def take(self, name: str, wildcard: bool) -> None:
        try:
            row = self.pool.choose(name, self.now, wildcard=wildcard)
        except LimitExceeded:
            return
        at_same = [r for r in self.rows.values() if r.ip == row.ip and r.name != name]
        for before in at_same:
            assert before.released_at is not None, "two names at one address"
            assert before.released_at + QUARANTINE_S <= self.now, "too early"
        forgotten = self.pool.take(row)
        assert [forgotten] == ([r.name for r in at_same] or [None])
        if forgotten is not None:
            del self.rows[forgotten]
        if name in self.rows:
            assert self.rows[name].ip == row.ip, "a name keeps its address"
        self.rows[name] = row
        assert self.pool.get(name) == row.ip

    @rule(name=st.sampled_from(NAMES))
    def release(self, name: str) -> None:
        rests = self.pool.release(name, self.now)
        alive = name in self.rows and self.rows[name].released_at is None
        assert (rests is not None) is alive
        if rests is not None:
            self.rows[name] = rests
            assert self.pool.get(name) is None

    @rule()
    def restart(self) -> None:
        self.pool = NamePool(NETWORK, BUDGET, QUARANTINE_S, self.rows.values())

    @invariant()
    def the_budget_holds(self) -> None:
        alive = [row for row in self.rows.values() if row.released_at is None]
        assert sum(row.wildcard for row in alive) <= BUDGET
        assert {row.name for row in self.pool} == {row.name for row in alive}

    @invariant()
    def addresses_are_the_pools_and_not_the_fixed_ones(self) -> None:
        for row in self.rows.values():
            assert row.ip in NETWORK
            assert row.ip not in (NETWORK[0], NETWORK[1], NETWORK[2], NETWORK[-1])


MUCH = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestLeases = Leases.TestCase
TestLeases.settings = MUCH
TestNames = Names.TestCase
TestNames.settings = MUCH
