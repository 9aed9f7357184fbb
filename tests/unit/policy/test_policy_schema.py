"""Every validation rule has its message, with line and key."""

import pytest

from netmgr.policy.policy import EMPTY_POLICY, Policy, parse_policy
from netmgr.policy.problems import MAX_SHOWN, PolicyError

ANY = "binaries: [{path: /**}]"


def web(endpoint: str, extra: str = ANY) -> str:
    """A policy whose one endpoint stands on line 5."""
    return (
        f"version: 1\nnetwork_policies:\n  web:\n    endpoints:\n      - {endpoint}\n    {extra}\n"
    )


def problems(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "web.yaml")
    assert caught.value.exit_status == 2
    return str(caught.value).splitlines()


def endpoint_problem(endpoint: str) -> str:
    found = problems(web(endpoint))
    assert len(found) == 1, found
    return found[0].removeprefix("web.yaml:5: network_policies.web.endpoints[0]")


LOADS = {
    "L4": "{host: site.test, port: 443}",
    "several ports": "{host: site.test, ports: [443, 8443, 443]}",
    "tcp": "{host: db.test, port: 5432, protocol: tcp}",
    "upper case protocol": "{host: db.test, port: 5432, protocol: TCP}",
    "sql": "{host: db.test, port: 5432, protocol: sql}",
    "sql audited": "{host: db.test, port: 5432, protocol: sql, enforcement: audit}",
    "rest preset": "{host: a.test, port: 443, protocol: rest, access: read-write}",
    "rest rules": "{host: a.test, port: 443, protocol: rest, "
    "rules: [{allow: {method: get, path: '/v1/*'}}]}",
    "rest deny": "{host: a.test, port: 443, protocol: rest, access: full, "
    "deny_rules: [{method: DELETE, path: '**'}]}",
    "tls auto": "{host: a.test, port: 443, tls: auto}",
    "tls skip": "{host: a.test, port: 443, tls: skip}",
    "literal": "{host: 203.0.113.9, port: 22}",
    "wildcard": "{host: '*.a.test', port: 443}",
    "later keys that ask for nothing": "{host: a.test, port: 443, path: '', allowed_ips: [], "
    "allow_encoded_slash: false, persisted_queries: deny, credential_signing: ''}",
    "trailing dot": "{host: A.Test., port: 443}",
    "the host": "{host: host.openshell.internal, port: 8000}",
}


@pytest.mark.parametrize("endpoint", LOADS.values(), ids=LOADS)
def test_loads_and_comes_back_equal(endpoint: str) -> None:
    policy = parse_policy(web(endpoint), "web.yaml")
    assert policy.warnings == ()
    assert Policy.from_doc(policy.to_doc()).digest == policy.digest
    assert parse_policy(policy.to_yaml(), "again").to_doc() == policy.to_doc()


REFUSED = {
    "{host: '*', port: 443}": ".host: '*' matches under a whole top-level domain",
    "{host: '**', port: 443}": ".host: '**' matches under a whole top-level domain",
    "{host: '*.com', port: 443}": ".host: '*.com' matches under a whole top-level domain",
    "{host: '**.com', port: 443}": ".host: '**.com' matches under a whole top-level domain",
    "{host: 'foo.*.com', port: 443}": ".host: 'foo.*.com' matches under a whole top-level",
    "{host: 'a.**.test', port: 443}": ".host: 'a.**.test': '**' may only be the whole first",
    "{host: 'foo**.x.test', port: 443}": ".host: 'foo**.x.test': '**' may only be the whole",
    "{host: 'foo.us-*.x.com', port: 443}": ".host: 'foo.us-*.x.com': 'us-*': after the first",
    "{host: '*.co.uk', port: 443}": ".host: '*.co.uk' matches under the public suffix 'co.uk'",
    "{host: '*.nhs.uk', port: 443}": ".host: '*.nhs.uk' matches under the public suffix",
    "{host: '{a,b}.x.test', port: 443}": ".host: '{a,b}.x.test': '{a,b}' is no valid label",
    "{host: '*.{a,b}.test', port: 443}": ".host: '*.{a,b}.test': expected a host name, with",
    "{host: 'https://a.test', port: 443}": ".host: 'https://a.test': expected a host name alone",
    "{host: 'a.test:443', port: 443}": ".host: 'a.test:443': expected a host name alone; the port",
    "{host: '10.0.0.0/8', port: 443}": ".host: '10.0.0.0/8': expected a host name; networks",
    "{host: '::1', port: 443}": ".host: '::1': sandboxes have no IPv6",
    "{host: '0x7f000001', port: 80}": ".host: '0x7f000001': a host that ends in a number is an",
    "{host: '2130706433', port: 80}": ".host: '2130706433': a host that ends in a number is an",
    "{host: '017700000001', port: 80}": ".host: '017700000001': a host that ends in a number",
    "{host: '127.1', port: 80}": ".host: '127.1': a host that ends in a number is an address",
    "{host: '*.0.0.1', port: 80}": ".host: '*.0.0.1': an address takes no wildcard",
    "{host: bücher.test, port: 443}": ".host: 'bücher.test': expected ASCII; its form in DNS "
    "is 'xn--bcher-kva.test'",
    "{host: inference.local, port: 443}": ".host: 'inference.local' is netmgr's own",
    "{host: 10, port: 443}": ".host: expected a word, got 10; put it in quotes",
    "{port: 443}": ": expected 'host'",
    "{host: '', port: 443}": ": expected 'host'",
    "{host: a.test}": ": expected 'port' (1 to 65535) or a list of 'ports'",
    "{host: a.test, ports: []}": ": expected 'port' (1 to 65535) or a list of 'ports'",
    "{host: a.test, port: 0}": ".port: 0: expected 1 to 65535",
    "{host: a.test, port: 65536}": ".port: 65536: expected 1 to 65535",
    "{host: a.test, ports: [443, 70000]}": ".ports: 70000: expected 1 to 65535",
    "{host: a.test, port: '443'}": ".port: expected a whole number, got '443'",
    "{host: a.test, port: true}": ".port: expected a whole number, got true",
    "{host: a.test, ports: 443}": ".ports: expected a list, got 443",
    "{host: a.test, ports: [443, x]}": ".ports[1]: expected a whole number, got 'x'",
    "{host: a.test, port: 1, ports: [2]}": ".ports: 'port' and 'ports' exclude each other",
    "{host: a.test, port: 443, endponts: 1}": ".endponts: unknown key",
    "{host: a.test, port: 443, protcol: tcp}": ".protcol: unknown key; did you mean 'protocol'?",
    "{host: a.test, port: 443, protocol: rset}": ".protocol: unknown protocol 'rset'; expected "
    "tcp, sql, rest, websocket, graphql, json-rpc, mcp, or none for L4; did you mean 'rest'?",
    "{host: 203.0.113.9, port: 1, protocol: tcp}": ".host: protocol tcp needs a name",
    "{port: 1, allowed_ips: [10.0.0.1], protocol: tcp}": ".host: protocol tcp needs a name",
    "{host: a.test, port: 1, protocol: graphql, rules: [{allow: {operation_type: query, fields: "
    "[]}}]}": ".rules[0].allow.fields: an empty list names no field; remove the key to mean any",
    "{host: a.test, port: 1, protocol: graphql, access: full, deny_rules: [{fields: []}]}": (
        ".deny_rules[0].fields: an empty list names no field"
    ),
    "{host: a.test, port: 1, protocol: tcp, access: full}": ".access: needs a protocol",
    "{host: a.test, port: 1, access: full}": ".access: needs a protocol whose requests are judged",
    "{host: a.test, port: 1, deny_rules: [{method: GET, path: /}]}": ".deny_rules: needs",
    "{host: a.test, port: 1, enforcement: block}": ".enforcement: unknown value 'block'; "
    "expected 'enforce', 'audit'",
    "{host: a.test, port: 1, enforcement: enforced}": ".enforcement: unknown value 'enforced'; "
    "expected 'enforce', 'audit'; did you mean 'enforce'?",
    "{host: a.test, port: 1, protocol: sql, enforcement: enforce}": ".enforcement: protocol sql",
    "{host: a.test, port: 1, tls: strip}": ".tls: unknown value 'strip'",
    "{host: a.test, port: 1, protocol: rest, access: full, tls: skip}": ".tls: 'skip' leaves",
    "{host: a.test, port: 1, protocol: rest}": ": protocol rest needs 'access' or 'rules'",
    "{host: a.test, port: 1, protocol: rest, access: readonly}": ".access: unknown value "
    "'readonly'; expected 'read-only', 'read-write', 'full'; did you mean 'read-only'?",
    "{host: a.test, port: 1, protocol: rest, rules: []}": ".rules: an empty list",
    "{host: a.test, port: 1, protocol: rest, access: full, deny_rules: []}": ".deny_rules: an e",
    "{host: a.test, port: 1, protocol: rest, access: full, rules: [{allow: {method: GET, "
    "path: /}}]}": ".rules: 'access' and 'rules' exclude each other",
    "{host: a.test, port: 1, protocol: rest, deny_rules: [{method: GET, path: /}]}": ": protocol "
    "rest needs 'access' or 'rules'",
    "{host: a.test, port: 1, protocol: rest, rules: [{method: GET, path: /}]}": None,
    "{host: a.test, port: 1, protocol: rest, rules: [{}]}": ".rules[0]: expected 'allow' with a",
    "{host: a.test, port: 1, protocol: rest, rules: [{allow: {method: GET}}]}": ".rules[0].allow:"
    " expected 'path'",
    "{host: a.test, port: 1, protocol: rest, rules: [{allow: {path: /}}]}": ".rules[0].allow: "
    "expected 'method'",
    "{host: a.test, port: 1, protocol: rest, rules: [{allow: {}}]}": None,
    "{host: a.test, port: 1, protocol: rest, rules: [{allow: {method: 'A B', path: /}}]}": (
        ".rules[0].allow.method: 'A B' is no HTTP method"
    ),
    "{host: a.test, port: 1, protocol: rest, rules: [{allow: {method: GET, path: v1}}]}": (
        ".rules[0].allow.path: 'v1': expected a path pattern that begins with '/' or is '**'"
    ),
    "{host: a.test, port: 1, protocol: rest, rules: [{allow: {method: GET, path: '/{a,b}'}}]}": (
        ".rules[0].allow.path: '/{a,b}': '{' has no meaning here; only '*' and '**' do"
    ),
    "{host: a.test, port: 1, protocol: rest, rules: [{allow: {method: GET, path: '/a**'}}]}": (
        ".rules[0].allow.path: '/a**': '**' must stand alone between slashes"
    ),
    "{host: a.test, port: 1, protocol: rest, rules: [{allow: {method: GET, path: /a/../b}}]}": (
        ".rules[0].allow.path: '/a/../b': no canonical path has a segment '..'"
    ),
    "{host: a.test, port: 1, protocol: rest, rules: [{allow: {method: GET, path: //b}}]}": (
        ".rules[0].allow.path: '//b': no canonical path has an empty segment"
    ),
    "{host: a.test, port: 1, allow_encoded_slash: 0}": ".allow_encoded_slash: expected true or f",
    f"{{host: {'a' * 5000}, port: 1}}": ".host: expected at most 4096 printable characters",
    '{host: "a\\tb", port: 1}': ".host: expected at most 4096 printable characters",
    "{host: [a], port: {b: 1}}": None,
    "[host, a.test]": ": expected keys and values, got a list",
    "site.test": ": expected keys and values, got 'site.test'",
}


@pytest.mark.parametrize("endpoint", REFUSED, ids=range(len(REFUSED)))
def test_refuses_an_endpoint_with_its_message(endpoint: str) -> None:
    expected = REFUSED[endpoint]
    if expected is None:
        assert len(problems(web(endpoint))) > 1
    else:
        assert endpoint_problem(endpoint).startswith(expected)


NOT_YET = [
    "websocket_credential_rewrite: true",
    "request_body_credential_rewrite: true",
    "allow_uninspected_credentials: true",
    "credential_signing: sigv4",
    "signing_service: s3",
    "signing_region: eu-west-1",
    "credential_binding: {provider: p}",
]


@pytest.mark.parametrize("line", NOT_YET)
def test_refuses_what_is_not_enforced_yet_by_its_key(line: str) -> None:
    key = line.partition(":")[0]
    message = endpoint_problem(f"{{host: a.test, port: 443, {line}}}")
    assert message.startswith(f".{key}: ")
    assert "not enforced yet" in message


@pytest.mark.parametrize(
    ("matcher", "why"),
    [
        ("tool: x", "needs 'protocol: mcp'"),
        ("fields: [a]", "needs 'protocol: graphql'"),
        ("command: x", "not enforced yet"),
    ],
)
@pytest.mark.parametrize("kind", ["rules", "deny_rules"])
def test_refuses_matchers_that_mean_nothing_in_a_rule(matcher: str, why: str, kind: str) -> None:
    rule = f"{{method: GET, path: /, {matcher}}}"
    listed = f"[{{allow: {rule}}}]" if kind == "rules" else f"[{rule}]"
    access = "" if kind == "rules" else "access: full, "
    message = endpoint_problem(
        f"{{host: a.test, port: 1, protocol: rest, {access}{kind}: {listed}}}"
    )
    assert message.startswith(f".{kind}[0]")
    assert why in message


@pytest.mark.parametrize("method", ["WEBSOCKET_TEXT", "websocket_text"])
def test_websocket_messages_need_their_protocol(method: str) -> None:
    message = endpoint_problem(
        "{host: a.test, port: 1, protocol: rest, "
        f"rules: [{{allow: {{method: {method}, path: /}}}}]}}"
    )
    assert "needs 'protocol: websocket'" in message


@pytest.mark.parametrize("extra", ["", "binaries: []", "binaries:"])
def test_missing_or_empty_binaries_name_what_means_any(extra: str) -> None:
    (line,) = problems(web("{host: a.test, port: 443}", extra))
    assert line.startswith("web.yaml:")
    assert "expected 'binaries'; any program is [{path: /**}]" in line


@pytest.mark.parametrize(
    ("binaries", "expected"),
    [
        ("[{path: curl}]", "[0].path: 'curl': expected an absolute path, such as"),
        ("[{path: /usr/bin/c?rl}]", "[0].path: '/usr/bin/c?rl': '?' has no meaning here"),
        ("[{path: /usr/../bin/curl}]", "[0].path: '/usr/../bin/curl': no executable's path has"),
        ("[{path: /usr//curl}]", "[0].path: '/usr//curl': no executable's path has"),
        ("[{path: /opt/**x}]", "[0].path: '/opt/**x': '**' must stand alone"),
        ("[{}]", "[0]: expected 'path'; any program is /**"),
        ("[{path: /**, harness: 1}]", "[0].harness: expected true or false, got 1"),
        ("[{path: /**, sha256: abc}]", "[0].sha256: 'abc': expected 64 hex digits"),
        ("[{path: /**, script: x.py}]", "[0].script: 'x.py': expected an absolute path"),
        ("[{path: /**, pth: 1}]", "[0].pth: unknown key; did you mean 'path'?"),
        ("[/**]", "[0]: expected keys and values, got '/**'"),
        ("/**", ": expected a list, got '/**'"),
    ],
)
def test_refuses_binaries_that_mean_nothing(binaries: str, expected: str) -> None:
    (line,) = problems(web("{host: a.test, port: 443}", f"binaries: {binaries}"))
    assert line.startswith(f"web.yaml:6: network_policies.web.binaries{expected}")


TOP = {
    "": "web.yaml:1: the file is empty; expected at least 'version: 1'",
    "network_policies: {}": "web.yaml:1: expected 'version: 1'",
    "version: 2": "web.yaml:1: version: expected the number 1, got 2",
    "version: '1'": "web.yaml:1: version: expected the number 1, got '1'",
    "version: 1.0": "web.yaml:1: version: expected the number 1, got '1.0'",
    "version: true": "web.yaml:1: version: expected the number 1, got true",
    "version: 1\nnetwork_polices: {}": "web.yaml:2: network_polices: unknown key; did you mean "
    "'network_policies'?",
    "version: 1\nnetwork_middlewares: {a: {}}": "web.yaml:2: network_middlewares.a: expected",
    "version: 1\ntests: [{resolve: a.test}]": "web.yaml:2: tests[0]: expected 'expect: allow'",
    "version: 1\nversion: 1": "web.yaml:2: version: the key stands twice; first on line 1",
    "- version: 1": "web.yaml:1: expected keys and values, got a list",
    "version: 1\n---\nversion: 1": "web.yaml:2: a second document",
    "version: [": "web.yaml:",
    "version: 1\nnetwork_policies: []": "web.yaml:2: network_policies: expected keys and values",
    "version: 1\nnetwork_policies: {_provider_x: {endpoints: [], binaries: [{path: /**}]}}": (
        "web.yaml:2: network_policies._provider_x: names that begin with '_provider_' are"
    ),
    "version: 1\nlandlock: {compatibility: x}": "web.yaml:2: landlock.compatibility: unknown",
    "version: 1\nprocess: {user: root}": "web.yaml:2: process.user: unknown key",
    "version: 1\nfilesystem_policy: {read_only: [1]}": "web.yaml:2: filesystem_policy.read_only:",
    'version: 1\nfilesystem_policy: {read_write: ["\\a"]}': "web.yaml:2: filesystem_policy.r",
    "version: 1\nfilesystem_policy: {read_write: [/]}": "web.yaml:2: filesystem_policy.read_write: "
    "read_write[0]: the whole file system is not made writable",
    "version: 1\nfilesystem_policy: {read_write: [/./]}": "web.yaml:2: filesystem_policy.read_w",
    "version: 1\nfilesystem_policy: {read_only: [usr]}": "web.yaml:2: filesystem_policy.read_only: "
    "read_only[0]: 'usr': expected an absolute path without '..'",
    "version: 1\nfilesystem_policy: {read_only: [/a/../b]}": "web.yaml:2: filesystem_policy.read_o",
    f"version: 1\nfilesystem_policy: {{read_only: [/{'a' * 4096}]}}": "web.yaml:2: filesystem_pol",
    f"version: 1\nfilesystem_policy: {{read_only: [{'/a, ' * 257}]}}": (
        "web.yaml:2: filesystem_policy: more than 256 paths"
    ),
    "version: 1\nprocess: {run_as_user: root}": "web.yaml:2: process.run_as_user: expected "
    "'sandbox' or a number of 1 to 4294967294, got 'root'",
    "version: 1\nprocess: {run_as_user: 0}": "web.yaml:2: process.run_as_user: expected",
    "version: 1\nprocess: {run_as_group: '0'}": "web.yaml:2: process.run_as_group: expected",
    "version: 1\nprocess: {run_as_group: 4294967295}": "web.yaml:2: process.run_as_group: expected",
    "version: 1\nprocess: {run_as_user: true}": "web.yaml:2: process.run_as_user: expected",
    "version: 1\nprocess: {run_as_user: [1]}": "web.yaml:2: process.run_as_user: expected",
    f"version: 1\nnetwork_policies: {{{'k' * 129}: {{}}}}": (
        "web.yaml:2: network_policies: expected names of 1 to 128 printable characters"
    ),
    "version: 1\nfilesystem_policy: 7": "web.yaml:2: filesystem_policy: expected keys and",
    "version: !!int 1": "web.yaml:1: version: the tag",
    "\ud800": "web.yaml: the text is no valid Unicode",
    "version: \x00": "web.yaml: no valid YAML",
}


@pytest.mark.parametrize("text", TOP, ids=range(len(TOP)))
def test_refuses_a_document_with_its_message(text: str) -> None:
    assert any(line.startswith(TOP[text]) for line in problems(text)), problems(text)


def test_tells_every_problem_at_once_in_the_order_of_the_file() -> None:
    text = (
        "version: 2\nnetwork_policies:\n  web:\n    endpoints:\n"
        "      - {host: '*.com', port: 443}\n      - {host: a.test, port: 99999}\n"
        "    binares: []\n"
    )
    lines = problems(text)
    assert [line.split(": ")[0] for line in lines] == [
        "web.yaml:1",
        "web.yaml:4",
        "web.yaml:5",
        "web.yaml:6",
        "web.yaml:7",
    ]


def test_a_hostile_number_of_problems_is_cut() -> None:
    text = "version: 1\n" + "".join(f"k{number}: 1\n" for number in range(1000))
    lines = problems(text)
    assert len(lines) == MAX_SHOWN + 1
    assert lines[-1] == f"web.yaml: and {1000 - MAX_SHOWN} more"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("expires: tomorrow", "web.expires: 'tomorrow': expected a date (2027-01-31) or a time"),
        ("expires: 2026-13-01", "web.expires: month must be in 1..12"),
        ("expires: 2026-12-31T10:00:00", "web.expires: '2026-12-31T10:00:00': expected a date"),
        ("expires: 2026", "web.expires: expected a word, got 2026; put it in quotes"),
        ("mode: shadow", "web.mode: unknown value 'shadow'; expected 'enforce', 'observe'"),
        ("nme: x", "web.nme: unknown key; did you mean 'name'?"),
    ],
)
def test_refuses_an_entry_with_its_message(entry: str, expected: str) -> None:
    (line,) = problems(web("{host: a.test, port: 443}", f"{ANY}\n    {entry}"))
    assert line.startswith(f"web.yaml:7: network_policies.{expected}")


def test_enforce_inside_an_observed_entry_is_a_contradiction() -> None:
    text = web("{host: a.test, port: 443, enforcement: enforce}", f"{ANY}\n    mode: observe")
    (line,) = problems(text)
    assert "'enforce' contradicts the entry's 'mode: observe'" in line


def test_sections_of_the_runtime_are_kept_and_reported() -> None:
    text = (
        "version: 1\nfilesystem_policy: {include_workdir: true, read_only: [/usr]}\n"
        "landlock: {compatibility: best_effort}\nprocess: {run_as_user: sandbox, "
        "run_as_group: 1000}\n"
    )
    policy = parse_policy(text, "web.yaml")
    assert policy.warnings == (
        "filesystem_policy: enforced by the runtime, not by netmgr",
        "landlock: enforced by the runtime, not by netmgr",
        "process: enforced by the runtime, not by netmgr",
    )
    again = parse_policy(policy.to_yaml(), "again")
    assert again == policy
    assert again.to_doc()["process"] == {"run_as_user": "sandbox", "run_as_group": 1000}


@pytest.mark.parametrize(
    ("endpoint", "warning"),
    [
        ("{host: 169.254.169.254, port: 80}", ".host: never reachable, whatever is allowed"),
        ("{host: localhost, port: 80}", ".host: inside the sandbox that is the sandbox"),
        ("{host: a.test, port: 443, tls: terminate}", ".tls: 'terminate' is deprecated"),
        (
            "{host: a.test, port: 1, protocol: rest, rules: [{allow: {method: PSOT, path: /}}]}",
            ".rules[0].allow.method: 'PSOT' is no method that netmgr knows; did you mean 'POST'?",
        ),
    ],
)
def test_warns_of_what_will_surprise(endpoint: str, warning: str) -> None:
    (found,) = parse_policy(web(endpoint), "web.yaml").warnings
    assert found.startswith(f"network_policies.web.endpoints[0]{warning}")


def test_warns_of_keys_without_effect_and_of_entries_without_endpoints() -> None:
    text = "version: 1\nnetwork_policies: {a: {binaries: [{path: /**, harness: true}]}}"
    assert parse_policy(text, "x").warnings == (
        "network_policies.a.binaries[0].harness: has no effect; remove it",
        "network_policies.a: no endpoints: it allows nothing",
    )


def test_too_many_rules_of_an_endpoint_are_refused() -> None:
    rules = [{"allow": {"method": "GET", "path": f"/{number}"}} for number in range(1001)]
    endpoint = {"host": "a.test", "port": 1, "protocol": "rest", "rules": rules}
    entry = {"endpoints": [endpoint], "binaries": [{"path": "/**"}]}
    with pytest.raises(PolicyError, match="more than 1000 rules"):
        Policy.from_doc({"version": 1, "network_policies": {"a": entry}})


def test_an_empty_policy_denies_and_is_no_error() -> None:
    assert parse_policy("version: 1", "x") == EMPTY_POLICY
    assert parse_policy("version: 1\nnetwork_policies:\n", "x") == EMPTY_POLICY


def test_order_of_entries_does_not_change_the_digest() -> None:
    entry = "{endpoints: [{host: %s.test, port: 1}], binaries: [{path: /**}]}"
    a, b = f"a: {entry % 'a'}", f"b: {entry % 'b'}"
    one = parse_policy(f"version: 1\nnetwork_policies: {{{a}, {b}}}", "x")
    other = parse_policy(f"version: 1\nnetwork_policies: {{{b}, {a}}}", "x")
    assert one.digest == other.digest


def test_too_many_endpoints_are_refused() -> None:
    endpoint = {"host": "a.test", "port": 1}
    doc = {
        "version": 1,
        "network_policies": {
            "web": {"endpoints": [endpoint] * 20_001, "binaries": [{"path": "/**"}]}
        },
    }
    with pytest.raises(PolicyError, match="more than 20000 endpoints"):
        Policy.from_doc(doc)


@pytest.mark.parametrize("doc", [None, 3, [], {"version": 1.5}, {1: 2}, {"version": 1, "x": b""}])
def test_a_bad_value_instead_of_a_document_is_only_a_policy_error(doc: object) -> None:
    with pytest.raises(PolicyError):
        Policy.from_doc(doc)


def test_endpoints_of_a_policy_that_is_near_are_taken_over_where_they_are_the_same() -> None:
    old = parse_policy(web("{host: a.test, port: 443}\n      - {host: b.test, port: 22}"), "old")
    doc = old.to_doc()
    doc["network_policies"]["web"]["endpoints"][1]["port"] = 2222
    new = Policy.from_doc(doc, like=old)
    assert new == Policy.from_doc(doc)
    assert new.entries[0].endpoints[0] is old.entries[0].endpoints[0]
    assert new.entries[0].endpoints[1].ports == (2222,)
    doc["network_policies"]["web"]["mode"] = "observe"
    watched = Policy.from_doc(doc, like=old)
    assert watched == Policy.from_doc(doc)
    assert watched.entries[0].endpoints[0].audit


def test_an_empty_word_is_none_and_nothing_is_dropped() -> None:
    """A deny rule that was read as nothing would let by what its author meant to deny."""
    for rules, key in (
        ("access: full, deny_rules: [{method: GET, path: ''}]", "path"),
        ("access: full, deny_rules: [{method: '', path: /x}]", "method"),
        ("rules: [{allow: {method: GET, path: ''}}]", "path"),
        ("access: ''", "access"),
    ):
        text = f"""
version: 1
network_policies:
  web:
    endpoints: [{{host: a.test, port: 443, protocol: rest, {rules}}}]
    binaries: [{{path: /**}}]
"""
        with pytest.raises(PolicyError, match=f"(expected|needs) '{key}'"):
            parse_policy(text, "empty.yaml")


@pytest.mark.parametrize(("expect", "message"), [("''", "expected 'expect"), ("no", "'allow', 'a")])
def test_a_test_without_an_expectation_is_not_passed_over(expect: str, message: str) -> None:
    text = f"version: 1\ntests: [{{connect: 'a.test:443', expect: {expect}}}]\n"
    with pytest.raises(PolicyError, match=message):
        parse_policy(text, "tests.yaml")


def test_a_tool_that_strict_names_do_not_have_is_warned_of() -> None:
    text = """
version: 1
network_policies:
  web:
    endpoints:
      - {host: a.test, port: 443, protocol: mcp, rules: [{allow: {method: tools/call, tool: x y}}]}
    binaries: [{path: /**}]
"""
    assert "'x y' is no tool's name" in parse_policy(text, "tools.yaml").warnings[0]


def test_a_reason_that_is_none_names_the_nearest() -> None:
    case = "{connect: 'a.test:443', expect: deny, reason: no_matching_rules}"
    with pytest.raises(PolicyError, match="did you mean 'no_matching_rule'"):
        parse_policy(f"version: 1\ntests: [{case}]\n", "tests.yaml")
