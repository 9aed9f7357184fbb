"""The address guard, case by case (network reference §4.4 and cases 31, 32, 55, 58)."""

from ipaddress import ip_address, ip_network

import pytest

from netmgr.guard import (
    ALWAYS_BLOCKED,
    carried_addresses,
    describe_address,
    judge_address,
    judge_configured_address,
    parse_addresses,
)
from netmgr.policy.decision import DestinationPlan, PlanKind
from netmgr.reasons import Reason

EXACT = DestinationPlan(PlanKind.EXACT)
PUBLIC = DestinationPlan(PlanKind.PUBLIC)
LITERAL = DestinationPlan(PlanKind.LITERAL)
HOST = DestinationPlan(PlanKind.HOST)

NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "169.254.0.1",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:a9fe:a9fe::",
    "2002:7f00:1::5",
    "2001:0:7f00:1::",  # Teredo: the server is loopback
    "2001:0:808:808::80ff:fffe",  # Teredo: the client is 127.0.0.1, inverted
    "2606:4700::5efe:127.0.0.1",  # ISATAP
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "4000::1",  # nobody's
]
INTERNAL = [
    "10.0.0.5",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "fc00::1",
    "fd12::1",
    "2001:db8::1",
    "3fff::1",
    "::ffff:10.0.0.5",
    "64:ff9b::10.0.0.5",
    "2002:a00:5::1",
]
GLOBAL = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("text", NEVER)
@pytest.mark.parametrize("plan", [EXACT, PUBLIC, LITERAL])
def test_always_blocked_addresses_stay_blocked_whatever_the_plan(
    text: str, plan: DestinationPlan
) -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert judge_address(ip_address(text), plan) is Reason.ADDRESS_BLOCKED
    listed = DestinationPlan(PlanKind.LISTED, everything)
    assert judge_address(ip_address(text), listed) is Reason.ADDRESS_BLOCKED
    lifted = judge_address(ip_address(text), plan, treat_as_public=everything)
    assert lifted is Reason.ADDRESS_BLOCKED


@pytest.mark.parametrize("text", INTERNAL)
def test_internal_addresses_need_an_author_who_meant_them(text: str) -> None:
    ip = ip_address(text)
    assert judge_address(ip, PUBLIC) is Reason.ADDRESS_BLOCKED
    assert judge_address(ip, EXACT) is None
    assert judge_address(ip, LITERAL) is None


@pytest.mark.parametrize("text", GLOBAL)
def test_global_addresses_pass(text: str) -> None:
    assert judge_address(ip_address(text), PUBLIC) is None
    assert judge_address(ip_address(text), EXACT) is None


def test_listed_means_inside_the_list_only() -> None:
    plan = DestinationPlan(PlanKind.LISTED, (ip_network("10.0.0.0/24"),))
    assert judge_address(ip_address("10.0.0.5"), plan) is None
    assert judge_address(ip_address("::ffff:10.0.0.5"), plan) is None
    assert judge_address(ip_address("10.0.1.5"), plan) is Reason.ADDRESS_BLOCKED
    assert judge_address(ip_address("8.8.8.8"), plan) is Reason.ADDRESS_BLOCKED


def test_an_address_of_the_host_is_loopback_whatever_leads_to_it() -> None:
    host = parse_addresses(["10.1.2.3", "2606:4700::7", "fe80::1%eth0"])
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "2606:4700::7", "64:ff9b::10.1.2.3"):
        assert judge_address(ip_address(text), EXACT, host) is Reason.ADDRESS_BLOCKED
    public = (ip_network("10.0.0.0/8"),)
    assert judge_address(ip_address("10.1.2.3"), EXACT, host, public) is Reason.ADDRESS_BLOCKED


def test_the_host_plan_reaches_the_two_loopback_addresses_and_nothing_else() -> None:
    assert judge_address(ip_address("127.0.0.1"), HOST) is None
    assert judge_address(ip_address("::1"), HOST) is None
    for text in ("127.0.0.2", "8.8.8.8", "10.0.0.1", "169.254.169.254"):
        assert judge_address(ip_address(text), HOST) is Reason.ADDRESS_BLOCKED


def test_an_operator_may_declare_an_internal_range_public() -> None:
    public = (ip_network("203.0.113.0/24"),)
    assert judge_address(ip_address("203.0.113.5"), PUBLIC, treat_as_public=public) is None
    blocked = judge_address(ip_address("198.51.100.5"), PUBLIC, treat_as_public=public)
    assert blocked is Reason.ADDRESS_BLOCKED


@pytest.mark.parametrize("text", ["127.0.0.1", "::1", "10.0.0.5", "8.8.8.8", "::ffff:127.0.0.1"])
def test_a_configured_model_server_may_be_local(text: str) -> None:
    assert judge_configured_address(ip_address(text)) is None


@pytest.mark.parametrize(
    "text", ["169.254.169.254", "::ffff:169.254.169.254", "0.0.0.0", "::", "224.0.0.1", "fe80::1"]
)
def test_a_configured_model_server_is_never_metadata(text: str) -> None:
    assert judge_configured_address(ip_address(text)) is Reason.ADDRESS_BLOCKED


def test_descriptions_name_the_range_and_its_source() -> None:
    assert describe_address(ip_address("10.0.0.5")) == "10.0.0.5 (private use, RFC 1918)"
    carried = describe_address(ip_address("64:ff9b::a9fe:a9fe"))
    assert carried == "64:ff9b::a9fe:a9fe (carries 169.254.169.254 (cloud metadata service))"
    assert "loopback" in describe_address(ip_address("::1"))
    assert "of this host" in describe_address(ip_address("9.9.9.9"), {ip_address("9.9.9.9")})


def test_carried_addresses() -> None:
    assert carried_addresses(ip_address("8.8.8.8")) == ()
    assert carried_addresses(ip_address("2606:4700::1111")) == ()
    assert carried_addresses(ip_address("2002:808:808::")) == (ip_address("8.8.8.8"),)


def test_the_always_blocked_list_is_for_policy_validation() -> None:
    networks = {str(special.network) for special in ALWAYS_BLOCKED}
    assert {"127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10"} <= networks
    assert "::/0" not in networks
