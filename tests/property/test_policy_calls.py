"""Rules for what is inside of requests: they survive documents, deny rules only take away, and
`policy explain` answers as the judge does."""

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from netmgr.policy.calls.call import Call, GraphqlCall, Operation, RpcAnswer, RpcCall, StoredCall
from netmgr.policy.decision import Request, Target
from netmgr.policy.explain import explain
from netmgr.policy.policy import Policy
from netmgr.policy.problems import PolicyError
from netmgr.reasons import Verdict

API = Target("a.test", None, 443)
NAME = st.sampled_from(["a", "ab", "b", "read_x", "rm"])
GLOB = st.sampled_from(["a", "a*", "*", "*b", "read_*", "rm"])
TEST = st.one_of(GLOB, st.lists(GLOB, min_size=1, max_size=2).map(lambda globs: {"any": globs}))
TYPE = st.sampled_from(["query", "mutation", "subscription", "*"])
GRAPHQL_RULE = st.fixed_dictionaries(
    {"operation_type": TYPE},
    optional={"operation_name": GLOB, "fields": st.lists(GLOB, min_size=1, max_size=2)},
)
RPC_RULE = st.fixed_dictionaries({"method": st.sampled_from(["a", "b", "*"])})
MCP_RULE = st.one_of(
    st.fixed_dictionaries({"method": st.sampled_from(["ping", "tools/list", "tools/*", "*"])}),
    st.fixed_dictionaries(
        {"method": st.just("tools/call")},
        optional={
            "tool": GLOB,
            "arguments": st.dictionaries(st.sampled_from(["p", "q"]), TEST, min_size=1),
        },
    ),
)
RULES = {"graphql": GRAPHQL_RULE, "json-rpc": RPC_RULE, "mcp": MCP_RULE}


@st.composite
def endpoints(draw: st.DrawFn) -> dict[str, Any]:
    protocol = draw(st.sampled_from(sorted(RULES)))
    found: dict[str, Any] = {"host": "a.test", "port": 443, "protocol": protocol}
    rules = draw(st.lists(RULES[protocol], min_size=1, max_size=3))
    found["rules"] = [{"allow": rule} for rule in rules]
    deny = draw(st.lists(RULES[protocol], max_size=2))
    if deny:
        found["deny_rules"] = deny
    if draw(st.booleans()):
        found["enforcement"] = "audit"
    if protocol == "mcp" and draw(st.booleans()):
        found["mcp"] = {"allow_all_known_mcp_methods": True}
    if protocol == "graphql" and draw(st.booleans()):
        found["persisted_queries"] = "allow_registered"
        found["graphql_persisted_queries"] = {"a": draw(GRAPHQL_STORED)}
    return found


GRAPHQL_STORED = st.fixed_dictionaries(
    {"operation_type": TYPE.filter(lambda kind: kind != "*")},
    optional={"operation_name": NAME, "fields": st.lists(NAME, min_size=1, max_size=2)},
)
VALUE = st.recursive(
    st.one_of(NAME, st.integers(0, 2), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(NAME, inner, max_size=1)),
    max_leaves=3,
)
CALL: st.SearchStrategy[Call] = st.one_of(
    st.builds(
        GraphqlCall,
        st.sampled_from(Operation),
        st.one_of(st.just(""), NAME),
        st.lists(NAME, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(StoredCall, NAME, st.one_of(st.just(""), NAME)),
    st.builds(RpcCall, st.sampled_from(["a", "b", "ping", "tools/list"])),
    st.builds(
        RpcCall,
        st.just("tools/call"),
        NAME,
        st.dictionaries(st.sampled_from(["p", "P", "q"]), VALUE, max_size=2),
    ),
    st.builds(RpcAnswer),
)


def load(endpoint: dict[str, Any]) -> Policy:
    entry = {"endpoints": [endpoint], "binaries": [{"path": "/**"}]}
    try:
        return Policy.from_doc({"version": 1, "network_policies": {"web": entry}})
    except PolicyError:
        assume(False)
        raise


def ask(policy: Policy, *calls: Call) -> Any:
    return policy.judge_request(API, Request("POST", "/", calls=calls))


@given(endpoints())
def test_a_policy_survives_its_document(endpoint: dict[str, Any]) -> None:
    policy = load(endpoint)
    again = Policy.from_doc(policy.to_doc())
    assert again == policy
    assert again.to_doc() == policy.to_doc()


@given(endpoints(), CALL, CALL)
def test_a_batch_is_as_good_as_its_worst(endpoint: dict[str, Any], one: Call, two: Call) -> None:
    policy = load(endpoint)
    alone = [ask(policy, call) for call in (one, two)]
    both = ask(policy, one, two)
    assert both.permits == all(decision.permits for decision in alone)
    if both.verdict is Verdict.ALLOWED:
        assert all(decision.verdict is Verdict.ALLOWED for decision in alone)


@given(endpoints(), CALL)
def test_deny_rules_only_take_away(endpoint: dict[str, Any], call: Call) -> None:
    with_them = ask(load(endpoint), call)
    without = {key: value for key, value in endpoint.items() if key != "deny_rules"}
    if with_them.verdict is Verdict.ALLOWED:
        assert ask(load(without), call).verdict is Verdict.ALLOWED


@given(endpoints(), CALL)
def test_audit_softens_nothing_that_is_final(endpoint: dict[str, Any], call: Call) -> None:
    decision = ask(load(endpoint), call)
    enforced = ask(load({k: v for k, v in endpoint.items() if k != "enforcement"}), call)
    assert not (enforced.final and decision.permits)
    if enforced.verdict is Verdict.ALLOWED:
        assert decision.verdict is Verdict.ALLOWED


@given(endpoints(), CALL)
def test_explain_answers_as_the_judge_does(endpoint: dict[str, Any], call: Call) -> None:
    policy = load(endpoint)
    graphql = endpoint["protocol"] == "graphql"
    if isinstance(call, RpcAnswer) or isinstance(call, RpcCall) is graphql:
        return  # these have no words for people
    if isinstance(call, RpcCall) and call.arguments:
        return  # arguments are written as JSON; test_policy_calls.py has them
    assert explain(policy, "https://a.test/", operation=str(call)).decision == ask(policy, call)
