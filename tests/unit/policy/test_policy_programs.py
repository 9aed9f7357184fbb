"""Programs of an entry: who is meant, who is not, and what is said to whom."""

import pytest

from netmgr.errors import BadInput
from netmgr.policy.decision import DestinationPlan, PlanKind, Request, Target
from netmgr.policy.explain import explain
from netmgr.policy.match import BadPattern
from netmgr.policy.operations import parse_arguments
from netmgr.policy.owner import ANYONE, UNKNOWN, Fault, Owner, Program, parse_owner
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.programs import parse_file_glob
from netmgr.policy.update import update_policy
from netmgr.reasons import Reason

PIN = "a" * 64
POLICY = parse_policy(
    f"""
version: 1
network_policies:
  a:
    endpoints:
      - {{host: a.test, port: 443}}
      - {{host: "*.wide.test", port: 443}}
      - {{host: both.test, port: 443, protocol: rest, access: read-only}}
    binaries: [{{path: /usr/bin/curl}}, {{path: /opt/tools/*}}]
  b:
    endpoints:
      - {{host: b.test, port: 443}}
      - {{host: x.wide.test, port: 443}}
      - {{host: both.test, port: 443, protocol: rest, access: full}}
    binaries: [{{path: /usr/bin/wget}}]
  pinned:
    endpoints: [{{host: pin.test, port: 443}}]
    binaries: [{{path: /usr/bin/node, sha256: {PIN}}}]
  script:
    endpoints: [{{host: script.test, port: 443}}]
    binaries: [{{path: /usr/bin/python3, script: /app/*.py}}]
  open:
    endpoints: [{{host: open.test, port: 443}}]
    binaries: [{{path: /**}}]
""",
    "programs.yaml",
)
CURL, WGET, BASH = (Program(f"/usr/bin/{name}") for name in ("curl", "wget", "bash"))


def to(name: str) -> Target:
    return Target(name, None, 443)


def one(*chain: Program) -> Owner:
    return Owner((chain,))


JUDGED = {
    ("a.test", one(CURL)): Reason.ALLOWED,
    ("a.test", one(WGET)): Reason.BINARY_NOT_ALLOWED,
    ("b.test", one(CURL)): Reason.BINARY_NOT_ALLOWED,  # no entry grants what another one names
    ("b.test", one(WGET)): Reason.ALLOWED,
    ("a.test", one(BASH, CURL)): Reason.ALLOWED,  # an ancestor is meant
    ("a.test", one(Program("/opt/tools/x"))): Reason.ALLOWED,
    ("a.test", one(Program("/opt/tools/x/y"))): Reason.BINARY_NOT_ALLOWED,
    ("a.test", one(Program("/bin/curl.real", links=("/usr/bin/curl",)))): Reason.ALLOWED,
    ("a.test", one(Program("/bin/curl.real", links=("/usr/bin/wget",)))): (
        Reason.BINARY_NOT_ALLOWED
    ),
    ("a.test", one(Program("/usr/bin/curl", fault=Fault.CHANGED))): Reason.BINARY_CHANGED,
    ("a.test", one(Program("/usr/bin/curl", fault=Fault.IMPOSTOR))): Reason.BINARY_CHANGED,
    ("a.test", one(Program("/usr/bin/curl", fault=Fault.UNREAD))): Reason.UNKNOWN_CALLER,
    ("a.test", UNKNOWN): Reason.UNKNOWN_CALLER,
    ("a.test", ANYONE): Reason.ALLOWED,
    ("a.test", Owner(((CURL,), (CURL,)))): Reason.ALLOWED,
    ("a.test", Owner(((CURL,), (BASH,)))): Reason.AMBIGUOUS_OWNER,
    ("a.test", Owner(((BASH,), (WGET,)))): Reason.BINARY_NOT_ALLOWED,
    ("both.test", Owner(((CURL,), (WGET,)))): Reason.AMBIGUOUS_OWNER,  # no entry means both
    ("pin.test", one(Program("/usr/bin/node", PIN))): Reason.ALLOWED,
    ("pin.test", one(Program("/usr/bin/node", PIN, fault=Fault.CHANGED))): Reason.ALLOWED,
    ("pin.test", one(Program("/usr/bin/node", PIN, fault=Fault.IMPOSTOR))): Reason.BINARY_CHANGED,
    ("pin.test", one(Program("/usr/bin/node", "b" * 64))): Reason.BINARY_CHANGED,
    ("pin.test", one(Program("/usr/bin/node"))): Reason.BINARY_CHANGED,
    ("script.test", one(Program("/usr/bin/python3", script="/app/x.py"))): Reason.ALLOWED,
    ("script.test", one(Program("/usr/bin/python3", script="/app/y/x.py"))): (
        Reason.BINARY_NOT_ALLOWED
    ),
    ("script.test", one(Program("/usr/bin/python3"))): Reason.BINARY_NOT_ALLOWED,
    ("script.test", one(Program("/usr/bin/perl", script="/app/x.py"))): Reason.BINARY_NOT_ALLOWED,
    ("open.test", UNKNOWN): Reason.ALLOWED,
    ("nowhere.test", one(CURL)): Reason.NO_MATCHING_RULE,
}


@pytest.mark.parametrize(("name", "owner"), JUDGED)
def test_connections(name: str, owner: Owner) -> None:
    decision = POLICY.judge_connection(to(name), owner)
    expected = JUDGED[name, owner]
    assert decision.reason is expected
    assert decision.permits is (expected is Reason.ALLOWED)


def test_only_where_programs_are_named_anybody_has_to_look() -> None:
    assert POLICY.asks_who(to("a.test"))
    assert POLICY.asks_who(to("y.wide.test"))
    assert not POLICY.asks_who(to("open.test"))
    assert not POLICY.asks_who(Target("a.test", None, 80))
    assert not POLICY.asks_who(to("nowhere.test"))


def test_a_name_is_answered_whoever_asks() -> None:
    assert POLICY.judge_name("a.test").ports == {443}


def test_requests_are_judged_by_the_entries_of_the_program() -> None:
    post = Request("POST", "/")
    assert not POLICY.judge_request(to("both.test"), post, one(CURL)).permits
    assert POLICY.judge_request(to("both.test"), post, one(WGET)).permits
    assert POLICY.judge_request(to("both.test"), post, one(BASH)).reason is (
        Reason.BINARY_NOT_ALLOWED
    )


def test_the_plan_is_that_of_the_program() -> None:
    target = to("x.wide.test")
    assert POLICY.destination_plan(target, one(WGET)) == DestinationPlan(PlanKind.EXACT)
    assert POLICY.destination_plan(target, one(CURL)) == DestinationPlan(PlanKind.PUBLIC)
    assert POLICY.destination_plan(target, one(BASH)) is None


@pytest.mark.parametrize("name", ["a.test", "both.test", "pin.test"])
def test_the_remedy_allows_this_program_and_no_other(name: str) -> None:
    odd = Program("/usr/local/bin/odd one")
    denied = POLICY.judge_connection(to(name), one(odd))
    assert denied.remedy_args is not None
    updated = update_policy(POLICY, parse_arguments(denied.remedy_args)).policy
    assert updated.judge_connection(to(name), one(odd)).permits
    assert not updated.judge_connection(to(name), one(BASH)).permits
    assert updated.judge_name("z.test") == POLICY.judge_name("z.test")


def test_explain_takes_a_chain() -> None:
    def ask(*binaries: str) -> Reason:
        return explain(POLICY, "a.test:443", binaries=binaries).decision.reason

    assert ask("/usr/bin/curl") is Reason.ALLOWED
    assert ask("/bin/true", "/usr/bin/curl") is Reason.ALLOWED
    assert ask("/bin/true") is Reason.BINARY_NOT_ALLOWED
    unnamed = explain(POLICY, "a.test:443").decision
    assert unnamed.permits
    assert "ask with --binary" in unnamed.message
    with pytest.raises(BadInput, match="expected an absolute path"):
        ask("curl")


def test_a_policy_with_programs_comes_back_as_it_was() -> None:
    assert Policy.from_doc(POLICY.to_doc()) == POLICY


def test_owners_cross_the_wire() -> None:
    whole = Program("/usr/bin/node", PIN, ("/bin/node",), "/app/x.js", Fault.CHANGED)
    owner = Owner(((whole, BASH), (CURL,)))
    assert parse_owner(owner.to_doc()) == owner
    assert parse_owner(None) == UNKNOWN


@pytest.mark.parametrize(
    "doc",
    [
        {},
        "x",
        [[]] * 17,
        [[{"path": "/x"}] * 34],
        [[{"path": 1}]],
        [[{}]],
        [[{"path": "/x", "sha256": 1}]],
        [[{"path": "/x", "links": "y"}]],
        [[{"path": "/x", "fault": "none"}]],
        [[{"path": "/x", "anyone": True}]],
        [[{"path": "/" + "x" * 4096}]],
    ],
)
def test_what_is_no_owner_is_refused(doc: object) -> None:
    with pytest.raises(BadInput, match="owner"):
        parse_owner(doc)


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/usr/bin/*", "/usr/bin/curl", True),
        ("/usr/bin/*", "/usr/bin/x/curl", False),
        ("/usr/**", "/usr/bin/x/curl", True),
        ("/usr/**/curl", "/usr/curl", True),
        ("/usr/bin/py*3", "/usr/bin/python3", True),
        ("/usr/bin/curl", "/usr/bin/curl (deleted)", False),
        ("/**", "/memfd:x (deleted)", True),
        ("/**", "memfd", False),
    ],
)
def test_patterns_of_files(pattern: str, path: str, fits: bool) -> None:
    assert parse_file_glob(pattern).matches(path) is fits


def test_a_pattern_has_an_end() -> None:
    with pytest.raises(BadPattern, match="more than 64"):
        parse_file_glob("/x" * 65)
