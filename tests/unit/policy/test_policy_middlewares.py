"""`network_middlewares`: what loads, what it means for endpoints, what is refused and how."""

from textwrap import indent

import pytest

from netmgr.policy.decision import Request, Target, Treatment
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError

WEB = Target("api.test", None, 443)
STAGE = "{middleware: netmgr/secrets, endpoints: {include: [%s]}}"


def policy(stages: str, endpoint: str = "{host: api.test, port: 443}") -> str:
    return (
        "version: 1\n"
        "network_policies:\n"
        f"  web: {{endpoints: [{endpoint}], binaries: [{{path: /**}}]}}\n"
        "network_middlewares:\n" + indent(stages, "  ")
    )


def load(stages: str, endpoint: str = "{host: api.test, port: 443}") -> Policy:
    return parse_policy(policy(stages, endpoint), "web.yaml")


def problem(stages: str, endpoint: str = "{host: api.test, port: 443}") -> str:
    with pytest.raises(PolicyError) as error:
        load(stages, endpoint)
    return error.value.message


def test_stages_are_asked_in_their_order_and_excluded_hosts_are_not() -> None:
    found = load(
        "late: {middleware: netmgr/tagger, order: 7, endpoints: {include: ['*.test.example']}}\n"
        "early: {middleware: netmgr/pii, order: -1, on_error: fail_open,\n"
        "        endpoints: {include: ['**.test.example'], exclude: [b.test.example]}}\n"
    ).middlewares
    chain = found.chain(Target("a.test.example", None, 443))
    assert [(s.key, s.required) for s in chain] == [("early", False), ("late", True)]
    assert [s.key for s in found.chain(Target("b.test.example", None, 443))] == ["late"]
    assert [s.key for s in found.chain(Target("x.a.test.example", None, 80))] == ["early"]
    assert found.chain(WEB) == ()


def test_the_document_comes_back() -> None:
    text = (
        "dlp: {name: Our DLP, middleware: acme/dlp, order: 3, config: {a: [1, {b: c}]},\n"
        "      on_error: fail_open, endpoints: {include: [api.test], exclude: [x.test]}}\n"
    )
    one = load(text)
    assert Policy.from_doc(one.to_doc()) == one
    assert "network_middlewares" in one.to_yaml()
    assert one != load(text.replace("order: 3", "order: 4"))


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ("a: {}", "web.yaml:5: network_middlewares.a: expected 'middleware'"),
        ("a: {middleware: netmgr/secrets}", "expected 'endpoints: {include: [HOST, ...]}'"),
        ("a: " + STAGE % "", "expected 'include' with at least one host"),
        ("a: " + STAGE % "'*'", "whole top-level domain"),
        ("a: " + STAGE % "'{a,b}.test'", "alternates in braces are not supported"),
        ("a: " + STAGE.replace("secrets", "secret") % "a.test", "did you mean 'netmgr/secrets'?"),
        ("a: " + STAGE.replace("netmgr/", "") % "a.test", "did you mean 'netmgr/secrets'?"),
        ("a: " + STAGE % "a.test" + "\nb: " + STAGE % "a.test", "0 is the order of 'a' already"),
        (
            "a: {middleware: netmgr/pii, config: {acton: deny}, endpoints: {include: [a.test]}}",
            "network_middlewares.a.config.acton: unknown key; netmgr/pii takes action",
        ),
        (
            "a: {middleware: netmgr/pii, config: {types: [cart]}, endpoints: {include: [a.test]}}",
            "unknown type 'cart'; did you mean 'card'?",
        ),
        (
            "a: {middleware: netmgr/pii, on_error: open, endpoints: {include: [a.test]}}",
            "expected 'fail_closed', 'fail_open'",
        ),
        (
            "a: {middleware: x/y, endpoints: {include: [" + "a.test, " * 33 + "]}}",
            "more than 32 hosts",
        ),
        (
            "\n".join(
                f"a{n}: {{middleware: x/y, order: {n}, endpoints: {{include: [a.test]}}}}"
                for n in range(11)
            ),
            "more than 10 middlewares",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(stages: str, told: str) -> None:
    assert told in problem(stages)


@pytest.mark.parametrize("hidden", ["tls: skip", "protocol: tcp"])
def test_what_hides_from_a_required_stage_is_refused(hidden: str) -> None:
    endpoint = f"{{host: api.test, port: 443, {hidden}}}"
    told = problem("dlp: " + STAGE % "api.test", endpoint)
    assert told.startswith("web.yaml:3: network_policies.web.endpoints[0]: ")
    assert "exclude: [api.test]" in told
    wide = f"{{host: '*.api.test', port: 443, {hidden}}}"
    assert "'dlp'" in problem("dlp: " + STAGE % "deep.api.test", wide)
    open_ = "dlp: {middleware: netmgr/pii, on_error: fail_open, endpoints: {include: [api.test]}}"
    assert "does not see it" in " ".join(load(open_, endpoint).warnings)
    other = "dlp: {middleware: netmgr/pii, endpoints: {include: ['**.test.example']}}"
    assert load(other, endpoint).judge_connection(WEB).treatment is Treatment.SPLICE


def test_an_endpoint_without_a_protocol_is_ended_here_and_says_so() -> None:
    loaded = load("dlp: " + STAGE % "api.test")
    assert loaded.judge_connection(WEB).treatment is Treatment.TERMINATE
    assert loaded.judge_request(WEB, Request("DELETE", "/x")).permits
    assert loaded.judge_request(WEB, Request("GET", "/x", websocket=True)).permits
    assert "only HTTP passes" in loaded.warnings[0]
    other = "{host: other.test, port: 443}"
    plain = load("dlp: " + STAGE % "api.test", other)
    assert plain.judge_connection(Target("other.test", None, 443)).treatment is Treatment.SPLICE


def test_being_looked_at_opens_nothing() -> None:
    """An endpoint that judges requests is the only one that does, as without middlewares."""
    endpoints = (
        "{host: api.test, port: 443}, "
        "{host: api.test, port: 443, protocol: rest, access: read-only}"
    )
    loaded = load("dlp: " + STAGE % "api.test", endpoints)
    assert loaded.judge_request(WEB, Request("GET", "/x")).permits
    assert not loaded.judge_request(WEB, Request("DELETE", "/x")).permits
