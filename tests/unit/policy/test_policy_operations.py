"""`--allow-operation` and `--deny-operation`: rules for what is inside of requests, by a line."""

import pytest

from netmgr.errors import BadInput
from netmgr.policy.calls.call import Call, GraphqlCall, Operation, RpcCall
from netmgr.policy.decision import Decision, Request, Target
from netmgr.policy.operations import AddCallRule, parse_arguments, parse_operation
from netmgr.policy.owner import ANYONE, Owner, Program
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError
from netmgr.policy.update import update_policy

BASE = parse_policy(
    """
version: 1
network_policies:
  apis:
    endpoints:
      - {host: api.test, port: 443, path: /graphql, protocol: graphql, access: read-only}
      - {host: api.test, port: 443, path: /rpc/**, protocol: json-rpc,
         rules: [{allow: {method: eth_call}}]}
      - {host: api.test, port: 443, protocol: rest, access: read-only}
      - {host: mcp.test, ports: [443, 8443], protocol: mcp, rules: [{allow: {method: initialize}}]}
      - host: args.test
        port: 443
        protocol: mcp
        rules: [{allow: {tool: write, arguments: {path: /w/*}, method: tools/call}}]
      - {host: all.test, port: 443, protocol: mcp, mcp: {allow_all_known_mcp_methods: true}}
      - {host: live.test, port: 443, path: /ws, protocol: websocket,
         rules: [{allow: {method: GET, path: /ws}}, {allow: {operation_type: query}}]}
      - {host: plain.test, port: 443}
    binaries: [{path: /**}]
  other:
    endpoints: [{host: mcp.test, port: 9443, protocol: mcp, rules: [{allow: {method: ping}}]}]
    binaries: [{path: /usr/bin/curl}]
""",
    "base.yaml",
)
QUERY, MUTATION = Operation.QUERY, Operation.MUTATION


def change(policy: Policy, arguments: str) -> Policy:
    return update_policy(policy, parse_arguments(arguments)).policy


def judge(policy: Policy, host: str, path: str, *calls: Call, port: int = 443) -> Decision:
    request = Request("POST", path, calls=calls)
    return policy.judge_request(Target(host, None, port), request, ANYONE)


@pytest.mark.parametrize(
    ("line", "host", "path", "opened", "still_shut"),
    [
        (
            "api.test:443/graphql:mutation { comment* }",
            "api.test",
            "/graphql",
            GraphqlCall(MUTATION, "", ("commentAdd",)),
            GraphqlCall(MUTATION, "", ("commentAdd", "drop")),
        ),
        (
            "api.test:443/graphql:subscription",
            "api.test",
            "/graphql",
            GraphqlCall(Operation.SUBSCRIPTION, "", ("ticks",)),
            GraphqlCall(MUTATION, "", ("a",)),
        ),
        (
            "api.test:443/rpc/**:net_version",
            "api.test",
            "/rpc/v1",
            RpcCall("net_version"),
            RpcCall("net_listening"),
        ),
        (
            "mcp.test:443:tools/call read_*",
            "mcp.test",
            "/",
            RpcCall("tools/call", "read_x", {}),
            RpcCall("tools/call", "write_x", {}),
        ),
        (
            'mcp.test:443:tools/call write {"path": "/w/*"}',
            "mcp.test",
            "/",
            RpcCall("tools/call", "write", {"path": "/w/a"}),
            RpcCall("tools/call", "write", {"path": "/etc/a"}),
        ),
    ],
)
def test_a_rule_opens_what_it_says(
    line: str, host: str, path: str, opened: Call, still_shut: Call
) -> None:
    updated = change(BASE, f"--allow-operation '{line}'")
    assert not judge(BASE, host, path, opened).permits
    assert judge(updated, host, path, opened).permits
    assert not judge(updated, host, path, still_shut).permits
    assert not judge(updated, host, path, opened, port=8443).permits


def test_a_preset_is_kept_beside_the_rule() -> None:
    updated = change(BASE, "--allow-operation 'api.test:443/graphql:mutation { save }'")
    assert judge(updated, "api.test", "/graphql", GraphqlCall(QUERY, "", ("user",))).permits


def test_a_deny_rule_wins() -> None:
    updated = change(BASE, "--deny-operation 'all.test:443:tools/call rm*'")
    assert judge(updated, "all.test", "/", RpcCall("tools/call", "read", {})).permits
    assert not judge(updated, "all.test", "/", RpcCall("tools/call", "rm_all", {})).permits


def test_messages_are_meant_where_nothing_else_looks_inside() -> None:
    updated = change(BASE, "--allow-operation 'live.test:443:subscription { ticks }'")
    (endpoint,) = (e for e in updated.entries[0].endpoints if e.host.text == "live.test")
    assert endpoint.inside is not None
    kinds = [rule.to_doc()["operation_type"] for rule in endpoint.inside.allow]
    assert kinds == ["query", "subscription"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("none.test:443:ping", "no endpoint none.test:443"),
        ("plain.test:443:ping", "no endpoint plain.test:443 judges what is inside"),
        ("api.test:443:ping", r"several paths \(/graphql, /rpc/\*\*\); say which, as"),
        ("api.test:443/x:ping", "no endpoint api.test:443/x judges"),
        ("api.test:443/graphql:{ a }", "expected 'query NAME { field field }'"),
        ("api.test:443/graphql:mutation { a-b }", "expected 'query NAME"),
        ('mcp.test:443:tools/call x {"path"', "the arguments"),
        ("all.test:443:tools/call x", "allows every tool; with a rule beside it only that one"),
        ("mcp.test:443", r"expected host:port\[/path\]:operation"),
        ("mcp.test:x:ping", "expected 1 to 65535"),
    ],
)
def test_what_cannot_be_meant(line: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        change(BASE, f"--allow-operation '{line}'")


@pytest.mark.parametrize("line", ["mcp.test:443:tools/call a[b]", 'mcp.test:443:ping x {"a": 1}'])
def test_the_schema_judges_the_rest(line: str) -> None:
    with pytest.raises(PolicyError):
        change(BASE, f"--allow-operation '{line}'")


def test_programs_that_would_inherit_are_named() -> None:
    with pytest.raises(BadInput, match="would inherit the rule"):
        change(BASE, "--binary /usr/bin/git --allow-operation mcp.test:9443:tools/list")


def test_the_flags() -> None:
    parsed = parse_operation("--deny-operation", "A.test:443/x/**:tools/call a:b")
    assert parsed == AddCallRule(True, "a.test", 443, "/x/**", "tools/call a:b")


REMEDIES: list[tuple[str, str, tuple[Call, ...], str | None]] = [
    (
        "api.test",
        "/graphql",
        (GraphqlCall(MUTATION, "Mine", ("save", "save", "like")),),
        "--allow-operation 'api.test:443/graphql:mutation { save like }' --rule-name apis",
    ),
    (
        "api.test",
        "/rpc/v1",
        (RpcCall("net_version"),),
        "--allow-operation 'api.test:443/rpc/**:net_version' --rule-name apis",
    ),
    (
        "mcp.test",
        "/",
        (RpcCall("initialize"), RpcCall("tools/call", "read", {"a": 1})),
        "--allow-operation 'mcp.test:443:tools/call read' --rule-name apis",
    ),
    ("mcp.test", "/", (RpcCall("ping"), RpcCall("tools/list")), None),  # one line is not enough
    ("mcp.test", "/", (RpcCall("a*"),), None),
    ("mcp.test", "/", (RpcCall("a b"),), None),
    ("args.test", "/", (RpcCall("tools/call", "write", {"path": "/etc/x"}),), None),
    ("all.test", "/", (RpcCall("unknown"),), None),  # a rule would take every tool away
    ("api.test", "/graphql", (GraphqlCall(MUTATION),), None),
]


@pytest.mark.parametrize(("host", "path", "calls", "remedy"), REMEDIES)
def test_a_remedy_makes_the_next_try_succeed(
    host: str, path: str, calls: tuple[Call, ...], remedy: str | None
) -> None:
    decision = judge(BASE, host, path, *calls)
    assert (decision.permits, decision.remedy_args) == (False, remedy)
    if remedy is not None:
        updated = change(BASE, remedy)
        assert judge(updated, host, path, *calls).permits
        assert len(rules_of(updated) - rules_of(BASE)) == 1


def rules_of(policy: Policy) -> set[str]:
    """Every rule, presets written out, as what it says."""
    found: set[str] = set()
    for endpoint in policy.entries[0].endpoints:
        rules = endpoint.inside.allow if endpoint.inside else ()
        found |= {str(rule.to_doc()) for rule in rules}
    return found


# -- endpoints whose inside is judged ------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "same", "other"),
    [
        (("mcp.test", 7443), RpcCall("initialize"), RpcCall("tools/list")),
        (("api.test", 8443), GraphqlCall(QUERY, "", ("a",)), GraphqlCall(MUTATION, "", ("a",))),
        (("all.test", 8443), RpcCall("tools/call", "x", {}), RpcCall("unknown")),
    ],
)
def test_a_further_port_has_the_rules_of_the_others(
    target: tuple[str, int], same: Call, other: Call
) -> None:
    host, port = target
    refused = BASE.judge_connection(Target(host, None, port), ANYONE)
    assert refused.remedy_args is not None
    updated = change(BASE, refused.remedy_args)
    path = "/graphql" if isinstance(same, GraphqlCall) else "/"
    assert judge(updated, host, path, same, port=port).permits
    assert not judge(updated, host, path, other, port=port).permits


def test_an_endpoint_and_its_rules_in_one_batch() -> None:
    line = "--add-endpoint new.test:443::mcp --allow-operation 'new.test:443:tools/call read_*'"
    updated = change(BASE, line)
    assert judge(updated, "new.test", "/", RpcCall("tools/call", "read_x", {})).permits
    assert not judge(updated, "new.test", "/", RpcCall("tools/call", "rm", {})).permits
    graphql = change(BASE, "--add-endpoint new.test:443:read-only:graphql")
    assert judge(graphql, "new.test", "/", GraphqlCall(QUERY, "", ("a",))).permits
    assert not judge(graphql, "new.test", "/", GraphqlCall(MUTATION, "", ("a",))).permits
    with pytest.raises(PolicyError, match="needs 'rules'"):
        change(BASE, "--add-endpoint new.test:443::mcp")


def test_another_program_gets_the_rules_that_are_there() -> None:
    updated = change(BASE, "--add-endpoint mcp.test:9443::mcp --binary /usr/bin/wget")
    wget, git = (Owner(((Program(path),),)) for path in ("/usr/bin/wget", "/usr/bin/git"))
    where, ask = (
        Target("mcp.test", None, 9443),
        Request("POST", "/", calls=(RpcCall("ping"),)),
    )
    assert updated.judge_request(where, ask, wget).permits
    assert not updated.judge_request(where, ask, git).permits


# -- messages ------------------------------------------------------------------------------


def message(policy: Policy, host: str, path: str, call: Call) -> Decision:
    asked = Request("WEBSOCKET_TEXT", path, calls=(call,), websocket=True)
    return policy.judge_request(Target(host, None, 443), asked, ANYONE)


def test_a_refused_message_has_a_remedy() -> None:
    tick = GraphqlCall(Operation.SUBSCRIPTION, "", ("ticks",))
    refused = message(BASE, "live.test", "/ws", tick)
    assert not refused.permits
    assert refused.remedy_args is not None
    assert refused.remedy_args.startswith("--allow-operation 'live.test:443/ws:subscription")
    updated = change(BASE, refused.remedy_args)
    assert message(updated, "live.test", "/ws", tick).permits
    assert not message(updated, "live.test", "/ws", GraphqlCall(MUTATION, "", ("a",))).permits


def test_a_line_that_would_mean_requests_is_no_remedy_for_a_message() -> None:
    both = parse_policy(
        """
version: 1
network_policies:
  apis:
    endpoints:
      - {host: a.test, port: 443, path: /g, protocol: graphql, access: read-only}
      - {host: a.test, port: 443, path: /g, protocol: websocket,
         rules: [{allow: {method: GET, path: /g}}, {allow: {operation_type: query}}]}
    binaries: [{path: /**}]
""",
        "both.yaml",
    )
    refused = message(both, "a.test", "/g", GraphqlCall(MUTATION, "", ("a",)))
    assert not refused.permits
    assert refused.remedy_args is None


SOCKETS = parse_policy(
    """
version: 1
network_policies:
  rest:
    endpoints: [{host: a.test, port: 443, protocol: rest, access: read-only}]
    binaries: [{path: /**}]
  wild:
    endpoints: [{host: "*.w.test", port: 443, protocol: rest, access: read-only}]
    binaries: [{path: /**}]
  one:
    endpoints: [{host: b.test, port: 443, protocol: rest, access: read-only}]
    binaries: [{path: /usr/bin/curl}]
""",
    "sockets.yaml",
)


def handshake(policy: Policy, host: str, method: str = "GET") -> Decision:
    asked = Request(method, "/ws", websocket=True)
    return policy.judge_request(Target(host, None, 443), asked, ANYONE)


def test_a_refused_upgrade_has_a_remedy_that_leaves_requests_as_they_are() -> None:
    refused = handshake(SOCKETS, "a.test")
    assert refused.remedy_args == "--add-endpoint a.test:443/ws:read-only:websocket"
    updated = change(SOCKETS, refused.remedy_args)
    assert handshake(updated, "a.test").permits
    spoken = handshake(updated, "a.test", "WEBSOCKET_TEXT")
    assert spoken.remedy_args is not None
    assert handshake(change(updated, spoken.remedy_args), "a.test", "WEBSOCKET_TEXT").permits
    for method, permits in (("GET", True), ("POST", False)):
        request = Request(method, "/ws")
        assert updated.judge_request(Target("a.test", None, 443), request).permits is permits


def test_an_upgrade_that_only_some_may_ask_for_is_left_to_a_person() -> None:
    assert handshake(SOCKETS, "b.test").remedy_args is None


def test_an_upgrade_through_a_wildcard_shows_the_pattern() -> None:
    refused = handshake(SOCKETS, "x.w.test")
    assert refused.remedy_args == "--add-endpoint '*.w.test:443/ws:read-only:websocket'"
    assert handshake(change(SOCKETS, refused.remedy_args), "x.w.test").permits


def test_a_plain_endpoint_is_not_made_one_for_sockets_by_an_addition() -> None:
    updated = update_policy(BASE, parse_arguments("--add-endpoint plain.test:443:full:websocket"))
    assert not updated.changed
    assert "keeps its protocol" in updated.notes[0]
