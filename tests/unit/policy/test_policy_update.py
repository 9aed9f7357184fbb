"""`policy update`: what each operation changes, and what it refuses to change."""

import pytest

from netmgr.errors import BadInput
from netmgr.policy.decision import Request, Target
from netmgr.policy.operations import (
    AddEndpoint,
    AddHttpRule,
    RemoveEndpoint,
    RemoveEntry,
    UseBinary,
    UseEntry,
    parse_arguments,
    parse_operation,
    parse_operations,
)
from netmgr.policy.policy import EMPTY_POLICY, Policy, parse_policy
from netmgr.policy.problems import PolicyError
from netmgr.policy.update import Updated, policy_from_allow, update_policy

BASE = """
version: 1
process: {run_as_user: sandbox}
network_policies:
  web:
    endpoints:
      - {host: api.test, ports: [443, 8443], protocol: rest, access: read-only}
      - {host: plain.test, port: 443}
    binaries: [{path: /**}]
  other:
    endpoints:
      - host: rules.test
        port: 443
        protocol: rest
        rules: [{allow: {method: GET, path: /a}}]
    binaries: [{path: /**}]
"""


@pytest.fixture(scope="module")
def base() -> Policy:
    return parse_policy(BASE, "base.yaml")


def change(base: Policy, arguments: str) -> Updated:
    return update_policy(base, parse_arguments(arguments))


def endpoints(updated: Updated, entry: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = updated.policy.to_doc()["network_policies"][entry]["endpoints"]
    return found


OPERATIONS = {
    ("add-endpoint", "A.test:443"): AddEndpoint("a.test", 443),
    ("--add-endpoint", "a.test:443:read-only"): AddEndpoint("a.test", 443, "read-only", "rest"),
    ("add-endpoint", "a.test:443::tcp"): AddEndpoint("a.test", 443, "", "tcp"),
    ("add-endpoint", "*.a.test:443:full:rest:audit"): AddEndpoint(
        "*.a.test", 443, "full", "rest", "audit"
    ),
    ("remove-endpoint", "203.0.113.9:22"): RemoveEndpoint("203.0.113.9", 22),
    ("add-allow", "a.test:443:get:/v1/x:y"): AddHttpRule(False, "a.test", 443, "GET", "/v1/x:y"),
    ("add-deny", "a.test:443:*:/**"): AddHttpRule(True, "a.test", 443, "*", "/**"),
    ("remove-rule", "web"): RemoveEntry("web"),
    ("rule-name", "web"): UseEntry("web"),
    ("--binary", "/usr/bin/git"): UseBinary("/usr/bin/git"),
}


@pytest.mark.parametrize("flag_value", OPERATIONS, ids=" ".join)
def test_flag_syntax(flag_value: tuple[str, str]) -> None:
    assert parse_operation(*flag_value) == OPERATIONS[flag_value]


BAD_OPERATIONS = {
    ("add-endpoint", "a.test"): "--add-endpoint 'a.test': expected host:port[/path][:access",
    ("add-endpoint", "a.test:443:full:rest:audit:x"): "unknown option 'x'",
    ("add-endpoint", "a.test:443:full:rest:audit::"): "expected host:port[/path][:access",
    ("add-endpoint", "a.test:443::mpc"): "unknown protocol 'mpc'; expected tcp, sql, rest, "
    "websocket, graphql, json-rpc, mcp; did you mean 'mcp'?",
    ("expires", "soon"): "--expires 'soon': expected a date (2027-01-31) or a time",
    ("add-endpoint", "a.test:0"): "port '0': expected 1 to 65535",
    ("add-endpoint", "a.test:65536"): "port '65536': expected 1 to 65535",
    ("add-endpoint", "a.test:\u0664"): "expected 1 to 65535",
    ("add-endpoint", "*.com:443"): "host '*.com' matches under a whole top-level domain",
    ("add-endpoint", ":443"): "host '': expected",
    ("add-endpoint", ""): "expected a value",
    ("remove-endpoint", "a.test:443:x"): "expected host:port",
    ("add-allow", "a.test:443:GET"): "expected host:port:METHOD:path",
    ("remove-rule", "a\nb"): "expected a value in printable characters",
    ("add-endpont", "a.test:443"): "unknown operation 'add-endpont'; did you mean 'add-endpoint'?",
}


@pytest.mark.parametrize("flag_value", BAD_OPERATIONS, ids=range(len(BAD_OPERATIONS)))
def test_bad_flag_values(flag_value: tuple[str, str]) -> None:
    with pytest.raises(BadInput) as caught:
        parse_operation(*flag_value)
    assert BAD_OPERATIONS[flag_value] in caught.value.message


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (["x"], r"operations\[0\]: expected an object with 'op' and 'value'"),
        ([{"op": "add-endpoint"}], r"operations\[0\]: expected an object"),
        ([{"op": "add-endpoint", "value": 3}], r"operations\[0\]: expected an object"),
        ([{"op": "rule-name", "value": "x", "y": 1}], r"operations\[0\]: expected an object"),
        ([{"op": "binary", "value": "/**"}, {"op": "x", "value": "y"}], r"operations\[1\]: unkn"),
        ([{"op": "binary", "value": "/**"}] * 257, r"operations\[256\]: at most 256"),
    ],
)
def test_bad_batches(wire: list[object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_operations(wire)


def test_a_batch_from_the_api(base: Policy) -> None:
    wire = [{"op": "add-endpoint", "value": "new.test:443"}]
    assert parse_operations(wire) == (AddEndpoint("new.test", 443),)


@pytest.mark.parametrize("text", ["--add-endpoint", "'", "--x y z"])
def test_bad_command_lines(text: str) -> None:
    with pytest.raises(BadInput):
        parse_arguments(text)


def test_a_new_endpoint_gets_an_entry_of_its_own(base: Policy) -> None:
    updated = change(base, "--add-endpoint new.test:443 --add-endpoint '*.w.test:80:full:rest'")
    assert updated.changed
    assert endpoints(updated, "allow_new_test_443") == [{"host": "new.test", "port": 443}]
    assert endpoints(updated, "allow_w_test_80") == [
        {"host": "*.w.test", "port": 80, "protocol": "rest", "access": "full"}
    ]
    assert parse_policy(updated.text, "new") == updated.policy
    assert updated.policy.to_doc()["process"] == {"run_as_user": "sandbox"}


def test_the_base_is_not_touched(base: Policy) -> None:
    before = base.to_yaml()
    change(base, "--add-allow api.test:443:POST:/x --remove-rule other")
    assert base.to_yaml() == before


def test_an_endpoint_goes_where_it_is_told(base: Policy) -> None:
    updated = change(base, "--rule-name web --add-endpoint new.test:443::tcp")
    assert endpoints(updated, "web")[2] == {"host": "new.test", "port": 443, "protocol": "tcp"}
    named = change(base, "--rule-name fresh --add-endpoint new.test:443")
    assert endpoints(named, "fresh") == [{"host": "new.test", "port": 443}]


def test_keys_of_new_entries_do_not_collide(base: Policy) -> None:
    updated = change(base, "--add-endpoint a-b.test:443 --add-endpoint a.b.test:443")
    assert {"allow_a_b_test_443", "allow_a_b_test_443_2"} <= updated.policy.to_doc()[
        "network_policies"
    ].keys()


@pytest.mark.parametrize(
    "arguments",
    [
        "--add-endpoint plain.test:443",
        "--add-endpoint api.test:443",
        "--add-endpoint api.test:443:read-only:rest:enforce",
        "--add-allow rules.test:443:GET:/a",
        "--add-allow api.test:443:GET:/**",
    ],
)
def test_what_is_already_so_changes_nothing(base: Policy, arguments: str) -> None:
    updated = change(base, arguments)
    assert not updated.changed
    assert len(updated.notes) == 1
    assert updated.policy == base


def test_what_stands_there_in_another_way_stays_and_is_told(base: Policy) -> None:
    updated = change(base, "--add-endpoint api.test:443:full")
    assert (updated.changed, len(updated.notes)) == (False, 1)
    assert "web.endpoints[0] keeps its access 'read-only', not 'full'" in updated.notes[0]
    updated = change(base, "--add-endpoint plain.test:443:full")
    assert not updated.changed
    assert "web.endpoints[1] keeps its protocol as it is" in updated.notes[0]


def test_an_end_is_given_to_what_is_added_or_named(base: Policy) -> None:
    added = change(base, "--add-endpoint new.test:443 --expires 2030-01-31")
    entries = added.policy.to_doc()["network_policies"]
    assert entries["allow_new_test_443"]["expires"] == "2030-01-31"
    assert "expires" not in entries["web"]
    named = change(base, "--rule-name web --expires 2030-01-31T10:00:00+02:00").policy
    assert named.to_doc()["network_policies"]["web"]["expires"] == "2030-01-31T08:00:00Z"
    assert change(named, "--rule-name web --expires never").policy == base
    with pytest.raises(BadInput, match="say which entry ends then"):
        change(base, "--expires 2030-01-31")


def test_what_ends_is_not_folded_into(base: Policy) -> None:
    ending = change(base, "--rule-name web --expires 2001-01-01").policy
    updated = change(ending, "--add-endpoint plain.test:443")
    assert "web.endpoints[1] covers plain.test:443 already, but ends 2001-01-01" in updated.notes[0]
    assert updated.policy.judge_connection(Target("plain.test", None, 443)).permits
    with pytest.raises(BadInput, match="ends 2001-01-01; leave --rule-name out"):
        change(ending, "--rule-name web --add-endpoint plain.test:443")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--remove-binary /usr/bin/git", "every program may use"),
        ("--rule-name web --remove-binary /**", "every program may use"),
    ],
)
def test_a_program_is_not_taken_from_everybody(base: Policy, arguments: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        change(base, arguments)


def test_a_rule_is_not_for_one_program_of_several(base: Policy) -> None:
    with pytest.raises(BadInput, match="would inherit the rule; leave --binary out"):
        change(base, "--binary /usr/bin/git --add-allow rules.test:443:POST:/a")


def test_programs_never_inherit_an_endpoint(base: Policy) -> None:
    with pytest.raises(BadInput, match="programs of entry 'web' would inherit"):
        change(base, "--rule-name web --binary /usr/bin/git --add-endpoint new.test:443")


def test_the_outcome_is_judged_as_any_policy(base: Policy) -> None:
    with pytest.raises(PolicyError, match="'git': expected an absolute path"):
        change(base, "--binary git --add-endpoint new.test:443")
    with pytest.raises(PolicyError, match="needs a protocol whose requests are judged"):
        change(base, "--add-endpoint new.test:443:full:tcp")
    with pytest.raises(PolicyError, match="contradicts"):
        change(base, "--add-endpoint '*.test.example:443' --add-endpoint a.test.example:443::tcp")


def test_a_rule_splits_an_endpoint_with_other_ports(base: Policy) -> None:
    updated = change(base, "--add-allow api.test:443:POST:/v1")
    kept, _, single = endpoints(updated, "web")
    assert kept == {"host": "api.test", "port": 8443, "protocol": "rest", "access": "read-only"}
    assert single["port"] == 443
    post = Request("POST", "/v1")
    assert updated.policy.judge_request(Target("api.test", None, 443), post).permits
    assert updated.policy.judge_request(Target("api.test", None, 443), Request("GET", "/")).permits
    assert not updated.policy.judge_request(Target("api.test", None, 8443), post).permits
    assert "split" in updated.notes[0]


def test_a_deny_rule_leaves_the_preset(base: Policy) -> None:
    updated = change(base, "--add-deny rules.test:443:GET:/a/** --add-deny api.test:443:*:/x")
    assert endpoints(updated, "other")[0]["deny_rules"] == [{"method": "GET", "path": "/a/**"}]
    assert endpoints(updated, "web")[2]["access"] == "read-only"
    target = Target("rules.test", None, 443)
    assert not updated.policy.judge_request(target, Request("GET", "/a")).permits


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--add-allow nobody.test:443:GET:/", "no endpoint nobody.test:443"),
        ("--add-allow rule.test:443:GET:/", "did you mean 'rules.test:443'"),
        ("--add-allow plain.test:443:GET:/", r"web.endpoints\[1\] does not look inside"),
        ("--add-allow rules.test:443:GET:x", "begins with '/'"),
        ("--rule-name web --add-allow rules.test:443:GET:/", "no endpoint rules.test:443 in entry"),
        ("--rule-name wbe --add-allow rules.test:443:GET:/", "no entry 'wbe'; did you mean 'web'"),
        ("--remove-rule othr", "no entry 'othr'; did you mean 'other'"),
        ("--remove-endpoint api.test:80", "no endpoint api.test:80"),
    ],
)
def test_what_is_not_there(base: Policy, arguments: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        change(base, arguments)


def test_a_rule_for_an_endpoint_in_two_entries_needs_a_name(base: Policy) -> None:
    twice = parse_policy(
        BASE + "  third: {endpoints: [{host: rules.test, port: 443, "
        "protocol: rest, access: read-only}], binaries: [{path: /**}]}\n",
        "x",
    )
    with pytest.raises(BadInput, match=r"several entries \(other, third\); say which with --rule"):
        change(twice, "--add-allow rules.test:443:POST:/a")
    updated = change(twice, "--rule-name third --add-allow rules.test:443:POST:/a")
    assert len(endpoints(updated, "other")[0]["rules"]) == 1  # type: ignore[arg-type]


def test_removing(base: Policy) -> None:
    updated = change(base, "--remove-endpoint api.test:8443 --remove-endpoint plain.test:443")
    assert endpoints(updated, "web") == [
        {"host": "api.test", "port": 443, "protocol": "rest", "access": "read-only"}
    ]
    emptied = change(base, "--remove-endpoint rules.test:443")
    assert "other" not in emptied.policy.to_doc()["network_policies"]
    assert emptied.notes == ("entry 'other' has no endpoints left and is removed",)
    assert "web" not in change(base, "--remove-rule web").policy.to_doc()["network_policies"]


def test_allow_list() -> None:
    policy = policy_from_allow(["api.x.com", "h:8443", "h:9443", "203.0.113.9:22", "*.y.com"])
    assert policy.judge_connection(Target("api.x.com", None, 443)).rule == "allow.endpoints[0]"
    assert policy.judge_connection(Target("h", None, 8443)).permits
    assert policy.judge_connection(Target("a.y.com", None, 443)).permits
    assert policy.judge_connection(Target(None, "203.0.113.9", 22)).permits
    assert not policy.judge_connection(Target("h", None, 443)).permits


def test_an_allow_list_adds_to_a_policy(base: Policy) -> None:
    both = policy_from_allow(["new.test", "plain.test"], base)
    assert both.judge_connection(Target("new.test", None, 443)).permits
    assert both.judge_connection(Target("api.test", None, 443)).permits
    assert policy_from_allow([], base) is base
    assert policy_from_allow([]) is EMPTY_POLICY


@pytest.mark.parametrize("text", ["", "*.com", "a:b", "a:1:full", "https://a.test", "::1", "a b"])
def test_a_bad_allow_list_names_the_item(text: str) -> None:
    with pytest.raises(BadInput, match=r"--allow '") as caught:
        policy_from_allow(["a.test", text])
    assert repr(text) in caught.value.message
