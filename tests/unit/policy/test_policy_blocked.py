"""`policy explain` of what a policy allows and no dialer dials: it says so beforehand."""

from ipaddress import ip_address

import pytest

from netmgr.guard import NOWHERE, Surroundings
from netmgr.policy.explain import explain
from netmgr.policy.policy import parse_policy
from netmgr.reasons import Reason

POLICY = parse_policy(
    """
version: 1
network_policies:
  web:
    endpoints:
      - {host: k8s.test, ports: [443, 6443]}
      - {host: 169.254.169.254, port: 80, protocol: rest, access: full}
      - {host: 10.0.0.1, ports: [80, 2379]}
      - {host: 192.0.2.1, port: 80}
      - {host: host.openshell.internal, ports: [8000, 6443]}
    binaries: [{path: /**}]
""",
    "p.yaml",
)
HERE = Surroundings(control_plane_ports=frozenset({2379, 6443}))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("k8s.test:6443", "port 6443 is for control planes"),
        ("https://k8s.test:6443/x", "port 6443 is for control planes"),
        ("http://169.254.169.254/latest", "cloud metadata service"),
        ("10.0.0.1:2379", "10.0.0.1 (port 2379 is for control planes)"),
        ("host.openshell.internal:6443", "port 6443 is for control planes"),
    ],
)
def test_what_is_never_dialled_is_denied_by_its_rule(target: str, words: str) -> None:
    told = explain(POLICY, target, around=HERE)
    assert (told.stage, told.decision.reason) == ("address", Reason.ADDRESS_BLOCKED)
    assert words in told.decision.message
    assert told.decision.rule is not None
    assert told.decision.rule in told.decision.message
    assert told.decision.remedy_args is None


@pytest.mark.parametrize("target", ["k8s.test:443", "10.0.0.1:80", "host.openshell.internal:8000"])
def test_what_may_be_dialled_is_allowed(target: str) -> None:
    assert explain(POLICY, target, around=HERE).decision.permits


def test_ports_and_own_addresses_are_only_blocked_where_they_are_known() -> None:
    assert explain(POLICY, "k8s.test:6443", around=NOWHERE).decision.permits
    assert explain(POLICY, "192.0.2.1:80", around=NOWHERE).decision.permits


def test_an_address_of_this_host_is_blocked() -> None:
    around = Surroundings(host_addresses=frozenset({ip_address("192.0.2.1")}))
    told = explain(POLICY, "192.0.2.1:80", around=around)
    assert "an address of this host" in told.decision.message
