"""What a routing file may say: a mistake is told with its line, its key and the nearest word."""

from pathlib import Path

import pytest

from netmgr.inference.rules import CallRules
from netmgr.policy.problems import PolicyError
from netmgr.routing.difference import widened
from netmgr.routing.language import Failure
from netmgr.routing.schema import parse_routing

TEXT = (Path(__file__).parents[3] / "examples/routing/routing.yaml").read_text()
SMALL = "version: 1\nendpoints:\n  e: {provider: p, model: m, facts: {capabilities: [tools]}}\n"

# What is put in place of what -> what is said of it.
MISTAKES = {
    "version": ("version: 1", "version: 2", "version: expected 1"),
    "a section": ("prefer: #", "prefers: #", "prefers: unknown key; did you mean 'prefer'?"),
    "a router": ("router: ordered", "router: [ordered]", "router: expected keys and values"),
    "a label": ("raises: confidential", "raises: confidental", "did you mean 'confidential'?"),
    "unscanned below": (
        "unscanned: restricted #",
        "unscanned: public #",
        "no less sensitive than 'unlabelled'",
    ),
    "a type": ("type: bool", "type: boolean", "unknown value 'boolean'; expected 'label', 'bool'"),
    "a taken name": ("requires_local: { key", "tenant: { key", "a fact of that name already"),
    "a URL": ("model: qwen3-32b\n", "model: q\n    base_url: http://x\n", "lives in the provider"),
    "a key": (
        "model: qwen3-32b\n",
        "model: q\n    api_key: k\n",
        "credentials live in the provider",
    ),
    "a tool": (
        "model: qwen3-32b\n",
        "model: q\n    server_tools: [Web Search]\n",
        "server_tools: 'Web Search': expected a tool like web_search, in lower case",
    ),
    "a host": (
        "model: qwen3-32b\n",
        "model: q\n    remote_urls: ['https://files.test/x']\n",
        "expected a host like files.example.com",
    ),
    "an operator": ("operated_by: processor", "operated_by: proc", "unknown value 'proc'"),
    "a retention": ("retention: 30d", "retention: 30", "a time with its unit, like 250ms"),
    "a price": ("{ in: 0.6, out: 0.8 }", "{ in: -1, out: 0.8 }", "a number like 0.25, got -1"),
    "a context": ("context: 32768", "context: 0", "expected 1 to 1000000000, got 0"),
    "a routed endpoint": (
        "[onprem-qwen, onprem-vl, m",
        "[onprem-qwn, onprem-vl, m",
        "'onprem-qwen'?",
    ),
    "no default": ("  default: [", "  other: [", "'default' is missing"),
    "a condition": ("tenant: { in:", "tennant: { in:", "did you mean 'tenant'?"),
    "an operator of a condition": (
        "{ in: [acme-eu, h",
        "{ im: [acme-eu, h",
        "expected one of 'in' and 'not_in'",
    ),
    "a flag that is off": (
        "requires_local: true }\n",
        "requires_local: false }\n",
        "expected true",
    ),
    "a label as it is": (
        "when: { requires_local: true }",
        "when: { sensitivity: public }",
        "expected keys and values, got 'public'",
    ),
    "a residency": ("within: [eu] }", "within: [ue] }", "unknown 'ue'; known: eu, us"),
    "a requirement": ("price_out: { max", "prize_out: { max", "did you mean 'price_out'?"),
    "no requirement": ("require: { operated_by: self }", "require: {}", "at least one requirement"),
    "an id twice": ("id: local-when-told", "id: batch-is-cheap", "stands twice"),
    "an id of ours": ("id: local-when-told", "id: clearance", "is netmgr's own"),
    "a criterion": ("by: [price_out, l", "by: [price, l", "did you mean 'price_in'?"),
    "a capability": ("capability: long_reasoning", "capability: long_reason", "'long_reasoning'?"),
    "a tested stage": ("{ privacy-guard: { status: ok }", "{ privacy: { status: ok }", "unknown"),
    "a status": ("status: failed", "status: fails", "did you mean 'failed'?"),
    "a code": ("code: no_permitted_endpoint", "code: denied", "unknown 'denied'"),
    "a tested rule": (
        "frontier-us: batch-is-cheap",
        "frontier-us: batch-cheap",
        "'batch-is-cheap'?",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_line_and_the_nearest_word(name: str) -> None:
    right, wrong, said = MISTAKES[name]
    assert right in TEXT
    text = TEXT.replace(right, wrong, 1)
    with pytest.raises(PolicyError) as refused:
        parse_routing(text, "r.yaml")
    told = [problem for problem in refused.value.problems if said in problem.render("r.yaml")]
    assert told, refused.value.message
    line = text[: text.index(wrong)].count("\n") + 1
    lines = [problem.line for problem in told]
    assert any(abs(line - found) <= 3 for found in lines), (line, lines)


def test_all_mistakes_are_told_together() -> None:
    text = TEXT.replace("tenant: { in", "tennant: { in").replace("type: bool", "type: boolean")
    with pytest.raises(PolicyError) as refused:
        parse_routing(text, "r.yaml")
    assert len(refused.value.problems) >= 2


def test_what_an_endpoints_provider_may_do_is_read() -> None:
    line = "server_tools: [web_search], remote_urls: [files.test, '*.cdn.test'], stored_objects: []"
    (endpoint,) = parse_routing(SMALL.replace("model: m,", f"model: m, {line},"), "f").endpoints
    assert endpoint.allows == CallRules(
        server_tools=("web_search",), remote_urls=("files.test", "*.cdn.test")
    )


def test_a_provider_that_may_do_more_is_wider() -> None:
    least, some, more = (
        parse_routing(SMALL.replace("model: m,", f"model: m, server_tools: [{tools}],"), "f")
        for tools in ("", "web_search", "web_search, mcp")
    )
    assert widened(least, some)
    assert widened(some, more)
    assert not widened(more, some)
    assert not widened(some, some)


def test_the_smallest_file_has_every_default() -> None:
    file = parse_routing(SMALL, "r.yaml")
    assert file.routes == {"default": ("e",)}
    assert (file.router, file.mode, file.failure) == ("ordered", "enforce", Failure())
    assert file.sensitivity.order == ("unlabelled",)


FAILURES = {
    "failure: {attempts: 0}": "expected 1 to 10, got 0",
    "failure: {first_byte: 90s}": "no more than 'deadline'",
    "failure: {deadline: 2h}": "more than 0 and at most 3600s",
    "failure: {retry_on: [conect]}": "did you mean 'connect'?",
    "failure: {retry_on: [200]}": "a status from 400 to 599",
    "failure: {never_on: [connect]}": "expected a status from 400 to 599",
    "failure: {breaker: {failure: 3}}": "did you mean 'failures'?",
    "observe: {ledger: off}": "unknown value 'off'",
    "observe: {headers: all}": "expected 'request-id', 'route', 'off'",
    "mode: dry": "expected 'enforce', 'shadow'",
    "dial: {x: {hosts: [a]}}": "unknown 'x'",
    "dial: {e: {cidrs: [10.0.0.1/8]}}": "has host bits set",
    "dial: {e: {hosts: ['https://x.example/']}}": "https://x.example/",
    "dial: {e: {hosts: ['*']}}": "matches under a whole top-level domain",
    "dial: {e: {hosts: ['a..b']}}": "'a..b'",
    "prefer: [{by: [price_in]}, {by: [context]}]": "is never reached",
    "rules: [{id: r, require: {capabilities: [toools]}}]": "did you mean 'tools'?",
    "rules: [{id: r, when: {needs: {some: [tools]}}, require: {endpoint: e}}]": "unknown key",
    "rules: [{id: r, when: {workload: batch}, require: {endpoint: e}}]": "labels and their values",
    "rules: [{id: r, when: {protocol: openai_chat}, require: {endpoint: e}}]": "did you mean",
    "rules: [{id: r, when: {needs: [visoin]}, require: {endpoint: e}}]": "did you mean 'vision'?",
    "tests: [{name: t, given: {request: {needs: [tols]}}, expect: {permitted: []}}]": "'tools'?",
    "tests: [{name: t, expect: {}}]": "expects nothing",
    "tests: [{name: t, given: {tenant: 7}, expect: {permitted: [e]}}]": "expected a word",
}


@pytest.mark.parametrize("more", FAILURES)
def test_further_sections_are_judged(more: str) -> None:
    with pytest.raises(PolicyError) as refused:
        parse_routing(f"{SMALL}{more}\n", "r.yaml")
    assert FAILURES[more] in refused.value.message
    assert refused.value.problems[0].line == 4


def test_what_it_says_of_failures_is_read() -> None:
    more = "failure: {attempts: 5, deadline: 90s, first_byte: 1500ms, retry_on: [tls, 503]}\n"
    failure = parse_routing(SMALL + more, "r.yaml").failure
    assert (failure.attempts, failure.deadline_s, failure.first_byte_s) == (5, 90.0, 1.5)
    assert failure.retry_on == {"tls", 503}
