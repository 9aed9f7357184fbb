"""Requests: `path` of an endpoint, `query` of a rule, `%2F`, presets; their messages at load."""

import pytest

from netmgr.policy.decision import Decision, Request, Target
from netmgr.policy.operations import parse_arguments
from netmgr.policy.path import canonical_path
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError
from netmgr.policy.update import update_policy
from netmgr.reasons import Reason, Verdict

HERE = Target("a.test", None, 443)
GET_ALL = "rules: [{allow: {method: GET, path: /**}}]"


def policy(*endpoints: str) -> Policy:
    """One entry; each endpoint is on a line of its own, from line 5 on."""
    lines = [f"      - {{host: a.test, port: 443, {endpoint}}}" for endpoint in endpoints]
    text = "\n".join(("version: 1", "network_policies:", "  web:", "    endpoints:", *lines))
    return parse_policy(f"{text}\n    binaries: [{{path: /**}}]\n", "web.yaml")


def rest(traits: str) -> str:
    return f"protocol: rest, {traits}"


def ask(given: Policy, line: str) -> Decision:
    method, _, target = line.partition(" ")
    path, query = canonical_path(target, allow_encoded_slash=True)
    return given.judge_request(HERE, Request(method, path, query))


def problem(*endpoints: str) -> str:
    with pytest.raises(PolicyError) as caught:
        policy(*endpoints)
    (line,) = str(caught.value).splitlines()
    return line


# -- presets -------------------------------------------------------------------------------

READS = ("GET", "HEAD", "OPTIONS", "get")
WRITES = ("POST", "PUT", "PATCH")
OTHERS = ("DELETE", "TRACE", "PROPFIND", "BREW", "CONNECT")


@pytest.mark.parametrize(
    ("access", "allowed"),
    [
        ("read-only", READS),
        ("read-write", READS + WRITES),
        ("full", READS + WRITES + OTHERS),
    ],
)
def test_a_preset_allows_its_methods_on_every_path(access: str, allowed: tuple[str, ...]) -> None:
    given = policy(rest(f"access: {access}"))
    for method in READS + WRITES + OTHERS:
        for path in ("/", "/a/b?c=d"):
            decision = ask(given, f"{method} {path}")
            assert decision.permits == (method in allowed)
            assert decision.reason in (Reason.ALLOWED, Reason.METHOD_NOT_ALLOWED)


def test_a_deny_rule_wins_over_a_preset_and_over_other_entries() -> None:
    given = policy(
        rest("access: full, deny_rules: [{method: '*', path: /admin/**}]"),
        rest("rules: [{allow: {method: GET, path: /admin/**}}]"),
    )
    assert ask(given, "GET /admin/x").reason is Reason.DENY_RULE
    assert ask(given, "GET /other").permits


# -- query ---------------------------------------------------------------------------------

QUERIES = {
    # matcher, as an allow rule; request's query; allowed?
    ("{a: '1'}", "a=1"): True,
    ("{a: '1'}", "a=2"): False,
    ("{a: '1'}", ""): False,
    ("{a: '1'}", "b=1"): False,
    ("{a: '1'}", "a=1&b=2"): True,
    ("{a: '1'}", "a=1&a=1"): True,
    ("{a: '1'}", "a=1&a=2"): False,
    ("{a: '1'}", "A=1"): False,
    ("{a: '1'}", "%61=%31"): True,
    ("{a: 'x y'}", "a=x+y"): True,
    ("{a: 'x y'}", "a=x%20y"): True,
    ("{a: 'x+y'}", "a=x%2By"): True,
    ("{a: ''}", "a"): True,
    ("{a: ''}", "a="): True,
    ("{a: ''}", "a=1"): False,
    ("{a: '*'}", "a"): True,
    ("{a: 'v*'}", "a=v1/x"): True,
    ("{a: {glob: 'v*2'}}", "a=v12"): True,
    ("{a: {glob: 'v*2'}}", "a=v13"): False,
    ("{a: {any: [x, 'y*']}}", "a=x&a=yes"): True,
    ("{a: {any: [x, 'y*']}}", "a=x&a=no"): False,
    ("{a: '1', b: '2'}", "b=2&a=1"): True,
    ("{a: '1', b: '2'}", "a=1"): False,
    ("{'ü': 'ö'}", "%C3%BC=%C3%B6"): True,
    ("{a: '1'}", "&&a=1&"): True,
}


@pytest.mark.parametrize(("matcher", "query"), QUERIES)
def test_an_allow_rule_wants_every_key_with_all_its_values(matcher: str, query: str) -> None:
    given = policy(rest(f"rules: [{{allow: {{method: GET, path: /s, query: {matcher}}}}}]"))
    decision = ask(given, f"GET /s?{query}")
    if QUERIES[matcher, query]:
        assert decision.verdict is Verdict.ALLOWED
        assert decision.rule == "web.endpoints[0].rules[0]"
    else:
        assert decision.reason is Reason.QUERY_NOT_ALLOWED
        assert "web.endpoints[0].rules[0]" in decision.message


DENIED_QUERIES = {
    ("{admin: 'true'}", "admin=true"): True,
    ("{admin: 'true'}", "admin=false&admin=true"): True,
    ("{admin: 'true'}", "adm%69n=tru%65"): True,
    ("{admin: 'true'}", "admin=false"): False,
    ("{admin: 'true'}", ""): False,
    ("{admin: '*'}", "admin"): True,
    ("{admin: {any: ['true', '1']}}", "admin=1"): True,
    ("{a: '1', b: '2'}", "a=1"): False,
    ("{a: '1', b: '2'}", "a=1&b=3&b=2"): True,
}


@pytest.mark.parametrize(("matcher", "query"), DENIED_QUERIES)
def test_a_deny_rule_fires_on_any_value(matcher: str, query: str) -> None:
    rule = f"{{method: GET, path: /**, query: {matcher}}}"
    given = policy(rest(f"access: full, deny_rules: [{rule}]"))
    decision = ask(given, f"GET /s?{query}")
    if DENIED_QUERIES[matcher, query]:
        assert decision.reason is Reason.DENY_RULE
        assert decision.rule == "web.endpoints[0].deny_rules[0]"
    else:
        assert decision.permits


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("a=1;admin=true", "';'"),
        ("a=%ff", "UTF-8"),
        ("a=%c0%af", "UTF-8"),
        ("admin=true%00", "NUL"),
        ("&".join("a=1" for _ in range(1001)), "1000 pairs"),
    ],
)
@pytest.mark.parametrize("enforcement", ["enforce", "audit"])
def test_a_query_with_two_readings_is_refused_where_a_rule_looks_at_it(
    query: str, why: str, enforcement: str
) -> None:
    looking = "access: full, deny_rules: [{method: GET, path: /s, query: {admin: 'true'}}]"
    given = policy(rest(f"enforcement: {enforcement}, {looking}"))
    decision = ask(given, f"GET /s?{query}")
    assert decision.verdict is Verdict.DENIED
    assert decision.reason is Reason.MALFORMED_REQUEST
    assert why in decision.message
    assert ask(given, f"GET /other?{query}").permits
    assert ask(given, f"POST /s?{query}").permits


MATCHER_PROBLEMS = {
    "{a: 1}": ".query.a: expected a pattern, got 1; put it in quotes",
    "{a: true}": ".query.a: expected a pattern, got true; put it in quotes",
    "{a: [x]}": ".query.a: expected a pattern, got a list",
    "{a: }": ".query.a: expected a pattern, got nothing",
    "{a: {}}": ".query.a: expected either 'glob' or 'any'",
    "{a: {glob: x, any: [y]}}": ".query.a: expected either 'glob' or 'any'",
    "{a: {any: []}}": ".query.a.any: expected a list of one pattern or more",
    "{a: {any: x}}": ".query.a.any: expected a list, got 'x'",
    "{a: {any: [x, 2]}}": ".query.a.any[1]: expected a pattern, got 2; put it in quotes",
    "{a: {any: ['x?']}}": ".query.a.any[0]: 'x?': '?' has no meaning here; only '*' does",
    "{a: {glob: }}": ".query.a.glob: expected a pattern, got nothing",
    "{a: '{x,y}'}": ".query.a: '{x,y}': '{' has no meaning here; only '*' does",
    "{'': x}": ".query.'': expected keys of 1 to 256 printable characters",
    "[a]": ".query: expected keys and values, got a list",
}


@pytest.mark.parametrize("matcher", MATCHER_PROBLEMS)
def test_a_bad_matcher_is_refused_with_its_message(matcher: str) -> None:
    line = problem(rest(f"rules: [{{allow: {{method: GET, path: /, query: {matcher}}}}}]"))
    assert line.startswith(
        f"web.yaml:5: network_policies.web.endpoints[0].rules[0].allow{MATCHER_PROBLEMS[matcher]}"
    )


@pytest.mark.parametrize("text", ["{a: {globb: x}}", "{a: {anny: [x]}}"])
def test_an_unknown_word_in_a_matcher_names_the_nearest(text: str) -> None:
    with pytest.raises(PolicyError, match="did you mean"):
        policy(rest(f"rules: [{{allow: {{method: GET, path: /, query: {text}}}}}]"))


def test_too_many_keys_and_alternatives_are_refused() -> None:
    keys = ", ".join(f"k{number}: x" for number in range(65))
    assert "more than 64 keys" in problem(
        rest(f"rules: [{{allow: {{method: GET, path: /, query: {{{keys}}}}}}}]")
    )
    many = ", ".join("x" for _ in range(257))
    assert "more than 256 patterns" in problem(
        rest(f"rules: [{{allow: {{method: GET, path: /, query: {{a: {{any: [{many}]}}}}}}}}]")
    )


def test_matchers_survive_their_document() -> None:
    query = "{a: x, b: {glob: 'y*'}, c: {any: [z]}}"
    given = policy(rest(f"rules: [{{allow: {{method: GET, path: /, query: {query}}}}}]"))
    (rule,) = given.to_doc()["network_policies"]["web"]["endpoints"][0]["rules"]
    assert rule["allow"]["query"] == {"a": "x", "b": "y*", "c": {"any": ["z"]}}
    assert Policy.from_doc(given.to_doc()) == given


# -- path of an endpoint -------------------------------------------------------------------


def test_a_path_chooses_between_endpoints() -> None:
    given = policy(
        rest("path: /read/**, access: read-only"),
        rest("path: /write/**, access: full"),
    )
    assert ask(given, "GET /read").permits
    assert ask(given, "GET /read/x").permits
    assert ask(given, "POST /read/x").reason is Reason.METHOD_NOT_ALLOWED
    assert ask(given, "DELETE /write/x").permits
    nobody = ask(given, "GET /else")
    assert (nobody.reason, nobody.rule) == (Reason.PATH_NOT_ALLOWED, None)
    assert "no endpoint for a.test:443 covers the path /else" in nobody.message


def test_every_endpoint_of_the_same_protocol_may_allow_and_deny() -> None:
    given = policy(
        rest("path: /api/**, access: read-only, deny_rules: [{method: '*', path: /api/no}]"),
        rest("rules: [{allow: {method: POST, path: /api/items}}, {allow: {method: GET, path: /}}]"),
    )
    assert ask(given, "POST /api/items").rule == "web.endpoints[1].rules[0]"
    assert ask(given, "GET /api/x").rule == "web.endpoints[0].access"
    assert ask(given, "GET /api/no").reason is Reason.DENY_RULE
    assert ask(given, "GET /x").reason is Reason.PATH_NOT_ALLOWED


def test_the_narrowest_says_whether_it_is_audited() -> None:
    given = policy(
        rest("path: /try/**, enforcement: audit, access: read-only"),
        rest("access: read-only, deny_rules: [{method: GET, path: /try/never}]"),
    )
    assert ask(given, "POST /try/x").verdict is Verdict.AUDITED
    assert ask(given, "POST /x").verdict is Verdict.DENIED
    # A deny rule of what is enforced holds, whatever is audited beside it.
    assert ask(given, "GET /try/never").verdict is Verdict.DENIED


def test_a_star_of_a_narrow_path_does_not_leave_the_rest_to_others() -> None:
    given = policy(
        rest("path: '/api/*', access: read-only"),
        rest("access: full"),
    )
    assert ask(given, "GET /api/x").permits
    deeper = ask(given, "POST /api/x/y")
    assert deeper.reason is Reason.PATH_NOT_ALLOWED
    assert "whose '*' ends at '/'" in deeper.message
    assert ask(given, "POST /other/x/y").permits


def test_a_bad_path_or_one_without_a_protocol_is_refused() -> None:
    assert ".path: 'v1': expected a path pattern" in problem(rest("access: full, path: v1"))
    assert ".path: needs a protocol whose requests are judged" in problem("path: /v1/**")
    assert ".allow_encoded_slash: needs a protocol" in problem("allow_encoded_slash: true")


def test_equally_narrow_endpoints_that_may_meet_must_agree() -> None:
    line = problem(
        rest("path: '/a/*', access: full"), rest("path: '/*/b', enforcement: audit, access: full")
    )
    assert "contradicts web.endpoints[0] (a.test)" in line
    assert "enforcement 'enforce' against 'audit'" in line
    assert "allow_encoded_slash false against true" in problem(
        rest("access: full"), rest("allow_encoded_slash: true, access: full")
    )


def test_endpoints_of_different_narrowness_or_apart_need_not_agree() -> None:
    given = policy(
        rest("path: /a/**, access: full"),
        rest("path: /b/**, enforcement: audit, access: full"),
        rest("path: /a/b/**, enforcement: audit, allow_encoded_slash: true, access: full"),
        rest("access: read-only"),
    )
    assert len(given.entries[0].endpoints) == 4


@pytest.mark.parametrize(
    ("asked", "place"), [("POST /narrow/x", "web.endpoints[1]"), ("POST /x", "web.endpoints[0]")]
)
def test_a_remedy_goes_to_the_endpoint_that_judged(asked: str, place: str) -> None:
    given = policy(rest("access: read-only"), rest("path: /narrow/**, access: read-only"))
    decision = ask(given, asked)
    assert decision.rule == place
    assert decision.remedy_args is not None
    updated = update_policy(given, parse_arguments(decision.remedy_args)).policy
    allowed = ask(updated, asked)
    assert allowed.verdict is Verdict.ALLOWED
    assert allowed.rule is not None
    assert allowed.rule.startswith(place)


# -- %2F -----------------------------------------------------------------------------------


def test_an_encoded_slash_is_refused_unless_the_endpoint_allows_it() -> None:
    given = policy(
        rest("access: full, enforcement: audit"),
        rest("path: /npm/**, access: full, allow_encoded_slash: true"),
    )
    refused = ask(given, "GET /@s%2Fpkg")
    assert (refused.verdict, refused.reason) == (Verdict.DENIED, Reason.MALFORMED_REQUEST)
    assert ask(given, "GET /npm/@s%2fpkg").verdict is Verdict.ALLOWED


def test_deny_rules_and_paths_see_both_readings_of_an_encoded_slash() -> None:
    slashes = "access: full, allow_encoded_slash: true"
    given = policy(
        rest(f"{slashes}, deny_rules: [{{method: '*', path: /admin/**}}]"),
        rest("path: /strict/**, access: read-only"),
    )
    assert ask(given, "GET /x%2Fy").permits
    assert ask(given, "GET /admin%2Fx").reason is Reason.DENY_RULE
    assert ask(given, "GET /%2Fadmin%2F%2Fx").reason is Reason.DENY_RULE
    assert ask(given, "POST /strict%2Fx").reason is Reason.MALFORMED_REQUEST
