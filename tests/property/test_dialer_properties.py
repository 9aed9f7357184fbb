"""A proxy that was turned may ask the dialer anything: only BadInput comes of it."""

from contextlib import ExitStack
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netmgr.dialer.connect import attempt_deadline
from netmgr.dialer.errand import Egress, Inference, parse_errand
from netmgr.dialer.gate import DialGate
from netmgr.errors import BadInput, LimitExceeded

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
LIKELY = st.sampled_from(
    ["egress", "inference", "10.77.0.5", "api.example.com", "0x7f000001", "::1", "r1", 443, 1, None]
)
KEYS = ("address", "name", "ip", "port", "revision", "purpose", "route")
BODIES = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, LIKELY | JSON))


@given(BODIES)
def test_only_bad_input_escapes_and_what_passes_is_well_formed(body: dict[str, Any]) -> None:
    try:
        errand = parse_errand(body)
    except BadInput:
        return
    match errand:
        case Egress(address, target, revision):
            assert isinstance(address, str)
            assert (target.name is None) != (target.ip is None)
            assert 1 <= target.port <= 65535
            assert revision >= 0
        case Inference(address, route):
            assert address is None or isinstance(address, str)
            assert isinstance(route, str)


@given(st.integers(1, 60), st.integers(1, 60), st.lists(st.sampled_from("abcd"), max_size=80))
def test_no_pattern_of_callers_exceeds_a_bound(
    in_all: int, per_caller: int, callers: list[str]
) -> None:
    gate = DialGate(in_all, per_caller)
    entered: list[str] = []
    with ExitStack() as held:
        for caller in callers:
            try:
                held.enter_context(gate.enter(caller))
            except LimitExceeded:
                continue
            entered.append(caller)
            assert gate.under_way == len(entered) <= in_all
            assert entered.count(caller) <= per_caller
    assert gate.under_way == 0


@given(st.floats(0, 60), st.integers(1, 16))
def test_attempts_share_the_time_and_the_last_one_uses_it_up(total: float, count: int) -> None:
    remaining = total
    for left in range(count, 0, -1):
        wait = attempt_deadline(remaining, left)
        assert 0 <= wait <= remaining
        remaining -= wait
    assert remaining == 0
