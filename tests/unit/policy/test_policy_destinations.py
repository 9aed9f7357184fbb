"""`allowed_ips`, endpoints without a host, and the plans that follow from them."""

from ipaddress import ip_address, ip_network

import pytest

from netmgr.guard import judge_address, may_stay
from netmgr.policy.decision import DestinationPlan, PlanKind, Request, Target
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError
from netmgr.reasons import Reason

TEXT = """
version: 1
network_policies:
  web:
    endpoints:
      - {host: db.test, port: 5432, allowed_ips: ["10.0.5.0/24", "2001:db8::/48", 192.0.2.7]}
      - {host: "*.w.test", port: 443, allowed_ips: ["10.1.0.0/16"]}
      - {port: 9000, allowed_ips: ["10.20.0.0/16", "203.0.113.9"]}
      - {port: 9001, protocol: rest, access: read-only, allowed_ips: ["10.20.0.0/16"]}
      - {host: named.test, port: 9000}
    binaries: [{path: "/**"}]
"""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(TEXT, "web.yaml")


def plan(policy: Policy, host: str, port: int) -> DestinationPlan | None:
    literal = host[0].isdigit()
    return policy.destination_plan(
        Target(None if literal else host, host if literal else None, port)
    )


def test_a_listed_host_is_at_its_addresses_only(policy: Policy) -> None:
    found = plan(policy, "db.test", 5432)
    assert found is not None
    assert found.kind is PlanKind.LISTED
    for ip, permitted in (("10.0.5.9", True), ("10.0.6.9", False), ("2001:db8::1", True)):
        assert (judge_address(ip_address(ip), found) is None) is permitted
    assert judge_address(ip_address("93.184.216.34"), found) is Reason.ADDRESS_BLOCKED


def test_a_wildcard_may_be_private_where_it_is_listed(policy: Policy) -> None:
    found = plan(policy, "x.w.test", 443)
    assert found == DestinationPlan(PlanKind.LISTED, (ip_network("10.1.0.0/16"),))


def test_without_a_host_any_name_is_answered_but_the_reserved(policy: Policy) -> None:
    assert policy.judge_name("whatever.example").ports == {9000, 9001}
    for name in ("host.openshell.internal", "host.docker.internal", "policy.local"):
        assert not policy.judge_name(name).decision.permits
    assert not policy.judge_name("no_host name.example").decision.permits
    assert policy.judge_connection(Target("whatever.example", None, 9000)).permits
    assert not policy.judge_connection(Target("whatever.example", None, 443)).permits


def test_without_a_host_listed_addresses_are_reached_as_they_are(policy: Policy) -> None:
    assert policy.judge_connection(Target(None, "10.20.3.4", 9000)).permits
    assert policy.judge_connection(Target(None, "203.0.113.9", 9000)).permits
    outside = policy.judge_connection(Target(None, "10.21.0.1", 9000))
    assert outside.reason is Reason.RAW_IP
    assert policy.literals() == {
        ip_network("10.20.0.0/16"): {9000, 9001},
        ip_network("203.0.113.9"): {9000},
    }
    get = policy.judge_request(Target(None, "10.20.3.4", 9001), Request("GET", "/"))
    post = policy.judge_request(Target(None, "10.20.3.4", 9001), Request("POST", "/"))
    assert (get.permits, post.permits) == (True, False)


def test_what_has_a_host_says_more_than_what_has_none(policy: Policy) -> None:
    assert plan(policy, "named.test", 9000) == DestinationPlan(PlanKind.EXACT)
    found = plan(policy, "other.test", 9000)
    assert found is not None
    assert found.kind is PlanKind.LISTED


def test_it_comes_back_as_it_was(policy: Policy) -> None:
    assert Policy.from_doc(policy.to_doc()) == policy
    (first, _, third, _, _) = policy.to_doc()["network_policies"]["web"]["endpoints"]
    assert first["allowed_ips"] == ["10.0.5.0/24", "192.0.2.7", "2001:db8::/48"]
    assert "host" not in third


REFUSED = {
    "[127.0.0.0/8]": "127.0.0.0/8: 127.0.0.0/8 is never reachable (loopback",
    '["0.0.0.0/0"]': "is never reachable ('this network'",
    '["::/0"]': "is never reachable",
    '["169.254.0.0/24"]': "is never reachable (link-local",
    '["169.254.169.254"]': "is never reachable (cloud metadata",
    '["168.63.129.16"]': "is never reachable (wire server",
    '["fe80::1"]': "is never reachable (link-local",
    '["::1"]': "is never reachable (loopback",
    '["224.0.0.1"]': "is never reachable (multicast",
    '["10.0.0.5/24"]': "is inside the network 10.0.0.0/24; write that, or the address",
    '["0x0a000005"]': "in the usual spelling this is 10.0.0.5",
    '["012.0.0.1"]': "in the usual spelling this is 10.0.0.1",
    '["::ffff:10.0.0.1"]': "write IPv4 networks as such",
    "[10]": "expected an address or a network in quotes, got 10",
    '["db.test"]': "expected an address or a network (10.0.0.0/24)",
    "10.0.0.0/8": "expected a list, got '10.0.0.0/8'",
}


def load(endpoint: str) -> Policy:
    text = "version: 1\nnetwork_policies:\n  a:\n    endpoints:\n      - " + endpoint
    return parse_policy(text + "\n    binaries: [{path: /**}]\n", "a.yaml")


@pytest.mark.parametrize("listed", REFUSED)
def test_what_cannot_be_meant_is_refused(listed: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load(f"{{host: a.test, port: 443, allowed_ips: {listed}}}")
    assert REFUSED[listed] in str(caught.value)
    assert "a.yaml:5: network_policies.a.endpoints[0].allowed_ips" in str(caught.value)


def test_a_broad_network_is_said() -> None:
    (warning,) = load('{host: a.test, port: 443, allowed_ips: ["10.0.0.0/8"]}').warnings
    assert "10.0.0.0/8 is broad" in warning
    assert load('{host: a.test, port: 443, allowed_ips: ["10.0.0.0/16"]}').warnings == ()


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("{port: 443}", "expected 'host' (a name, a wildcard, an IPv4 address) or 'allowed_ips'"),
        ("{port: 443, allowed_ips: []}", "expected 'host'"),
        ('{host: 10.0.0.5, port: 443, allowed_ips: ["10.0.0.5"]}', "an address already"),
        (
            '{host: host.openshell.internal, port: 80, allowed_ips: ["10.0.0.5"]}',
            "is this host, whatever its address",
        ),
        ("{host: '0x7f000001', port: 80}", "in the usual spelling this is 127.0.0.1"),
        ("{host: '2130706433', port: 80}", "in the usual spelling this is 127.0.0.1"),
        ("{host: '017700000001', port: 80}", "in the usual spelling this is 127.0.0.1"),
        ("{host: '127.1', port: 80}", "in the usual spelling this is 127.0.0.1"),
    ],
)
def test_endpoints_that_are_refused(endpoint: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load(endpoint)
    assert words in str(caught.value)


def test_one_host_has_one_list() -> None:
    with pytest.raises(PolicyError, match=r"allowed_ips '10\.0\.0\.0/16' against 'none'"):
        load(
            '{host: a.test, port: 443, allowed_ips: ["10.0.0.0/16"]}\n      '
            "- {host: a.test, port: 443}"
        )


EXACT, PUBLIC = DestinationPlan(PlanKind.EXACT), DestinationPlan(PlanKind.PUBLIC)
LISTED = DestinationPlan(PlanKind.LISTED, (ip_network("10.1.0.0/16"),))


@pytest.mark.parametrize(
    ("ip", "before", "now", "stays"),
    [
        ("10.1.0.1", EXACT, LISTED, True),
        ("10.2.0.1", EXACT, LISTED, False),
        ("10.1.0.1", EXACT, PUBLIC, False),
        ("9.9.9.9", EXACT, PUBLIC, True),
        ("10.1.0.1", LISTED, EXACT, True),
        ("203.0.113.1", PUBLIC, PUBLIC, True),  # the operator called that range public
        ("9.9.9.9", PUBLIC, None, False),
    ],
)
def test_live_connections_follow_the_plan(
    ip: str, before: DestinationPlan, now: DestinationPlan | None, stays: bool
) -> None:
    assert may_stay(ip_address(ip), before, now) is stays
