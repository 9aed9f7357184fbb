"""What a sandbox is answered, name by name and type by type."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from netmgr.policy.policy import parse_policy
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason, Verdict
from netmgr_dns.answers import decide
from netmgr_dns.messages import Answer, EdeCode, Edns, NeedName, QType, Query, Question, Rcode

POLICY = """
version: 1
network_policies:
  web:
    endpoints:
      - {host: api.example.com, port: 443}
      - {host: "*.wild.example", port: 443}
    binaries: [{path: "/**"}]
"""
HOST_POLICY = """
version: 1
network_policies:
  host:
    endpoints: [{host: host.openshell.internal, port: 8000}]
    binaries: [{path: "/**"}]
"""
NAMES = {"inference.local": "198.18.0.1", "api.example.com": "198.18.0.2"}


def sandbox(policy: str = POLICY, names: dict[str, str] = NAMES) -> SandboxView:
    return SandboxView(
        address="10.77.0.5",
        name="box",
        tenant=None,
        labels={},
        policy=parse_policy(policy, "test.yaml"),
        revision=1,
        names=names,
        by_ip={ip: name for name, ip in names.items()},
    )


def query(name: str, qtype: int = QType.A, qclass: int = 1, edns: Edns | None = None) -> Query:
    labels = tuple(name.encode().split(b".")) if name else ()
    return Query(1, Question(labels, qtype, qclass), True, False, edns)


def answer(name: str, qtype: int = QType.A, **more: str) -> Answer:
    outcome = decide(query(name, qtype), sandbox(**more))
    assert isinstance(outcome, Answer)
    return outcome


@pytest.mark.parametrize("name", ["api.example.com", "API.Example.COM", "inference.local"])
def test_an_allowed_name_stands_for_its_private_address(name: str) -> None:
    found = answer(name)
    assert found.rcode is Rcode.NOERROR
    assert found.ip == IPv4Address(NAMES[name.lower()])
    assert found.decision is not None
    assert found.decision.verdict is Verdict.ALLOWED


@pytest.mark.parametrize("qtype", [QType.AAAA, QType.HTTPS, QType.SVCB, 16, 15, 255, 252])
@pytest.mark.parametrize("name", ["api.example.com", "inference.local", "a.wild.example"])
def test_every_other_type_of_an_allowed_name_is_nodata(name: str, qtype: int) -> None:
    found = answer(name, qtype)
    assert (found.rcode, found.ip, found.negative, found.ede) == (Rcode.NOERROR, None, True, None)


@pytest.mark.parametrize("qtype", [QType.A, QType.AAAA, QType.HTTPS, 16, 255])
@pytest.mark.parametrize(
    "name",
    [
        "api.entropics.com",
        "example.com",
        "x.inference.local",
        "inference.local.example.com",
        "api.example.com.corp.example",  # a search domain's junk
        "x.host.openshell.internal",
        "host.docker.internal",
        "wild.example",
        "printer.local",
        "api.example.com\\046",
        "",
    ],
)
def test_a_name_without_a_rule_does_not_exist_whatever_the_type(name: str, qtype: int) -> None:
    found = answer(name, qtype)
    assert found.rcode is Rcode.NXDOMAIN
    assert not found.negative  # a cached denial would outlive a policy change
    assert found.ede is not None
    assert found.ede.code is EdeCode.BLOCKED
    assert found.ede.text == "no_matching_rule rule=none"
    assert found.decision is not None
    assert found.decision.reason is Reason.NO_MATCHING_RULE


def test_a_dot_inside_a_label_is_not_a_separator() -> None:
    labels = (b"api.example", b"com")
    outcome = decide(Query(1, Question(labels, QType.A, 1), True, False, None), sandbox())
    assert isinstance(outcome, Answer)
    assert outcome.rcode is Rcode.NXDOMAIN


@pytest.mark.parametrize(
    ("policy", "rule"), [(HOST_POLICY, "host.endpoints[0]"), (POLICY, None)], ids=["named", "not"]
)
def test_the_host_is_a_name_in_every_sandbox_as_in_its_hosts_file(
    policy: str, rule: str | None
) -> None:
    names = {"host.openshell.internal": "198.18.0.9"}
    outcome = decide(query("host.openshell.internal"), sandbox(policy, names))
    assert isinstance(outcome, Answer)
    assert outcome.ip == IPv4Address("198.18.0.9")
    assert outcome.decision is not None
    assert outcome.decision.rule == rule


def test_other_names_of_the_host_are_names_only_where_the_policy_names_them() -> None:
    names = {"host.openshell.internal": "198.18.0.9"}
    other = decide(query("host.docker.internal"), sandbox(HOST_POLICY, names))
    assert isinstance(other, Answer)
    assert other.rcode is Rcode.NXDOMAIN


def test_a_wildcard_name_needs_an_address_first() -> None:
    outcome = decide(query("a.wild.example"), sandbox())
    assert isinstance(outcome, NeedName)
    assert outcome.name == "a.wild.example"
    known = NAMES | {"a.wild.example": "198.18.0.3"}
    after = decide(query("a.wild.example"), sandbox(names=known))
    assert isinstance(after, Answer)
    assert after.ip == IPv4Address("198.18.0.3")


def test_localhost_is_answered_here() -> None:
    assert answer("localhost").ip == IPv4Address("127.0.0.1")
    assert answer("db.LocalHost", QType.AAAA).ip == IPv6Address("::1")
    assert answer("localhost", QType.HTTPS).negative
    assert answer("1.0.0.127.in-addr.arpa", QType.PTR).pointer == "localhost"
    assert answer("localhost").decision is None


def test_a_private_address_has_a_name_in_its_own_view_only() -> None:
    found = answer("2.0.18.198.in-addr.arpa", QType.PTR)
    assert (found.rcode, found.pointer) == (Rcode.NOERROR, "api.example.com")
    assert answer("1.0.18.198.IN-ADDR.ARPA", QType.PTR).pointer == "inference.local"
    assert answer("2.0.18.198.in-addr.arpa", QType.A).negative
    foreign = decide(query("2.0.18.198.in-addr.arpa", QType.PTR), sandbox(names={}))
    assert isinstance(foreign, Answer)
    assert foreign.rcode is Rcode.NXDOMAIN


@pytest.mark.parametrize(
    "name",
    [
        "8.8.8.8.in-addr.arpa",
        "18.198.in-addr.arpa",
        "9.2.0.18.198.in-addr.arpa",
        "in-addr.arpa",
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    ],
)
def test_no_other_address_has_a_name(name: str) -> None:
    assert answer(name, QType.PTR).rcode is Rcode.NXDOMAIN


def test_a_name_that_is_no_longer_allowed_has_no_pointer_either() -> None:
    view = replace(sandbox(), policy=parse_policy(HOST_POLICY, "test.yaml"))
    outcome = decide(query("2.0.18.198.in-addr.arpa", QType.PTR), view)
    assert isinstance(outcome, Answer)
    assert outcome.rcode is Rcode.NXDOMAIN


def test_another_class_is_refused() -> None:
    outcome = decide(query("version.bind", 16, qclass=3), sandbox())
    assert isinstance(outcome, Answer)
    assert outcome.rcode is Rcode.REFUSED
    assert outcome.ede is not None
    assert outcome.ede.text == "unsupported_protocol rule=none"


def test_an_unknown_edns_version_is_told_before_anything_else() -> None:
    edns = Edns(payload=1232, version=1, dnssec_ok=False, has_options=False)
    outcome = decide(query("api.entropics.com", edns=edns), sandbox())
    assert outcome == Answer(Rcode.BADVERS)
