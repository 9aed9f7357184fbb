"""A policy that was read with an earlier one at hand is the one that is read from scratch: the same
entries, warnings, digest and decisions, or the same errors."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netmgr.policy.decision import Target
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError

Doc = dict[str, Any]

HOST = st.sampled_from(
    ["a.w.test", "b.a.w.test", "*.w.test", "**.a.w.test", "203.0.113.9", "host.openshell.internal"]
)
TRAITS = st.sampled_from(
    [
        {},
        {"protocol": "tcp"},
        {"protocol": "sql"},
        {"tls": "skip"},
        {"protocol": "rest", "access": "read-only"},
        {"protocol": "rest", "access": "full", "enforcement": "audit"},
        {"protocol": "rest", "rules": [{"allow": {"method": "GET", "path": "/v1/*"}}]},
        {
            "protocol": "rest",
            "access": "read-write",
            "path": "/v1/**",
            "allow_encoded_slash": True,
            "deny_rules": [{"method": "DELETE", "path": "/**"}],
        },
    ]
)
ENDPOINT = st.builds(
    lambda host, ports, traits: {"host": host, "ports": ports, **traits},
    HOST,
    st.lists(st.sampled_from([1, 443, 8443]), min_size=1, max_size=2),
    TRAITS,
)
ENTRY = st.fixed_dictionaries(
    {"endpoints": st.lists(ENDPOINT, max_size=4), "binaries": st.just([{"path": "/**"}])},
    optional={"mode": st.sampled_from(["enforce", "observe"])},
)
KEY = st.sampled_from(["web", "a b", "x.y"])
DOC = st.fixed_dictionaries(
    {"version": st.just(1), "network_policies": st.dictionaries(KEY, ENTRY, max_size=3)},
    optional={"defaults": st.sampled_from([{"mode": "observe"}, {"mode": "enforce"}])},
)

# What is equal in Python and not in a policy, what is refused, and what is only warned of.
ODD = st.sampled_from(
    [
        {"host": "a.w.test", "port": True},
        {"host": "a.w.test", "port": 443, "allow_encoded_slash": 1},
        {"host": "127.0.0.1", "port": 443},
        {"host": "localhost", "port": 443},
        {"host": "a.w.test", "port": 443, "tls": "terminate"},
        {"host": "a.w.test", "port": 443, "protocol": "rest", "enforcement": "enforce"},
        {"host": "a.w.test", "port": 1},
        {"host": 1, "port": 443},
        {"host": "a.w.test"},
        "no endpoint",
        None,
    ]
)


@st.composite
def successors(draw: st.DrawFn) -> tuple[Doc, Doc]:
    """A document, and one that somebody made of it."""
    first: Doc = draw(DOC)
    second: Doc = json.loads(json.dumps(first))
    entries = second["network_policies"]
    for key in list(entries):
        endpoints = entries[key]["endpoints"]
        what = draw(st.sampled_from(["keep", "drop", "insert", "turn", "mode", "move", "gone"]))
        if what == "drop" and endpoints:
            del endpoints[draw(st.integers(0, len(endpoints) - 1))]
        elif what == "insert":
            endpoints.insert(draw(st.integers(0, len(endpoints))), draw(ODD))
        elif what == "turn":
            endpoints.reverse()
        elif what == "mode":
            entries[key]["mode"] = draw(st.sampled_from(["", "enforce", "observe"]))
        elif what == "move":
            entries[draw(KEY)] = entries.pop(key)
        elif what == "gone":
            entries[key]["binaries"] = [{"path": "/usr/bin/curl"}]
    if draw(st.booleans()):
        second["defaults"] = {"mode": draw(st.sampled_from(["enforce", "observe"]))}
    return first, second


def read(doc: Doc, like: Policy | None) -> Policy | str:
    """A policy, or why it is none."""
    try:
        return Policy.from_doc(doc, like=like)
    except PolicyError as error:
        return error.message


def read_yaml(doc: Doc, like: Policy | None) -> Policy | str:
    """The same by way of a file; JSON is YAML."""
    try:
        return parse_policy(json.dumps(doc), "file", like)
    except PolicyError as error:
        return error.message


def assert_same(one: Policy | str, other: Policy | str) -> None:
    """Nobody can tell them apart."""
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    assert one.entries == other.entries
    assert (one.digest, one.warnings) == (other.digest, other.warnings)
    assert json.dumps(one.to_doc()) == json.dumps(other.to_doc())
    for name in ("a.w.test", "b.a.w.test", "127.0.0.1", "host.openshell.internal"):
        target = Target(name, None, 443)
        assert one.judge_connection(target) == other.judge_connection(target)


@settings(deadline=None)
@given(successors())
def test_from_an_earlier_one_and_from_scratch_are_the_same(docs: tuple[Doc, Doc]) -> None:
    like = read(docs[0], None)
    earlier = like if isinstance(like, Policy) else None
    second = read(docs[1], earlier)
    assert_same(second, read(docs[1], None))
    assert_same(read_yaml(docs[1], earlier), read_yaml(docs[1], None))
    if isinstance(second, Policy):  # and what was taken over is as good to take over from
        assert_same(read(docs[0], second), read(docs[0], None))


def document(*endpoints: object) -> Doc:
    """One entry for every program."""
    entry = {"endpoints": list(endpoints), "binaries": [{"path": "/**"}]}
    return {"version": 1, "network_policies": {"web": entry}}


def test_what_is_the_same_is_the_very_same_object_also_where_it_moved() -> None:
    first = Policy.from_doc(document({"host": "a.test", "port": 1}, {"host": "b.test", "port": 2}))
    kept = first.entries[0].endpoints
    again = Policy.from_doc(first.to_doc(), like=first)
    assert again.entries[0].endpoints[1] is kept[1]
    moved = Policy.from_doc(document({"host": "b.test", "port": 2}), like=first)
    assert moved.entries[0].endpoints[0].host is kept[1].host
    assert moved.entries[0].endpoints[0].place == "web.endpoints[0]"


@pytest.mark.parametrize(
    "odd",
    [
        {"host": "a.test", "port": True},
        {"host": "a.test", "port": 1, "allow_encoded_slash": 0},
    ],
)
def test_true_is_not_taken_for_a_1(odd: Doc) -> None:
    like = Policy.from_doc(document({"host": "a.test", "port": 1}))
    with pytest.raises(PolicyError, match="expected"):
        Policy.from_doc(document(odd), like=like)
    with pytest.raises(PolicyError, match="expected"):
        parse_policy(json.dumps(document(odd)), "file", like)


def test_a_warning_is_told_again() -> None:
    doc = document({"host": "127.0.0.1", "port": 443})
    like = Policy.from_doc(doc)
    assert like.warnings
    assert Policy.from_doc(doc, like=like).warnings == like.warnings
