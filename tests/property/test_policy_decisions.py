"""Whole policies: round trips, explain and judge agree, remedies work, parsing never crashes."""

from contextlib import suppress
from itertools import combinations
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from netmgr.errors import BadInput
from netmgr.model import INFERENCE_NAME
from netmgr.policy.decision import Decision, Request, Target, Treatment
from netmgr.policy.explain import explain
from netmgr.policy.hosts import ExactHost, Host, WildcardHost, may_overlap
from netmgr.policy.operations import parse_arguments
from netmgr.policy.path import canonical_path
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError
from netmgr.policy.rules import Endpoint, Protocol
from netmgr.policy.update import update_policy
from netmgr.reasons import Reason, Verdict

LABEL = st.sampled_from(["a", "b", "ab", "x-1"])
NAME = st.lists(LABEL, min_size=1, max_size=4).map(lambda labels: ".".join((*labels, "w.test")))
ODD_NAME = st.sampled_from(
    ["host.openshell.internal", "host.docker.internal", "inference.local", "policy.local", "db"]
)
WILDCARD = st.tuples(
    st.sampled_from(["*", "**", "a*", "*b"]), st.sampled_from(["w.test", "a.w.test"])
)
ADDRESS = st.sampled_from(["203.0.113.9", "198.51.100.7", "10.0.0.5", "127.0.0.1"])
PORT = st.sampled_from([22, 80, 443, 8443])
HOST = st.one_of(NAME, st.just("host.openshell.internal"), WILDCARD.map(".".join), ADDRESS)
METHOD = st.sampled_from(["GET", "HEAD", "POST", "DELETE", "*"])
GLOB = st.sampled_from(
    ["/**", "**", "/", "/v1", "/v1/**", "/v1/*", "/*/x", "/**/x", "/a%20b", "/%2A"]
)
QUERY_TEST = st.sampled_from(["1", "x*", {"glob": "x"}, {"any": ["1", "*"]}])
RULE = st.fixed_dictionaries(
    {"method": METHOD, "path": GLOB},
    optional={"query": st.dictionaries(st.sampled_from(["k", "x-y"]), QUERY_TEST, max_size=2)},
)
REST = st.fixed_dictionaries(
    {"protocol": st.just("rest")},
    optional={
        "enforcement": st.sampled_from(["audit", "enforce"]),
        "path": st.sampled_from(["", "**", "/v1/**", "/v1/x", "/*/x", "/v1", "/a%20b"]),
        "allow_encoded_slash": st.booleans(),
        "deny_rules": st.lists(RULE, min_size=1, max_size=2),
    },
).flatmap(
    lambda rest: st.one_of(
        st.sampled_from(["read-only", "read-write", "full"]).map(lambda a: {**rest, "access": a}),
        st.lists(RULE, min_size=1, max_size=3).map(
            lambda rules: {**rest, "rules": [{"allow": rule} for rule in rules]}
        ),
    )
)
TRAITS = st.one_of(
    st.just({}),
    st.sampled_from([{"protocol": "tcp"}, {"protocol": "sql"}, {"tls": "skip"}]),
    REST,
)
ENDPOINT = st.tuples(HOST, st.lists(PORT, min_size=1, max_size=2), TRAITS).map(
    lambda parts: {"host": parts[0], "ports": parts[1], **parts[2]}
)
ENTRY = st.fixed_dictionaries(
    {
        "endpoints": st.lists(ENDPOINT, max_size=4),
        "binaries": st.just([{"path": "/**"}]),
    },
    optional={
        "name": st.sampled_from(["", "no", "A name: #1", "ünicode"]),
        "mode": st.sampled_from(["enforce", "observe"]),
        "source": st.sampled_from([{}, {"seen": 1, "a b": [True, None, "x: y"]}]),
    },
)
KEY = st.sampled_from(["web", "a b", "no", "1", "x.y", "ü", "a:b", "z'"])
DOC = st.fixed_dictionaries(
    {"version": st.just(1), "network_policies": st.dictionaries(KEY, ENTRY, max_size=3)},
    optional={
        "process": st.just({"run_as_user": "1000"}),
        "defaults": st.sampled_from(
            [{"mode": "observe"}, {"mode": "enforce"}, {"on_deny": {"hint": "ask: x"}}, {}]
        ),
    },
)
TARGET = st.one_of(
    st.tuples(st.one_of(NAME, ODD_NAME), PORT).map(lambda p: Target(p[0], None, p[1])),
    st.tuples(ADDRESS, PORT).map(lambda p: Target(None, p[0], p[1])),
)
PATH = st.sampled_from(
    [
        *("/", "/v1", "/v1/", "/v1/x", "/a/x", "/x", "/a%20b", "/*", "/v1/../x", "/a:b"),
        *("/v1%2Fx", "/v1?k=1", "/v1/x?k=x&x-y=1", "/?k=2;x-y=1"),
    ]
)
REQUEST_METHOD = st.sampled_from(["GET", "HEAD", "POST", "DELETE", "delete", "BREW"])


def read(method: str, target: str) -> Request:
    return Request(method, *canonical_path(target, allow_encoded_slash=True))


def load(doc: Any) -> Policy:
    try:
        return Policy.from_doc(doc)
    except PolicyError:
        assume(False)
        raise


@given(DOC)
def test_a_policy_survives_its_documents(doc: Any) -> None:
    policy = load(doc)
    again = Policy.from_doc(policy.to_doc())
    text = parse_policy(policy.to_yaml(), "again")
    assert again.digest == text.digest == policy.digest
    assert again.to_doc() == text.to_doc() == policy.to_doc()
    assert text.to_yaml() == policy.to_yaml()


@given(DOC, TARGET, REQUEST_METHOD, PATH)
def test_explain_agrees_with_the_judge(doc: Any, target: Target, method: str, path: str) -> None:
    policy = load(doc)
    explained = explain(policy, f"https://{target}{path}", method)
    if target.name == INFERENCE_NAME:
        assert explained.stage == "inference"
        return
    connection = policy.judge_connection(target)
    if explained.stage == "address":  # what the policy lets through and the dialer never dials
        assert connection.permits
        assert explained.decision.reason is Reason.ADDRESS_BLOCKED
        return
    if connection.permits and connection.treatment is Treatment.TERMINATE:
        request = read(method, path)
        assert explained.decision == policy.judge_request(target, request)
    else:
        assert explained.decision == connection
    assert explain(policy, str(target)).decision == connection


@given(DOC, TARGET, REQUEST_METHOD, PATH)
def test_faces_of_one_decision_agree(doc: Any, target: Target, method: str, path: str) -> None:
    policy = load(doc)
    connection = policy.judge_connection(target)
    request = policy.judge_request(target, read(method, path))
    plan = policy.destination_plan(target)
    assert connection.permits == (plan is not None)
    assert connection.permits or request == connection
    if target.name is not None:
        named = policy.judge_name(target.name)
        assert connection.permits == (target.port in named.ports)
        assert named.decision.permits == bool(named.ports)
    for decision in (connection, request):
        check_shape(decision)


def check_shape(decision: Decision) -> None:
    assert decision.message
    if decision.verdict is Verdict.ALLOWED:
        assert decision.reason is Reason.ALLOWED
        assert decision.rule is not None
        assert decision.remedy_args is None
    if decision.verdict is Verdict.DENIED:
        assert decision.reason is not Reason.ALLOWED


@given(DOC, TARGET, REQUEST_METHOD, PATH)
def test_the_remedy_makes_the_very_next_try_succeed(
    doc: Any, target: Target, method: str, path: str
) -> None:
    policy = load(doc)
    request = read(method, path)
    for _ in range(2):  # the connection first, then perhaps the request on it
        decision = policy.judge_connection(target)
        if decision.permits:
            decision = policy.judge_request(target, request)
        if decision.verdict is Verdict.ALLOWED or decision.remedy_args is None:
            return
        before = decision
        policy = update_policy(policy, parse_arguments(decision.remedy_args)).policy
        after = policy.judge_connection(target)
        if before.treatment is Treatment.TERMINATE:
            after = policy.judge_request(target, request)
            assert after.verdict is Verdict.ALLOWED
        assert after.permits


@given(DOC, TARGET, TARGET, REQUEST_METHOD, PATH)
def test_a_remedy_opens_nothing_but_what_it_names(
    doc: Any, target: Target, other: Target, method: str, path: str
) -> None:
    policy = load(doc)
    decision = policy.judge_connection(target)
    assume(not decision.permits and decision.remedy_args and other != target)
    updated = update_policy(policy, parse_arguments(decision.remedy_args or "")).policy
    before, after = policy.judge_connection(other), updated.judge_connection(other)
    assert before.permits == after.permits
    request = read(method, path)
    assert (
        policy.judge_request(other, request).verdict
        is updated.judge_request(other, request).verdict
    )


@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_only_a_policy_error_escapes_any_text(text: str) -> None:
    for candidate in (text, f"version: 1\nnetwork_policies: {text}", f"version: 1\n{text}"):
        with suppress(PolicyError):
            parse_policy(candidate, "x")


KEYS = """
    version network_policies endpoints binaries host port ports protocol access rules deny_rules
    allow method path tls enforcement mode name process landlock web x filesystem_policy read_only
    allowed_ips defaults on_deny hint source query any glob allow_encoded_slash
"""
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), HOST),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(KEYS.split()),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(JSON, JSON)
@settings(max_examples=300)
def test_only_a_policy_error_escapes_any_value(value: Any, inner: Any) -> None:
    endpoint = {"host": "a.test", "port": 443, "protocol": "rest", "access": "full"}
    for doc in (
        value,
        {"version": 1, "network_policies": value},
        {"version": 1, "network_policies": {"web": value}},
        {"version": 1, "network_policies": {"web": {"endpoints": value, "binaries": inner}}},
        {"version": 1, "network_policies": {"web": {"endpoints": [{**endpoint, "rules": value}]}}},
    ):
        with suppress(PolicyError):
            policy = Policy.from_doc(doc)
            assert Policy.from_doc(policy.to_doc()) == policy


@given(st.text(max_size=30), PATH)
def test_only_our_errors_escape_explain(text: str, path: str) -> None:
    policy = Policy.from_doc({"version": 1})
    for candidate in (text, f"https://{text}{path}", f"{text}:443"):
        with suppress(BadInput):
            explain(policy, candidate)


def alone(endpoint: Any) -> Endpoint:
    """The endpoint as the schema reads it, without others to contradict."""
    entry = {"endpoints": [endpoint], "binaries": [{"path": "/**"}]}
    return load({"version": 1, "network_policies": {"web": entry}}).entries[0].endpoints[0]


def contradict(one: Endpoint, other: Endpoint) -> bool:
    raw = (Protocol.TCP, Protocol.SQL)
    differ = (
        one.tls is not other.tls
        or (one.protocol in raw) is not (other.protocol in raw)
        or (one.inspects and other.inspects and read_differently(one, other))
    )
    return differ and bool(set(one.ports) & set(other.ports)) and hosts_meet(one.host, other.host)


def read_differently(one: Endpoint, other: Endpoint) -> bool:
    if one.specificity != other.specificity or (
        one.path and other.path and not one.path.meets(other.path)
    ):
        return False
    return one.audit is not other.audit or one.encoded_slash is not other.encoded_slash


def hosts_meet(one: Host, other: Host) -> bool:
    if isinstance(one, WildcardHost) and isinstance(other, WildcardHost):
        return may_overlap(one, other)
    for wild, name in ((one, other), (other, one)):
        if isinstance(wild, WildcardHost):
            return isinstance(name, ExactHost) and wild.matches(name.text)
    return one == other


@given(st.lists(ENDPOINT, max_size=6))
def test_the_indexed_check_finds_what_comparing_all_pairs_finds(endpoints: list[Any]) -> None:
    read = [alone(endpoint) for endpoint in endpoints]
    expected = any(contradict(*pair) for pair in combinations(read, 2))
    entry = {"endpoints": endpoints, "binaries": [{"path": "/**"}]}
    try:
        Policy.from_doc({"version": 1, "network_policies": {"web": entry}})
        found = False
    except PolicyError as error:
        found = "contradicts" in error.message
    assert found == expected
