"""`policy propose`: the smallest rules, exactly counted, and never what nobody should open."""

import shlex
from typing import Any

import pytest

from netmgr.policy.decision import Request, Target
from netmgr.policy.operations import parse_arguments
from netmgr.policy.owner import Owner, Program
from netmgr.policy.policy import parse_policy
from netmgr.policy.proposal import Advice, fragment, propose
from netmgr.policy.update import update_policy

POLICY = parse_policy(
    """
version: 1
network_policies:
  api:
    endpoints:
      - {host: api.test, port: 443, protocol: rest, access: read-only}
      - {host: watched.test, port: 443, protocol: rest, access: read-only, enforcement: audit}
    binaries: [{path: /**}]
  seen:
    mode: observe
    endpoints: [{host: "*.seen.test", port: 443}]
    binaries: [{path: /**}]
""",
    "p.yaml",
)


def record(
    name: str | None = None, port: int | None = 443, ip: str | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "time": "2026-01-01T10:00:00.000000Z",
        "verdict": "denied",
        "reason": "no_matching_rule",
        "destination": {"name": name, "ip": ip, "port": port, "protocol": "tcp"},
        "http": None,
        "process": None,
        "count": 1,
        **more,
    }


def http(method: str, path: str, reason: str = "method_not_allowed", **more: Any) -> dict[str, Any]:
    name = more.pop("name", "api.test")
    asked = {"method": method, "path": path, "status": 403}
    return record(name, reason=reason, http=asked, **more)


def ask(*records: dict[str, Any]) -> Advice:
    return propose(POLICY, records, lambda ip: ip.startswith("203."))


def lines(advice: Advice) -> list[str]:
    return [proposal.arguments for proposal in advice.proposals]


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (record("new.test"), "--add-endpoint new.test:443"),
        (record("new.test", None), "--add-endpoint new.test:443"),
        (record("new.test", 5432), "--add-endpoint new.test:5432"),
        (
            record("api.test", 8443, reason="port_not_allowed"),
            "--add-endpoint api.test:8443:read-only:rest",
        ),
        (record(None, 22, ip="203.0.113.9", reason="raw_ip"), "--add-endpoint 203.0.113.9:22"),
        (http("POST", "/v1"), "--add-allow api.test:443:POST:/v1 --rule-name api"),
        (
            http("POST", "/v1", name="watched.test", verdict="audited"),
            "--add-allow watched.test:443:POST:/v1 --rule-name api",
        ),
        (
            record("a.seen.test", verdict="audited", reason="allowed"),
            "--add-endpoint a.seen.test:443",
        ),
    ],
)
def test_the_smallest_rule_that_would_have_allowed_it(told: dict[str, Any], line: str) -> None:
    assert lines(ask(told)) == [line]


@pytest.mark.parametrize(
    "told",
    [
        record(None, 80, ip="169.254.169.254", reason="raw_ip"),
        record(None, 80, ip="127.0.0.1", reason="raw_ip"),
        record(None, 80, ip="10.1.2.3", reason="raw_ip"),
        record("metadata.google.internal"),
        record("host.openshell.internal", 8000),
        record("localhost"),
        record("db"),
        record("9.113.0.203.in-addr.arpa", None),
    ],
)
def test_what_nobody_should_open_is_named_and_not_proposed(told: dict[str, Any]) -> None:
    advice = ask(told)
    assert advice.proposals == ()
    assert sum(advice.skipped.values()) == 1
    assert fragment(advice, "2030-01-01") == ""


@pytest.mark.parametrize(
    "told",
    [
        record("new.test", reason="address_blocked"),
        record(None, 443, ip="10.0.0.3", reason="peer_blocked"),
        record(None, 443, ip="203.0.113.9", reason="spoofed_source"),
        record("new.test", 443, reason="udp_blocked"),
        http("GET", "/a", reason="malformed_request"),
        http("GET", "/x", reason="deny_rule"),
        record("api.test", reason="no_matching_rule"),  # allowed by now
        record("a..b"),
        record("inference.local", 22, reason="port_not_allowed"),
        http("POST", "/a/../b"),
        http("P\\x00", "/a"),
        {**record(), "destination": None},
    ],
)
def test_what_was_no_honest_try_or_is_allowed_by_now_is_passed_over(told: dict[str, Any]) -> None:
    assert lines(ask(told)) == []


def test_counts_times_and_programs_are_exact() -> None:
    def at(second: int, count: int, exe: str | None) -> dict[str, Any]:
        time = f"2026-01-01T10:00:{second:02}.000000Z"
        return record("new.test", time=time, count=count, process={"exe": exe} if exe else None)

    found, nobodys = ask(
        at(30, 2, "/usr/bin/git"), at(10, 40, "/usr/bin/curl"), at(20, 1, None)
    ).proposals
    doc = found.to_doc("box", "2030-01-01")
    assert (doc["count"], nobodys.count) == (42, 1)
    assert (doc["first_seen"][17:19], doc["last_seen"][17:19]) == ("10", "30")
    assert doc["binaries"] == ["/usr/bin/curl", "/usr/bin/git"]
    assert doc["command"] == (
        "netmgr policy update box --add-endpoint new.test:443 --binary /usr/bin/curl "
        "--binary /usr/bin/git --expires 2030-01-01"
    )
    assert nobodys.arguments == "--add-endpoint new.test:443"


@pytest.mark.parametrize("exe", ["/tmp/**", "/tmp/a (deleted)", "memfd:x", "/tmp/\x1b[2J"])
def test_a_program_that_no_policy_can_mean_is_not_named(exe: str) -> None:
    assert lines(ask(record("new.test", process={"exe": exe}))) == ["--add-endpoint new.test:443"]


def test_another_program_is_proposed_for_itself_alone() -> None:
    text = """
    version: 1
    network_policies:
      git:
        endpoints: [{host: code.test, port: 443}]
        binaries: [{path: /usr/bin/git}]
    """
    policy = parse_policy(text, "p.yaml")
    told = record("code.test", reason="binary_not_allowed", process={"exe": "/usr/bin/curl"})
    (found,) = propose(policy, [told], lambda _: False).proposals
    assert found.arguments.endswith("--binary /usr/bin/curl")
    updated = update_policy(policy, parse_arguments(found.arguments)).policy
    target = Target("code.test", None, 443)
    verdicts = [
        updated.judge_connection(target, Owner(((Program(exe),),))).permits
        for exe in ("/usr/bin/git", "/usr/bin/curl", "/usr/bin/wget")
    ]
    assert verdicts == [True, True, False]


def test_an_operation_is_proposed_as_the_policy_says_and_not_as_the_record_does() -> None:
    text = """
    version: 1
    network_policies:
      api:
        endpoints: [{host: api.test, port: 443, protocol: mcp, rules: [{allow: {method: ping}}]}]
        binaries: [{path: /**}]
    """
    policy = parse_policy(text, "p.yaml")
    wanted = "--allow-operation 'api.test:443:tools/call read_x' --rule-name api"
    for remedy, proposed in (
        (f"netmgr policy update box {wanted}", [wanted]),
        (f"netmgr policy update box --add-endpoint evil.test:443 {wanted}", [wanted]),
        ("netmgr policy update box --add-endpoint evil.test:443", []),
        ("--allow-operation", []),
        ("--allow-operation 'x", []),
        ("--allow-operation a:1:", []),
        (None, []),
    ):
        told = http("POST", "/", reason="operation_not_allowed", remedy=remedy)
        found = propose(policy, [told], lambda _: False)
        assert [each.arguments for each in found.proposals] == proposed, remedy


def test_ids_in_paths_become_one_pattern_from_three_on() -> None:
    few = ask(http("DELETE", "/items/1"), http("DELETE", "/items/2"))
    assert len(few.proposals) == 2
    many = ask(*(http("DELETE", f"/items/{number}") for number in range(5)))
    assert lines(many) == ["--add-allow 'api.test:443:DELETE:/items/*' --rule-name api"]
    assert many.proposals[0].count == 5


def test_each_proposal_applied_makes_its_wish_come_true() -> None:
    advice = ask(
        record("new.test", 22), http("PUT", "/v1/a b".replace(" ", "%20")), record("a.seen.test")
    )
    policy = POLICY
    for line in lines(advice):
        policy = update_policy(policy, parse_arguments(f"{line}")).policy
    assert policy.judge_connection(Target("new.test", None, 22)).permits
    assert policy.judge_request(Target("api.test", None, 443), Request("PUT", "/v1/a%20b")).permits


def test_the_fragment_is_a_policy_with_its_sources() -> None:
    advice = ask(record("new.test", count=7, process={"exe": "/usr/bin/git"}), http("PUT", "/x"))
    text = fragment(advice, "2030-01-01")
    (entry,) = parse_policy("version: 1\n" + text, "fragment").entries
    assert entry.expires is not None
    assert (entry.expires.text, entry.source["seen"]) == ("2030-01-01", 7)
    assert entry.source["binaries"] == ["/usr/bin/git"]


def test_the_most_wanted_come_first() -> None:
    advice = ask(record("b.test"), record("a.test", count=3), record("c.test", count=2))
    assert [shlex.split(line)[1] for line in lines(advice)] == [
        "a.test:443",
        "c.test:443",
        "b.test:443",
    ]
