"""The guard against Python's own ipaddress module as an oracle."""

from ipaddress import IPv4Address, IPv6Address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from netmgr.guard import Reach, carried_addresses, find_range, judge_address
from netmgr.policy.decision import DestinationPlan, PlanKind

V4 = st.ip_addresses(v=4).map(lambda ip: IPv4Address(int(ip)))
V6 = st.ip_addresses(v=6).map(lambda ip: IPv6Address(int(ip)))
ANY = V4 | V6
PLANS = st.sampled_from([PlanKind.EXACT, PlanKind.PUBLIC, PlanKind.LITERAL]).map(DestinationPlan)
WRAPPERS = st.sampled_from(
    [
        lambda v4: IPv6Address(0xFFFF_0000_0000 | int(v4)),
        lambda v4: IPv6Address(0xFFFF_0000_0000_0000 | int(v4)),
        lambda v4: IPv6Address(0x64_FF9B << 96 | int(v4)),
        lambda v4: IPv6Address(0x2002 << 112 | int(v4) << 80 | 1),
        lambda v4: IPv6Address(0x2606_4700 << 96 | 0x5EFE << 32 | int(v4)),
    ]
)
PUBLIC = DestinationPlan(PlanKind.PUBLIC)
EXACT = DestinationPlan(PlanKind.EXACT)


@given(ANY, PLANS)
def test_what_the_oracle_calls_dangerous_is_never_dialled(ip, plan) -> None:
    dangerous = (
        ip.is_loopback
        or ip.is_link_local
        or ip.is_multicast
        or ip.is_unspecified
        or (ip.version == 4 and ip.is_reserved)
        or (ip.version == 6 and ip.is_site_local)
    )
    if dangerous:
        assert judge_address(ip, plan) is not None


@given(ANY)
def test_what_the_oracle_does_not_call_global_is_not_public(ip) -> None:
    # is_private is the registries' "not globally reachable"; mapped addresses are judged unwrapped.
    carried = carried_addresses(ip)
    if ip.is_private and not carried:
        assert judge_address(ip, PUBLIC) is not None


@given(V4)
def test_global_unicast_v4_passes(ip) -> None:
    exceptions = ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")
    special = any(ip in ip_network(network) for network in exceptions)
    if ip.is_global and not ip.is_multicast and not special:
        assert judge_address(ip, PUBLIC) is None


@given(V4, WRAPPERS, PLANS)
def test_wrapping_an_address_never_makes_it_more_trusted(v4, wrap, plan) -> None:
    wrapped = wrap(v4)
    assert v4 in carried_addresses(wrapped)
    if judge_address(v4, plan) is not None:
        assert judge_address(wrapped, plan) is not None


@given(ANY, ANY, PLANS)
def test_a_host_address_is_never_dialled(ip, other, plan) -> None:
    assert judge_address(ip, plan, {ip, other}) is not None


@given(ANY)
def test_each_plan_is_at_most_as_generous_as_the_next(ip) -> None:
    if judge_address(ip, PUBLIC) is None:
        assert judge_address(ip, EXACT) is None
    everything = DestinationPlan(PlanKind.LISTED, (ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert (judge_address(ip, everything) is None) == (judge_address(ip, EXACT) is None)


@given(ANY)
def test_every_address_has_a_range(ip) -> None:
    assert isinstance(find_range(ip).reach, Reach)
