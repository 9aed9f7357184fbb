"""What is asked inside of requests: rules for GraphQL, JSON-RPC and MCP, loaded and decided."""

from typing import Any

import pytest

from netmgr.errors import BadInput
from netmgr.policy.calls.call import (
    Call,
    Calls,
    GraphqlCall,
    Operation,
    RpcAnswer,
    RpcCall,
    StoredCall,
    parse_graphql_call,
    parse_rpc_call,
)
from netmgr.policy.decision import Decision, Inspection, Reader, Request, Target
from netmgr.policy.explain import explain
from netmgr.policy.operations import parse_arguments
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError
from netmgr.policy.update import update_policy
from netmgr.reasons import Reason, Verdict

API = Target("a.test", None, 443)
QUERY, MUTATION = Operation.QUERY, Operation.MUTATION


def policy(*endpoints: str) -> Policy:
    """A policy of endpoints for a.test:443, each given by its further keys."""
    lines = "".join(f"      - {{host: a.test, port: 443, {text}}}\n" for text in endpoints)
    return parse_policy(
        "version: 1\nnetwork_policies:\n  web:\n    endpoints:\n"
        f"{lines}    binaries: [{{path: /**}}]\n",
        "p.yaml",
    )


def ask(judge: Policy, *calls: Call, method: str = "POST", path: str = "/q") -> Decision:
    return judge.judge_request(API, Request(method, path, calls=calls))


def graphql(kind: Operation, *fields: str, name: str = "") -> GraphqlCall:
    return GraphqlCall(kind, name, fields)


def tool(name: str, **arguments: Any) -> RpcCall:
    return RpcCall("tools/call", name, arguments)


# -- GraphQL -------------------------------------------------------------------------------

RULES = """protocol: graphql, rules: [
  {allow: {operation_type: query, fields: [user, 'list*']}},
  {allow: {operation_type: mutation, operation_name: 'Save*'}}],
  deny_rules: [{fields: [deleteUser]}, {operation_type: query, fields: ['list_secret*']}]"""


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ((graphql(QUERY, "user"),), Reason.ALLOWED),
        ((graphql(QUERY, "user", "listAll"),), Reason.ALLOWED),
        ((graphql(QUERY, "user", "other"),), Reason.OPERATION_NOT_ALLOWED),
        ((graphql(QUERY, "list_secrets"),), Reason.DENY_RULE),
        ((graphql(MUTATION, "save", name="SaveIt"),), Reason.ALLOWED),
        ((graphql(MUTATION, "save"),), Reason.OPERATION_NOT_ALLOWED),
        ((graphql(MUTATION, "save", "deleteUser", name="SaveIt"),), Reason.DENY_RULE),
        ((graphql(QUERY, "user"), graphql(QUERY, "user")), Reason.ALLOWED),
        ((graphql(QUERY, "user"), graphql(MUTATION, "x")), Reason.OPERATION_NOT_ALLOWED),
        ((graphql(Operation.SUBSCRIPTION, "user"),), Reason.OPERATION_NOT_ALLOWED),
        ((StoredCall("abc"),), Reason.OPERATION_NOT_ALLOWED),
        ((RpcCall("user"),), Reason.OPERATION_NOT_ALLOWED),
    ],
)
def test_graphql_rules(calls: Calls, reason: Reason) -> None:
    decision = ask(policy(RULES), *calls)
    assert decision.reason is reason
    assert decision.permits == (reason is Reason.ALLOWED)
    assert decision.rule is not None
    assert decision.message


@pytest.mark.parametrize(
    ("access", "kinds"),
    [
        ("read-only", {"query"}),
        ("read-write", {"query", "mutation"}),
        ("full", {"query", "mutation", "subscription"}),
    ],
)
def test_presets_of_graphql(access: str, kinds: set[str]) -> None:
    judge = policy(f"protocol: graphql, access: {access}")
    allowed = {kind.value for kind in Operation if ask(judge, graphql(kind, "a")).permits}
    assert allowed == kinds


def test_a_request_that_nobody_looked_into_is_denied_even_under_audit() -> None:
    for more in ("", ", enforcement: audit"):
        judge = policy(f"protocol: graphql, access: full{more}")
        decision = judge.judge_request(API, Request("POST", "/q"))
        assert decision.verdict is Verdict.DENIED
        assert decision.final


def test_audit_lets_operations_through_but_nothing_that_cannot_be_judged() -> None:
    judge = policy("protocol: graphql, access: read-only, enforcement: audit")
    assert ask(judge, graphql(MUTATION, "a")).verdict is Verdict.AUDITED
    assert ask(judge, StoredCall("abc")).verdict is Verdict.DENIED


def test_methods_that_graphql_has_not() -> None:
    judge = policy("protocol: graphql, access: full")
    decision = ask(judge, graphql(QUERY, "a"), method="PUT")
    assert decision.reason is Reason.METHOD_NOT_ALLOWED
    assert ask(judge, graphql(QUERY, "a"), method="get").permits


REGISTERED = """protocol: graphql, rules: [{allow: {operation_type: query, fields: [user]}}],
  deny_rules: [{operation_type: mutation, fields: [drop]}], persisted_queries: allow_registered,
  graphql_persisted_queries: {
    known: {operation_type: query, operation_name: Me, fields: [user]},
    bad: {operation_type: query, fields: [secret]}, blind: {operation_type: mutation}}"""


@pytest.mark.parametrize(
    ("call", "reason", "final"),
    [
        (StoredCall("known"), Reason.ALLOWED, False),
        (StoredCall("known", "Me"), Reason.ALLOWED, False),
        (StoredCall("known", "Other"), Reason.OPERATION_NOT_ALLOWED, True),
        (StoredCall("bad"), Reason.OPERATION_NOT_ALLOWED, False),
        (StoredCall("bad", "Named"), Reason.OPERATION_NOT_ALLOWED, True),
        (StoredCall("blind"), Reason.DENY_RULE, False),  # its fields may be any
        (StoredCall("unknown"), Reason.OPERATION_NOT_ALLOWED, True),
    ],
)
def test_persisted_queries_are_judged_as_registered(
    call: StoredCall, reason: Reason, final: bool
) -> None:
    decision = ask(policy(REGISTERED), call)
    assert (decision.reason, decision.final) == (reason, final)


# -- several endpoints ---------------------------------------------------------------------


def test_a_narrower_graphql_endpoint_is_not_overruled_by_a_broad_one() -> None:
    judge = policy(
        "protocol: rest, access: full", "protocol: graphql, path: /graphql, access: read-only"
    )
    assert not ask(judge, graphql(MUTATION, "a"), path="/graphql").permits
    assert ask(judge, graphql(QUERY, "a"), path="/graphql").permits
    assert judge.judge_request(API, Request("POST", "/other")).permits
    assert judge.inspection(API, Request("POST", "/other")) is None
    assert judge.inspection(API, Request("POST", "/graphql")) == Inspection(Reader.GRAPHQL, 65536)


def test_a_broader_deny_rule_still_denies() -> None:
    judge = policy(
        "protocol: rest, access: full, deny_rules: [{method: '*', path: /graphql}]",
        "protocol: graphql, path: /graphql, access: full",
    )
    assert ask(judge, graphql(QUERY, "a"), path="/graphql").reason is Reason.DENY_RULE


def test_protocols_of_equal_narrowness_contradict() -> None:
    with pytest.raises(PolicyError, match="protocol 'graphql' against 'mcp'"):
        policy(
            "protocol: graphql, access: full",
            "protocol: mcp, mcp: {allow_all_known_mcp_methods: true}",
        )


def test_the_smallest_bound_of_a_body_holds() -> None:
    judge = policy(
        "protocol: graphql, access: full, graphql_max_body_bytes: 1000",
        "protocol: graphql, access: full, path: /q",
    )
    assert judge.inspection(API, Request("POST", "/q")) == Inspection(Reader.GRAPHQL, 1000)


def test_policies_that_do_not_look_inside_are_never_asked_to() -> None:
    assert not policy("protocol: rest, access: full").looks_inside
    assert policy("protocol: graphql, access: full").looks_inside


# -- JSON-RPC and MCP ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "permits"), [("eth_call", True), ("eth_Call", False), ("eth_send", False)]
)
def test_json_rpc_methods_are_exact(method: str, permits: bool) -> None:
    judge = policy("protocol: json-rpc, rules: [{allow: {method: eth_call}}]")
    assert ask(judge, RpcCall(method)).permits == permits


def test_json_rpc_takes_no_responses_and_no_get() -> None:
    judge = policy("protocol: json-rpc, rules: [{allow: {method: '*'}}]")
    assert ask(judge, RpcCall("anything")).permits
    assert ask(judge, RpcAnswer()).final
    assert ask(judge, method="GET").reason is Reason.METHOD_NOT_ALLOWED


MCP = """protocol: mcp, rules: [{allow: {method: initialize}}, {allow: {method: tools/list}},
  {allow: {method: tools/call, tool: 'read*'}},
  {allow: {method: tools/call, params: {name: write}, arguments: {path: '/tmp/*',
    mode: {any: [a, 'w*']}}}}],
  deny_rules: [{method: tools/call, tool: read_secret}, {method: tools/call,
    arguments: {path: '/etc/*'}}]"""


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (RpcCall("initialize"), Reason.ALLOWED),
        (RpcCall("resources/list"), Reason.OPERATION_NOT_ALLOWED),
        (RpcAnswer(), Reason.ALLOWED),
        (tool("read_file"), Reason.ALLOWED),
        (tool("read_secret"), Reason.DENY_RULE),
        (tool("rm"), Reason.OPERATION_NOT_ALLOWED),
        (tool("read file"), Reason.OPERATION_NOT_ALLOWED),
        (tool("read_file", path="/etc/shadow"), Reason.DENY_RULE),
        (tool("read_file", Path="/etc/shadow"), Reason.DENY_RULE),
        (tool("read_file", path=["/x", "/etc/shadow"]), Reason.DENY_RULE),
        (tool("read_file", path={"at": "/x"}), Reason.DENY_RULE),
        (tool("read_file", path=["/x", ["/y"]]), Reason.DENY_RULE),
        (tool("read_file", path="/home"), Reason.ALLOWED),
        (tool("read_file", path=7), Reason.ALLOWED),
        (tool("write", path="/tmp/a", mode="wb"), Reason.ALLOWED),
        (tool("write", path=["/tmp/a", "/tmp/b"], mode="a"), Reason.ALLOWED),
        (tool("write", path=["/tmp/a", "/x"], mode="a"), Reason.OPERATION_NOT_ALLOWED),
        (tool("write", path=[], mode="a"), Reason.OPERATION_NOT_ALLOWED),
        (tool("write", path="/tmp/a", mode="r"), Reason.OPERATION_NOT_ALLOWED),
        (tool("write", path="/tmp/a"), Reason.OPERATION_NOT_ALLOWED),
        (tool("write", Path="/tmp/a", mode="a"), Reason.OPERATION_NOT_ALLOWED),
    ],
)
def test_mcp_rules(call: Call, reason: Reason) -> None:
    assert ask(policy(MCP), call).reason is reason


def test_numbers_are_compared_as_json_writes_them() -> None:
    judge = policy(
        "protocol: mcp, rules: [{allow: {method: tools/call, tool: t}}], "
        "deny_rules: [{method: tools/call, arguments: {n: {any: ['1', 'true', 'null']}}}]"
    )
    for value in (1, 1.0, True, None, "1"):
        assert ask(judge, tool("t", n=value)).reason is Reason.DENY_RULE
    assert ask(judge, tool("t", n=2)).permits


def test_an_mcp_stream_only_receives() -> None:
    judge = policy(MCP)
    assert ask(judge, method="GET").permits
    assert ask(judge, method="DELETE").permits
    assert judge.judge_request(API, Request("GET", "/")).reason is Reason.METHOD_NOT_ALLOWED
    assert ask(judge, RpcCall("initialize"), method="GET").reason is Reason.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        ("", {"tools/call read", "tools/call rm", "ping", "resources/read"}),
        (
            ", deny_rules: [{method: tools/call, tool: rm}]",
            {"tools/call read", "ping", "resources/read"},
        ),
        (", rules: [{allow: {tool: 'read*'}}]", {"tools/call read", "ping", "resources/read"}),
    ],
)
def test_the_profile_of_known_methods(more: str, allowed: set[str]) -> None:
    judge = policy(f"protocol: mcp, mcp: {{allow_all_known_mcp_methods: true}}{more}")
    asked = ["tools/call read", "tools/call rm", "ping", "resources/read", "made/up"]
    assert {text for text in asked if ask(judge, parse_rpc_call(text)).permits} == allowed


def test_lax_tool_names() -> None:
    judge = policy(
        "protocol: mcp, mcp: {strict_tool_names: false}, "
        "rules: [{allow: {method: tools/call, tool: 'a tool'}}]"
    )
    assert ask(judge, tool("a tool")).permits
    assert not ask(judge, tool("another")).permits


# -- WebSocket -----------------------------------------------------------------------------


def socket(judge: Policy, method: str, path: str = "/ws", *calls: Call) -> Decision:
    inside = calls or None
    request = Request(method, path, websocket=True, calls=inside)
    return judge.judge_request(API, request)


@pytest.mark.parametrize(
    ("access", "text"), [("read-only", False), ("read-write", True), ("full", True)]
)
def test_presets_of_websocket(access: str, text: bool) -> None:
    judge = policy(f"protocol: websocket, access: {access}")
    assert socket(judge, "GET").permits
    assert socket(judge, "WEBSOCKET_TEXT").permits == text


def test_handshakes_and_requests_have_endpoints_of_their_own() -> None:
    judge = policy("protocol: websocket, path: /ws, access: full", "protocol: rest, access: full")
    assert judge.judge_request(API, Request("POST", "/ws")).permits
    assert socket(judge, "GET").permits
    assert socket(judge, "GET", "/other").reason is Reason.UNSUPPORTED_PROTOCOL
    alone = policy("protocol: websocket, access: full")
    refused = alone.judge_request(API, Request("GET", "/ws"))
    assert refused.reason is Reason.UNSUPPORTED_PROTOCOL
    assert "WebSocket handshakes only" in refused.message


SOCKET_GRAPHQL = """protocol: websocket, rules: [{allow: {method: GET, path: /ws}},
  {allow: {operation_type: query, fields: [user]}}], deny_rules: [{fields: [secret]}]"""


def test_graphql_in_messages() -> None:
    judge = policy(SOCKET_GRAPHQL)
    assert socket(judge, "GET").permits
    assert judge.inspection(API, Request("GET", "/ws", websocket=True)) is None
    message = Request("WEBSOCKET_TEXT", "/ws", websocket=True)
    assert judge.inspection(API, message) == Inspection(Reader.GRAPHQL, 65536)
    assert judge.judge_request(API, message).final
    assert socket(judge, "WEBSOCKET_TEXT", "/ws", graphql(QUERY, "user")).permits
    assert not socket(judge, "WEBSOCKET_TEXT", "/ws", graphql(MUTATION, "user")).permits
    secret = graphql(QUERY, "secret")
    assert socket(judge, "WEBSOCKET_TEXT", "/ws", secret).reason is Reason.DENY_RULE
    full = policy("protocol: websocket, access: full, deny_rules: [{fields: [secret]}]")
    assert socket(full, "WEBSOCKET_TEXT", "/ws", graphql(MUTATION, "x")).permits
    assert socket(full, "WEBSOCKET_TEXT", "/ws", secret).reason is Reason.DENY_RULE


def test_the_remedy_for_a_message_is_a_rule() -> None:
    judge = policy("protocol: websocket, access: read-only")
    remedy = socket(judge, "WEBSOCKET_TEXT").remedy_args
    assert remedy == "--add-allow a.test:443:WEBSOCKET_TEXT:/ws --rule-name web"
    assert socket(update_policy(judge, parse_arguments(remedy)).policy, "WEBSOCKET_TEXT").permits


# -- loading -------------------------------------------------------------------------------

REFUSED = {
    "protocol: graphql": "protocol graphql needs 'access' or 'rules'",
    "protocol: graphql, rules: []": "an empty list",
    "protocol: graphql, rules: [{allow: {}}]": "expected 'operation_type'",
    "protocol: graphql, rules: [{allow: {operation_type: get}}]": "unknown value 'get'",
    "protocol: graphql, rules: [{allow: {method: POST, operation_type: query}}]": "means nothing",
    "protocol: graphql, rules: [{allow: {operation_type: query, fields: ['{a,b}']}}]": "no meaning",
    "protocol: graphql, rules: [{allow: {operation_type: query, fields: [7]}}]": "expected patt",
    "protocol: graphql, access: full, deny_rules: [{operation_name: x}]": "expected 'operation_t",
    "protocol: graphql, access: full, graphql_max_body_bytes: 0": "expected 1 to 8388608 bytes",
    "protocol: graphql, access: full, graphql_max_body_bytes: 9000000": "expected 1 to 8388608",
    "protocol: graphql, access: full, persisted_queries: allow_registered": "needs 'graphql_pers",
    "protocol: graphql, access: full, persisted_queries: always": "unknown value 'always'",
    "protocol: graphql, access: full, graphql_persisted_queries: {a: {operation_type: query}}": (
        "needs 'persisted_queries: allow_registered'"
    ),
    "protocol: graphql, access: full, mcp: {strict_tool_names: true}": "needs 'protocol: mcp'",
    "protocol: graphql, access: full, tls: skip": "leaves nothing to judge",
    "protocol: json-rpc": "needs 'rules'",
    "protocol: json-rpc, access: full": "presets are for rest, websocket and graphql",
    "protocol: json-rpc, rules: [{allow: {method: 'eth_*'}}]": "an exact name, or '*'",
    "protocol: json-rpc, rules: [{allow: {method: a, tool: b}}]": "tools are for 'protocol: mcp'",
    "protocol: json-rpc, rules: [{allow: {path: /x}}]": "'path': means nothing here",
    "protocol: json-rpc, rules: [{allow: {method: a}}], json_rpc: {max_body_bytes: -1}": "expected",
    "protocol: websocket": "protocol websocket needs 'access' or 'rules'",
    "protocol: websocket, rules: [{allow: {method: POST, path: /}}]": "expected GET (the handshake",
    "protocol: websocket, rules: [{allow: {method: GET, path: /, operation_type: query}}]": "means",
    "protocol: websocket, access: full, graphql_max_body_bytes: 7": "a rule with 'operation_type'",
    "protocol: mcp": "protocol mcp needs 'rules', or",
    "protocol: mcp, access: full": "presets are for",
    "protocol: mcp, rules: [{allow: {tool: x}}]": "expected 'method'",
    "protocol: mcp, rules: [{allow: {method: 'res*'}}]": "stands alone or within 'tools/'",
    "protocol: mcp, rules: [{allow: {method: tools/list, tool: x}}]": "need the method",
    "protocol: mcp, rules: [{allow: {method: tools/call, tool: x, params: {name: y}}}]": "exclude",
    "protocol: mcp, rules: [{allow: {method: tools/call, params: {arguments: y}}}]": "'name' only",
    "protocol: mcp, rules: [{allow: {method: tools/call, tool: x, arguments: {a: 7}}}]": "quotes",
    "protocol: mcp, rules: [{allow: {method: tools/call, arguments: {a: {any: []}}}}]": "patterns",
    "protocol: mcp, rules: [{allow: {method: '*'}}, {allow: {method: tools/call, tool: x}}]": (
        "rules for single tools mean nothing"
    ),
    "protocol: mcp, mcp: {strict_tool_names: false}, rules: [{allow: {method: tools/call, "
    "tool: 'x*'}}]": "only exact names of tools",
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused_at_load(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(text)
    found = caught.value.message.replace(".path: ", "'path': ")
    assert REFUSED[text] in found
    assert "p.yaml:" in found


@pytest.mark.parametrize(
    "text", [RULES, REGISTERED, MCP, SOCKET_GRAPHQL, "protocol: graphql, access: full"]
)
def test_a_policy_survives_its_document(text: str) -> None:
    judge = policy(text)
    again = Policy.from_doc(judge.to_doc())
    assert again == judge
    assert again.to_doc() == judge.to_doc()
    assert parse_policy(judge.to_yaml(), "again").entries == judge.entries


def test_what_surprises_is_warned_of() -> None:
    named = policy(
        "protocol: graphql, access: full, "
        "deny_rules: [{operation_type: query, operation_name: Bad}]"
    )
    assert any("a client chooses these names" in text for text in named.warnings)
    unknown = policy("protocol: mcp, rules: [{allow: {method: tools/lst}}]")
    assert any("no MCP method that netmgr knows" in text for text in unknown.warnings)


# -- explaining ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("query", GraphqlCall(QUERY)),
        ("mutation M", GraphqlCall(MUTATION, "M")),
        ("query { a b, c }", GraphqlCall(QUERY, "", ("a", "b", "c"))),
        ("persisted abc", StoredCall("abc")),
        ("persisted abc Me", StoredCall("abc", "Me")),
    ],
)
def test_graphql_operations_as_people_write_them(text: str, call: Call) -> None:
    assert parse_graphql_call(text) == call
    assert parse_graphql_call(str(call)) == call


@pytest.mark.parametrize("text", ["", "get", "query {", "query { a { b } }", "persisted"])
def test_what_is_no_graphql_operation(text: str) -> None:
    with pytest.raises(BadInput, match="expected 'query"):
        parse_graphql_call(text)


def test_calls_as_people_write_them() -> None:
    assert parse_rpc_call("ping") == RpcCall("ping")
    assert parse_rpc_call('tools/call rm {"path": "/x"}') == tool("rm", path="/x")
    for text in ("", "ping x", "tools/call", "tools/call rm {", "tools/call rm []"):
        with pytest.raises(BadInput, match="operation"):
            parse_rpc_call(text)


def test_explain_judges_an_operation() -> None:
    judge = policy(RULES)
    url = "https://a.test/q"
    assert explain(judge, url, operation="query { user }").decision.permits
    denied = explain(judge, url, operation="mutation { deleteUser }")
    assert denied.decision.reason is Reason.DENY_RULE
    assert denied.asked == "POST a.test:443/q, mutation { deleteUser }"
    assert "--operation" in explain(judge, url).decision.message
    with pytest.raises(BadInput, match="nothing is judged inside"):
        explain(policy("protocol: rest, access: full"), url, operation="query")
    with pytest.raises(BadInput, match="expected 'query"):
        explain(judge, url, operation="tools/list")


def test_hostile_names_stay_short_and_printable() -> None:
    shown = str(RpcCall("a\nb" + "x" * 500))
    assert shown.isprintable()
    assert len(shown) < 150
