"""`defaults`, `mode` and `source`: what they mean, how they come back, and their messages."""

import pytest

from netmgr.policy.decision import Request, Target
from netmgr.policy.explain import explain
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError
from netmgr.reasons import Verdict

ENTRY = """
  {key}:
    {mode}
    endpoints: [{{host: {key}.test, port: 443, protocol: rest, access: read-only{more}}}]
    binaries: [{{path: /**}}]"""


def policy(*entries: tuple[str, str, str], defaults: str = "") -> Policy:
    text = f"version: 1\n{defaults}\nnetwork_policies:"
    for key, mode, more in entries:
        text += ENTRY.format(key=key, mode=mode, more=more)
    return parse_policy(text, "web.yaml")


def verdict(given: Policy, key: str) -> Verdict:
    return given.judge_request(Target(f"{key}.test", None, 443), Request("POST", "/")).verdict


OBSERVE = "defaults: {mode: observe}"
MODES = {
    # defaults, the entry's mode, the endpoint's enforcement
    ("", "", ""): Verdict.DENIED,
    ("", "mode: observe", ""): Verdict.AUDITED,
    ("", "mode: enforce", ", enforcement: audit"): Verdict.AUDITED,
    ("defaults: {mode: enforce}", "", ""): Verdict.DENIED,
    (OBSERVE, "", ""): Verdict.AUDITED,
    (OBSERVE, "mode: enforce", ""): Verdict.DENIED,
    (OBSERVE, "mode: enforce", ", enforcement: audit"): Verdict.AUDITED,
    (OBSERVE, "", ", enforcement: enforce"): Verdict.DENIED,
}


@pytest.mark.parametrize(("defaults", "mode", "more"), MODES)
def test_the_nearest_word_on_the_mode_holds(defaults: str, mode: str, more: str) -> None:
    given = policy(("a", mode, more), defaults=defaults)
    assert verdict(given, "a") is MODES[defaults, mode, more]
    for again in (Policy.from_doc(given.to_doc()), parse_policy(given.to_yaml(), "again")):
        assert verdict(again, "a") is MODES[defaults, mode, more]
        assert again.digest == given.digest


def test_observing_by_default_is_warned_of_and_survives_its_document() -> None:
    given = policy(("a", "", ""), ("b", "mode: enforce", ""), defaults=OBSERVE)
    assert given.warnings == (
        "defaults.mode: entries without a mode of their own are audited, not enforced",
    )
    doc = given.to_doc()
    assert doc["defaults"] == {"mode": "observe"}
    assert "mode" not in doc["network_policies"]["a"]
    assert doc["network_policies"]["b"]["mode"] == "enforce"


def test_a_denial_is_explained_with_the_hint_and_the_source() -> None:
    given = policy(
        ("a", "source: {proposed_by: observe, seen: 41, binaries: [/usr/bin/git]}", ""),
        defaults="defaults: {on_deny: {hint: 'Ask the operator.'}}",
    )
    denied = explain(given, "https://a.test/", "POST").to_doc("web")
    assert denied["hint"] == "Ask the operator."
    assert denied["source"] == {"proposed_by": "observe", "seen": 41, "binaries": ["/usr/bin/git"]}
    assert explain(given, "https://b.test/").to_doc("web")["hint"] == "Ask the operator."
    allowed = explain(given, "https://a.test/").to_doc("web")
    assert allowed["hint"] is None
    assert allowed["source"] == denied["source"]
    assert Policy.from_doc(given.to_doc()).hint == given.hint


PROBLEMS = {
    "defaults: 1": "web.yaml:2: defaults: expected keys and values, got 1",
    "defaults: {mod: observe}": "web.yaml:2: defaults.mod: unknown key; did you mean 'mode'?",
    "defaults: {mode: audit}": "web.yaml:2: defaults.mode: unknown value 'audit'; expected",
    "defaults: {on_deny: x}": "web.yaml:2: defaults.on_deny: expected keys and values, got 'x'",
    "defaults: {on_deny: {hints: x}}": "web.yaml:2: defaults.on_deny.hints: unknown key; did you",
    "defaults: {on_deny: {hint: 1}}": "web.yaml:2: defaults.on_deny.hint: expected a word, got 1",
    f"defaults: {{on_deny: {{hint: {'x' * 513}}}}}": (
        "web.yaml:2: defaults.on_deny.hint: expected at most 512 characters"
    ),
    'defaults: {on_deny: {hint: "a\\nb"}}': "web.yaml:2: defaults.on_deny.hint: expected at most",
}


@pytest.mark.parametrize("defaults", PROBLEMS)
def test_bad_defaults_are_refused_with_their_message(defaults: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(defaults=defaults)
    assert str(caught.value).startswith(PROBLEMS[defaults])


SOURCES = {
    "source: x": "source: expected keys and values, got 'x'",
    "source: {a: {b: c}}": "source: a: expected a short printable text",
    "source: {a: [[b]]}": "source: a: expected a short printable text",
    'source: {a: "\\e"}': "source: a: expected a short printable text",
    f"source: {{a: [{', '.join('x' * 65)}]}}": "source: a: more than 64 items",
    f"source: {{{', '.join(f'k{n}: 1' for n in range(33))}}}": "source: more than 32 keys",
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_bad_source_is_refused_with_its_message(source: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(("a", source, ""))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"web.yaml:5: network_policies.a.{SOURCES[source]}")
