"""A request on a path that no endpoint covers: the line that allows it, and nothing beside it."""

import pytest

from netmgr.errors import BadInput
from netmgr.policy.decision import Decision, Request, Target
from netmgr.policy.operations import AddEndpoint, RemoveEndpoint, parse_arguments, parse_operation
from netmgr.policy.owner import ANYONE, UNKNOWN, Owner, Program
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.proposal import fragment, propose
from netmgr.policy.update import update_policy
from netmgr.reasons import Reason

BASE = parse_policy(
    """
version: 1
network_policies:
  api:
    expires: 2099-01-01
    endpoints:
      - {host: api.test, port: 443, path: /v1/**, protocol: rest, access: read-only}
      - {host: api.test, port: 443, path: /v1/*/b, protocol: rest, access: full}
      - {host: "*.w.test", port: 443, path: /v1/**, protocol: rest, access: read-only}
      - {host: mcp.test, port: 443, path: /mcp, protocol: mcp,
         mcp: {allow_all_known_mcp_methods: true}}
      - {host: in.test, port: 443, path: /v1/**, protocol: rest, access: read-only,
         allowed_ips: [10.0.0.0/24]}
      - {host: ws.test, port: 443, path: /live, protocol: websocket, access: read-only}
      - {allowed_ips: [10.9.0.0/24], port: 443, path: /v1/**, protocol: rest, access: read-only}
      - {host: rules.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: /a}}]}
    binaries: [{path: /**}]
  one:
    endpoints: [{host: c.test, port: 443, path: /v1/**, protocol: rest, access: read-only}]
    binaries: [{path: /usr/bin/curl}, {path: "/opt/*"}]
""",
    "remedy.yaml",
)
CURL = Owner(((Program("/usr/bin/curl"), Program("/bin/bash")),))
ODD = Owner(((Program("/opt/*"),),))


def judge(
    policy: Policy, words: str, owner: Owner = ANYONE, *, handshake: bool = False
) -> Decision:
    method, host, path = words.split()
    request = Request(method, path, websocket=handshake)
    return policy.judge_request(Target(host, None, 443), request, owner)


def change(policy: Policy, arguments: str) -> Policy:
    return update_policy(policy, parse_arguments(arguments)).policy


LINES = {
    "GET api.test /v2/x": "--add-endpoint api.test:443/v2/x::rest "
    "--add-allow api.test:443:GET:/v2/x",
    "POST api.test /a:b/c*d%20e": "--add-endpoint api.test:443/a%3Ab/c%2Ad%20e::rest "
    "--add-allow api.test:443:POST:/a:b/c%2Ad%20e",
    "PUT x.w.test /q": "--add-endpoint '*.w.test:443/q::rest' --add-allow '*.w.test:443:PUT:/q'",
    "GET mcp.test /.well-known/x": "--add-endpoint mcp.test:443/.well-known/x::rest "
    "--add-allow mcp.test:443:GET:/.well-known/x",
    "DELETE in.test /": "--add-endpoint in.test:443/::rest --add-allow in.test:443:DELETE:/",
    "GET ws.test /live": "--add-endpoint ws.test:443/live::rest --add-allow ws.test:443:GET:/live",
}


@pytest.mark.parametrize("words", LINES)
def test_a_path_that_nobody_covers_is_opened_alone(words: str) -> None:
    method, host, path = words.split()
    refused = judge(BASE, words)
    assert (refused.permits, refused.remedy_args) == (False, LINES[words])
    assert refused.nearest is not None
    updated = change(BASE, LINES[words])
    assert judge(updated, words).permits
    other = "PATCH" if method == "GET" else "OPTIONS"
    for beside in (f"{other} {host} {path}", f"{method} {host} {path}/more"):
        assert not judge(updated, beside).permits, beside
    assert not judge(updated, "GET api.test /v3").permits
    assert judge(updated, "GET api.test /v1/x").permits
    assert change(updated, f"--remove-rule allow_{_stem(host)}_443") == BASE


def _stem(host: str) -> str:
    return host.removeprefix("x.").replace(".", "_")


@pytest.mark.parametrize(
    ("words", "owner"),
    [
        ("POST mcp.test /mcp/", ANYONE),  # a body that nobody would read
        ("GET c.test /v2", ANYONE),  # for whom?
        ("GET c.test /v2", UNKNOWN),
        ("GET c.test /v2", ODD),
        ("GET api.test /a%2Fb", ANYONE),  # no pattern can be this path
        ("GET api.test /" + "a/" * 70, ANYONE),
    ],
)
def test_what_no_line_can_open_alone_is_left_to_a_person(words: str, owner: Owner) -> None:
    refused = judge(BASE, words, owner)
    assert (refused.permits, refused.remedy_args) == (False, None)


def test_where_programs_are_named_it_is_for_the_one_that_asked() -> None:
    refused = judge(BASE, "GET c.test /v2", CURL)
    assert refused.remedy_args is not None
    assert refused.remedy_args.endswith("--add-allow c.test:443:GET:/v2 --binary /usr/bin/curl")
    updated = change(BASE, refused.remedy_args)
    assert judge(updated, "GET c.test /v2", CURL).permits
    assert not judge(updated, "GET c.test /v2", Owner(((Program("/opt/x"),),))).permits


@pytest.mark.parametrize(("method", "access"), [("GET", "only"), ("WEBSOCKET_TEXT", "write")])
def test_a_handshake_on_another_path(method: str, access: str) -> None:
    words = f"{method} ws.test /other"
    refused = judge(BASE, words, handshake=True)
    assert refused.reason is Reason.UNSUPPORTED_PROTOCOL
    assert refused.remedy_args == f"--add-endpoint ws.test:443/other:read-{access}:websocket"
    updated = change(BASE, refused.remedy_args)
    assert judge(updated, words, handshake=True).permits
    assert not judge(updated, "GET ws.test /more", handshake=True).permits


def test_one_path_after_the_other_and_a_second_method() -> None:
    policy = BASE
    for words in ("GET api.test /v2", "POST api.test /v2", "GET api.test /v3"):
        line = LINES["GET api.test /v2/x"].replace("/v2/x", words.split()[2])
        policy = change(policy, line.replace(":GET:", f":{words.split()[0]}:"))
        assert judge(policy, words).permits
    assert {entry.key for entry in policy.entries} == {
        "api",
        "one",
        "allow_api_test_443",
        "allow_api_test_443_2",
    }
    assert not judge(policy, "POST api.test /v3").permits
    second = judge(change(BASE, LINES["GET api.test /v2/x"]), "POST api.test /v2/x")
    line = "--add-allow api.test:443:POST:/v2/x --rule-name allow_api_test_443"
    assert second.remedy_args == line


def test_a_path_of_an_addition_and_of_a_removal() -> None:
    added = parse_operation("add-endpoint", "A.test:443/a%3ab/%41*:full:rest")
    assert added == AddEndpoint("a.test", 443, "full", "rest", path="/a:b/A*")
    assert parse_operation("add-endpoint", "a.test:443/**:full") == AddEndpoint(
        "a.test", 443, "full", "rest"
    )
    assert parse_operation("remove-endpoint", "a.test:443/x") == RemoveEndpoint("a.test", 443, "/x")
    left = change(BASE, "--remove-endpoint api.test:443/v1/**")
    assert not judge(left, "GET api.test /v1/a").permits
    assert judge(left, "GET api.test /v1/a/b").permits
    with pytest.raises(BadInput, match="has the path /v1/b; did you mean '/v1"):
        change(BASE, "--remove-endpoint api.test:443/v1/b")
    with pytest.raises(BadInput, match="a path is for endpoints that judge requests"):
        parse_operation("add-endpoint", "a.test:443/x")
    with pytest.raises(BadInput, match="'\\?' has no meaning here"):
        parse_operation("add-endpoint", "a.test:443/x?y:full")


def test_addresses_that_a_host_must_have_are_taken_over() -> None:
    updated = change(BASE, LINES["DELETE in.test /"])
    plan = updated.destination_plan(Target("in.test", None, 443))
    assert plan is not None
    assert [str(network) for network in plan.networks] == ["10.0.0.0/24"]


def record(host: str, method: str, path: str, reason: str, remedy: str = "") -> dict[str, object]:
    return {
        "time": "2026-01-01T10:00:00.000000Z",
        "verdict": "denied",
        "reason": reason,
        "destination": {"name": host, "ip": None, "port": 443, "protocol": "tcp"},
        "http": {"method": method, "path": path, "status": 403},
        "process": None,
        "remedy": remedy,
        "count": 1,
    }


def lines(*records: dict[str, object]) -> list[str]:
    return [each.arguments for each in propose(BASE, records, lambda _: True).proposals]


def test_proposals_are_the_same_lines() -> None:
    told = record("api.test", "GET", "/v2/x", "path_not_allowed")
    assert lines(told) == [LINES["GET api.test /v2/x"]]
    remedy = "netmgr policy update s --add-endpoint ws.test:443/other:read-only:websocket"
    shaken = record("ws.test", "GET", "/other", "unsupported_protocol", remedy)
    assert lines(shaken) == ["--add-endpoint ws.test:443/other:read-only:websocket"]
    plain = record("ws.test", "GET", "/live", "unsupported_protocol")
    assert lines(plain) == [LINES["GET ws.test /live"]]
    upgrade = record("api.test", "GET", "/v1/x", "unsupported_protocol")  # h2c, say
    assert lines(upgrade) == []


def test_ids_in_paths_that_nobody_covers_become_one_pattern() -> None:
    many = [record("api.test", "GET", f"/v2/users/{n}/x", "path_not_allowed") for n in range(4)]
    (line,) = lines(*many)
    assert line == (
        "--add-endpoint 'api.test:443/v2/users/*/x::rest' "
        "--add-allow 'api.test:443:GET:/v2/users/*/x'"
    )
    updated = change(BASE, line)
    assert judge(updated, "GET api.test /v2/users/77/x").permits


def test_a_fragment_holds_what_stands_by_itself() -> None:
    """A further port takes over rules that a fragment does not have: the line says it, alone."""
    port = record("rules.test", "GET", "/a", "port_not_allowed")
    port["destination"] = {"name": "rules.test", "ip": None, "port": 8443, "protocol": "tcp"}
    told = record("api.test", "GET", "/v2/x", "path_not_allowed")
    advice = propose(BASE, [port, told], lambda _: True)
    assert len(advice.proposals) == 2
    (entry,) = parse_policy("version: 1\n" + fragment(advice, "2030-01-01"), "part").entries
    assert entry.endpoints[0].path is not None


def test_a_further_port_under_a_wildcard_has_its_rules() -> None:
    wild = parse_policy(
        """
version: 1
network_policies:
  web:
    endpoints:
      - {host: "*.w.test", port: 80, protocol: rest, rules: [{allow: {method: GET, path: /a}}]}
    binaries: [{path: /**}]
""",
        "wild.yaml",
    )
    refused = wild.judge_connection(Target("x.w.test", None, 443), ANYONE)
    assert refused.remedy_args is not None
    updated = change(wild, refused.remedy_args)
    assert judge(updated, "GET x.w.test /a").permits
    assert not judge(updated, "POST x.w.test /a").permits
