"""Rules for operations by a line: what is proposed for a call covers it, whatever the call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import BadInput
from netmgr.policy.calls.call import (
    Call,
    GraphqlCall,
    Operation,
    RpcCall,
    parse_graphql_call,
    parse_rpc_call,
)
from netmgr.policy.calls.wording import graphql_rule, narrowest, rpc_rule
from netmgr.policy.decision import Request, Target
from netmgr.policy.operations import parse_arguments
from netmgr.policy.owner import ANYONE
from netmgr.policy.policy import parse_policy
from netmgr.policy.update import update_policy

POLICY = parse_policy(
    """
version: 1
network_policies:
  e:
    endpoints:
      - {host: graph.test, port: 443, path: /q, protocol: graphql,
         rules: [{allow: {operation_type: query, fields: [known]}}]}
      - {host: tools.test, port: 443, protocol: mcp, rules: [{allow: {method: initialize}}]}
      - {host: rpc.test, port: 443, protocol: json-rpc, rules: [{allow: {method: known}}]}
    binaries: [{path: /**}]
""",
    "p.yaml",
)
NAMES = st.from_regex("[_A-Za-z][_0-9A-Za-z]{0,8}", fullmatch=True)
GRAPHQL = st.builds(
    GraphqlCall,
    st.sampled_from(Operation),
    st.just("") | NAMES,
    st.lists(NAMES, max_size=25).map(tuple),
)
WORDS = st.text(max_size=12) | st.text("ab/*_.-$ ':\"{}", min_size=1, max_size=12)
RPC = st.builds(RpcCall, WORDS) | st.builds(RpcCall, st.just("tools/call"), WORDS, st.just({}))


def place(call: Call, plain: bool) -> tuple[Target, str]:
    if isinstance(call, GraphqlCall):
        return Target("graph.test", None, 443), "/q"
    return Target("rpc.test" if plain else "tools.test", None, 443), "/"


@given(GRAPHQL | RPC, st.booleans())
def test_a_remedy_allows_the_very_call(call: Call, plain: bool) -> None:
    target, path = place(call, plain)
    request = Request("POST", path, calls=(call,))
    decision = POLICY.judge_request(target, request, ANYONE)
    if decision.remedy_args is None:
        return
    assert not decision.permits
    updated = update_policy(POLICY, parse_arguments(decision.remedy_args)).policy
    assert updated.judge_request(target, request, ANYONE).permits


@given(GRAPHQL | RPC)
def test_a_line_is_spelled_as_for_explain(call: Call) -> None:
    line = narrowest(call, tools=True)
    if line is None:
        return
    if isinstance(call, GraphqlCall):
        again = parse_graphql_call(line)
        assert isinstance(again, GraphqlCall)
        assert (again.kind, set(again.fields)) == (call.kind, set(call.fields))
    else:
        assert parse_rpc_call(line) == call or call == RpcCall(line)


@given(WORDS)
def test_any_text_is_a_rule_or_a_message(text: str) -> None:
    for read in (graphql_rule, rpc_rule):
        try:
            doc = read(text)
        except BadInput:
            continue
        assert doc.get("operation_type") or doc.get("method")


def test_arguments_without_end_are_a_message() -> None:
    with pytest.raises(BadInput, match="the arguments"):
        rpc_rule("tools/call x " + "[" * 100_000)
