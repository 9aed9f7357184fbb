"""Decisions: verdict, reason, rule, nearest and remedy of each kind."""

from ipaddress import IPv4Network

import pytest

from netmgr.policy.decision import PlanKind, Request, Target, Treatment
from netmgr.policy.operations import parse_arguments
from netmgr.policy.owner import ANYONE
from netmgr.policy.policy import EMPTY_POLICY, Policy, parse_policy
from netmgr.policy.update import update_policy
from netmgr.reasons import Reason, Verdict

POLICY = """
version: 1
network_policies:
  api:
    endpoints:
      - {host: api.anthropic.com, port: 443}
      - {host: "*.w.test", ports: [443, 8443]}
      - {host: "**.deep.test", port: 443}
      - {host: "*-x.googleapis.com", port: 443}
      - {host: "*.s3.*.amazonaws.com", port: 443}
      - {host: 203.0.113.9, port: 22}
    binaries: [{path: /**}]
  rest:
    endpoints:
      - {host: api.test, port: 443, protocol: rest, access: read-only}
      - host: rules.test
        port: 443
        protocol: rest
        rules:
          - {allow: {method: GET, path: /v1/**}}
          - {allow: {method: POST, path: "/v1/*/items"}}
        deny_rules:
          - {method: GET, path: /v1/secret/**}
      - {host: audit.test, port: 443, protocol: rest, enforcement: audit, access: read-only}
    binaries: [{path: /**}]
  host:
    endpoints:
      - {host: host.openshell.internal, port: 8000}
      - {host: db.test, port: 5432, protocol: sql}
      - {host: "**.internal.test", port: 443}
    binaries: [{path: /**}]
"""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(POLICY, "policy.yaml")


def https(name: str, port: int = 443) -> Target:
    return Target(name, None, port)


ALLOWED = {
    "api.anthropic.com": "api.endpoints[0]",
    "x.w.test": "api.endpoints[1]",
    "a.deep.test": "api.endpoints[2]",
    "a.b.c.deep.test": "api.endpoints[2]",
    "eu-x.googleapis.com": "api.endpoints[3]",
    "bucket.s3.eu-west-1.amazonaws.com": "api.endpoints[4]",
}


@pytest.mark.parametrize("name", ALLOWED)
def test_an_allowed_name_is_answered_and_spliced(policy: Policy, name: str) -> None:
    named = policy.judge_name(name)
    assert named.decision.permits
    assert 443 in named.ports
    decision = policy.judge_connection(https(name))
    assert (decision.verdict, decision.reason) == (Verdict.ALLOWED, Reason.ALLOWED)
    assert decision.rule == ALLOWED[name]
    assert decision.treatment is Treatment.SPLICE


@pytest.mark.parametrize(
    "name",
    [
        "w.test",
        "a.b.w.test",
        "deep.test",
        "x.googleapis.com",
        "a.eu-x.googleapis.com",
        "s3.eu-west-1.amazonaws.com",
        "b.s3.eu.west.amazonaws.com",
        "anthropic.com",
        "xapi.anthropic.com",
        "api.anthropic.com.evil.test",
        "inference.local",
        "policy.local",
        "host.docker.internal",
    ],
)
def test_any_other_name_is_unknown(policy: Policy, name: str) -> None:
    named = policy.judge_name(name)
    assert named.decision.reason is Reason.NO_MATCHING_RULE
    assert named.decision.rule is None
    assert named.ports == frozenset()
    assert policy.judge_connection(https(name)).reason is Reason.NO_MATCHING_RULE
    assert policy.destination_plan(https(name)) is None


def test_a_typo_is_denied_with_the_nearest_host_and_the_remedy(policy: Policy) -> None:
    decision = policy.judge_name("api.entropics.com").decision
    assert decision.verdict is Verdict.DENIED
    assert decision.nearest == "api.anthropic.com"
    assert decision.remedy_args == "--add-endpoint api.entropics.com:443"
    assert decision.remedy("web") == (
        "netmgr policy update web --add-endpoint api.entropics.com:443"
    )
    assert "api.anthropic.com" in decision.message


def test_what_no_policy_can_allow_has_no_remedy(policy: Policy) -> None:
    for name in ("inference.local", "policy.local", "0x7f000001", "a b.test", "*.w.test"):
        assert policy.judge_name(name).decision.remedy_args is None


@pytest.mark.parametrize("name", ["*.w.test", "a b.w.test", "a\x00.w.test", ".w.test", "X.w.test"])
def test_no_wildcard_covers_what_is_no_host_name(policy: Policy, name: str) -> None:
    assert not policy.judge_name(name).decision.permits


def test_a_known_name_on_another_port(policy: Policy) -> None:
    decision = policy.judge_connection(https("x.w.test", 9443))
    assert decision.reason is Reason.PORT_NOT_ALLOWED
    assert decision.message == "x.w.test is allowed on port 443, 8443, not on 9443"
    assert decision.nearest == "api.endpoints[1]"
    assert decision.remedy_args == "--add-endpoint x.w.test:9443"


def test_a_further_port_of_a_judged_host_is_offered_judged(policy: Policy) -> None:
    offered = policy.judge_connection(https("rules.test", 8443)).remedy_args
    assert offered == "--add-endpoint rules.test:8443::rest"
    widened = update_policy(policy, parse_arguments(offered)).policy
    for method, path in (("GET", "/v1/a"), ("POST", "/v1/a"), ("GET", "/v1/secret"), ("GET", "/")):
        here, there = (
            widened.judge_request(https("rules.test", port), Request(method, path), ANYONE)
            for port in (443, 8443)
        )
        assert (here.verdict, here.reason) == (there.verdict, there.reason)
    offered = policy.judge_connection(https("audit.test", 8443)).remedy_args
    assert offered == "--add-endpoint audit.test:8443:read-only:rest:audit"


def test_addresses(policy: Policy) -> None:
    listed = policy.judge_connection(Target(None, "203.0.113.9", 22))
    assert (listed.verdict, listed.rule) == (Verdict.ALLOWED, "api.endpoints[5]")
    other_port = policy.judge_connection(Target(None, "203.0.113.9", 80))
    assert other_port.reason is Reason.PORT_NOT_ALLOWED
    unlisted = policy.judge_connection(Target(None, "198.51.100.7", 443))
    assert unlisted.reason is Reason.RAW_IP
    assert unlisted.remedy_args == "--add-endpoint 198.51.100.7:443"


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "224.0.0.1", "::1"])
def test_addresses_that_are_always_blocked_have_no_remedy(policy: Policy, address: str) -> None:
    decision = policy.judge_connection(Target(None, address, 80))
    assert (decision.reason, decision.remedy_args) == (Reason.RAW_IP, None)


def test_a_target_that_is_nothing_is_denied(policy: Policy) -> None:
    assert not policy.judge_connection(Target(None, None, 443)).permits


def judge(policy: Policy, method: str, name: str, path: str) -> tuple[Verdict, Reason, str | None]:
    decision = policy.judge_request(https(name), Request(method, path))
    return decision.verdict, decision.reason, decision.rule


ALLOW, DENY, AUDIT = Verdict.ALLOWED, Verdict.DENIED, Verdict.AUDITED
REQUESTS = [
    ("GET", "api.test", "/x", ALLOW, Reason.ALLOWED, "rest.endpoints[0].access"),
    ("HEAD", "api.test", "/x", ALLOW, Reason.ALLOWED, "rest.endpoints[0].access"),
    ("OPTIONS", "api.test", "/", ALLOW, Reason.ALLOWED, "rest.endpoints[0].access"),
    ("POST", "api.test", "/x", DENY, Reason.METHOD_NOT_ALLOWED, "rest.endpoints[0]"),
    ("DELETE", "api.test", "/x", DENY, Reason.METHOD_NOT_ALLOWED, "rest.endpoints[0]"),
    ("GET", "rules.test", "/v1", ALLOW, Reason.ALLOWED, "rest.endpoints[1].rules[0]"),
    ("HEAD", "rules.test", "/v1/a/b", ALLOW, Reason.ALLOWED, "rest.endpoints[1].rules[0]"),
    ("POST", "rules.test", "/v1/a/items", ALLOW, Reason.ALLOWED, "rest.endpoints[1].rules[1]"),
    ("POST", "rules.test", "/v1/a/b/items", DENY, Reason.METHOD_NOT_ALLOWED, "rest.endpoints[1]"),
    ("GET", "rules.test", "/v2", DENY, Reason.PATH_NOT_ALLOWED, "rest.endpoints[1]"),
    ("POST", "rules.test", "/v2", DENY, Reason.PATH_NOT_ALLOWED, "rest.endpoints[1]"),
    ("GET", "rules.test", "/v1/secret", DENY, Reason.DENY_RULE, "rest.endpoints[1].deny_rules[0]"),
    ("HEAD", "rules.test", "/v1/secret/x", DENY, Reason.DENY_RULE, None),
    ("POST", "audit.test", "/x", AUDIT, Reason.METHOD_NOT_ALLOWED, "rest.endpoints[2]"),
    ("GET", "audit.test", "/x", ALLOW, Reason.ALLOWED, "rest.endpoints[2].access"),
    ("POST", "x.w.test", "/x", ALLOW, Reason.ALLOWED, "api.endpoints[1]"),
    ("post", "rules.test", "/v1/a/items", ALLOW, Reason.ALLOWED, "rest.endpoints[1].rules[1]"),
    ("get", "rules.test", "/v1/secret", DENY, Reason.DENY_RULE, "rest.endpoints[1].deny_rules[0]"),
    ("gEt", "rules.test", "/v2", DENY, Reason.PATH_NOT_ALLOWED, "rest.endpoints[1]"),
    ("A B", "api.test", "/", DENY, Reason.METHOD_NOT_ALLOWED, "rest.endpoints[0]"),
    ("GET", "nobody.test", "/x", DENY, Reason.NO_MATCHING_RULE, None),
]


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: " ".join(case[:3]))
def test_requests(policy: Policy, case: tuple[str, str, str, Verdict, Reason, str | None]) -> None:
    method, name, path, verdict, reason, rule = case
    found = judge(policy, method, name, path)
    assert found[:2] == (verdict, reason)
    assert rule is None or found[2] == rule


def test_a_judged_connection_is_terminated(policy: Policy) -> None:
    decision = policy.judge_connection(https("api.test"))
    assert (decision.verdict, decision.treatment) == (Verdict.ALLOWED, Treatment.TERMINATE)


def test_the_remedy_of_a_request_names_endpoint_method_and_path(policy: Policy) -> None:
    decision = policy.judge_request(https("api.test"), Request("POST", "/a*b"))
    assert decision.remedy_args == "--add-allow api.test:443:POST:/a%2Ab --rule-name rest"
    denied = policy.judge_request(https("rules.test"), Request("GET", "/v1/secret"))
    assert denied.remedy_args is None
    assert denied.remedy("web") is None
    assert policy.judge_request(https("api.test"), Request("A B", "/")).remedy_args is None


def test_sql_is_let_through_under_audit(policy: Policy) -> None:
    decision = policy.judge_connection(https("db.test", 5432))
    assert (decision.verdict, decision.treatment) == (Verdict.AUDITED, Treatment.SPLICE)
    assert "SQL is not judged" in decision.message


def test_destination_plans(policy: Policy) -> None:
    def kind(host: str, port: int = 443) -> PlanKind | None:
        literal = host[0].isdigit()
        target = Target(None if literal else host, host if literal else None, port)
        plan = policy.destination_plan(target)
        return plan and plan.kind

    assert kind("api.anthropic.com") is PlanKind.EXACT
    assert kind("api.anthropic.com", 80) is None
    assert kind("x.w.test") is PlanKind.PUBLIC
    assert kind("203.0.113.9", 22) is PlanKind.LITERAL
    assert kind("203.0.113.9", 23) is None
    assert kind("host.openshell.internal", 8000) is PlanKind.HOST
    assert kind("host.openshell.internal", 8001) is None
    assert kind("host.docker.internal", 8000) is None


def test_names_and_literals_that_are_set_up_at_load(policy: Policy) -> None:
    assert policy.exact_names()["db.test"] == {5432}
    assert "x.w.test" not in policy.exact_names()
    assert policy.literals() == {IPv4Network("203.0.113.9/32"): frozenset({22})}


def test_reserved_names_match_no_wildcard() -> None:
    text = (
        "version: 1\nnetwork_policies: {w: {endpoints: [{host: '*.openshell.internal', port: 80},"
        "{host: '**.docker.internal', port: 80}], binaries: [{path: /**}]}}"
    )
    policy = parse_policy(text, "x")
    assert policy.judge_name("a.openshell.internal").decision.permits
    assert not policy.judge_name("host.openshell.internal").decision.permits
    assert not policy.judge_name("host.docker.internal").decision.permits


def entry(*endpoints: str) -> str:
    return f"{{endpoints: [{', '.join(endpoints)}], binaries: [{{path: /**}}]}}"


def test_a_deny_rule_wins_over_every_entry() -> None:
    full = "{host: api.example.test, port: 443, protocol: rest, access: full}"
    deny = (
        "{host: '*.example.test', port: 443, protocol: rest, access: read-only, "
        "deny_rules: [{method: '*', path: /admin/**}]}"
    )
    text = f"version: 1\nnetwork_policies: {{a: {entry(full)}, z: {entry(deny)}}}"
    policy = parse_policy(text, "x")
    assert judge(policy, "DELETE", "api.example.test", "/x")[0] is ALLOW
    verdict, reason, rule = judge(policy, "DELETE", "api.example.test", "/admin/x")
    assert (verdict, reason, rule) == (DENY, Reason.DENY_RULE, "z.endpoints[0].deny_rules[0]")


def test_an_endpoint_that_judges_requests_outranks_a_plain_one() -> None:
    plain = "{host: '*.example.test', port: 443}"
    judged = "{host: api.example.test, port: 443, protocol: rest, access: read-only}"
    policy = parse_policy(
        f"version: 1\nnetwork_policies: {{a: {entry(plain)}, b: {entry(judged)}}}", "x"
    )
    assert policy.judge_connection(https("api.example.test")).treatment is Treatment.TERMINATE
    assert policy.judge_connection(https("www.example.test")).treatment is Treatment.SPLICE
    assert judge(policy, "POST", "api.example.test", "/")[1] is Reason.METHOD_NOT_ALLOWED


def test_an_observed_entry_audits_what_it_would_deny() -> None:
    text = (
        "version: 1\nnetwork_policies: {o: {mode: observe, binaries: [{path: /**}], endpoints: ["
        "{host: api.test, port: 443, protocol: rest, access: read-only}, "
        "{host: l4.test, port: 443}]}}"
    )
    policy = parse_policy(text, "x")
    assert Policy.from_doc(policy.to_doc()) == policy
    assert judge(policy, "POST", "api.test", "/")[0] is AUDIT
    assert policy.judge_connection(https("l4.test")).verdict is AUDIT
    assert policy.judge_connection(https("api.test")).verdict is ALLOW


def test_the_empty_policy_denies() -> None:
    assert not EMPTY_POLICY.judge_name("site.test").decision.permits
    assert EMPTY_POLICY.judge_name("site.test").decision.nearest is None
    assert not EMPTY_POLICY.judge_connection(Target(None, "203.0.113.9", 443)).permits
    assert EMPTY_POLICY.exact_names() == {}
    assert EMPTY_POLICY.literals() == {}


def test_policies_are_equal_by_what_they_say(policy: Policy) -> None:
    assert policy == parse_policy(POLICY, "other.yaml")
    assert hash(policy) == hash(parse_policy(POLICY, "other.yaml"))
    assert policy != EMPTY_POLICY
    assert "3 entries" in repr(policy)
