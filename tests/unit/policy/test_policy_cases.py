"""The tests that a policy file carries: what they say, and that a failing one refuses the load."""

import pytest

from netmgr.policy.cases import MAX_CASES, run_cases
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError
from netmgr.policy.schema import read_text
from netmgr.reasons import Reason

BASE = """\
version: 1
network_policies:
  web:
    endpoints:
      - {host: a.test, port: 443, protocol: rest, access: read-only}
      - {host: watched.test, port: 443, protocol: rest, access: read-only, enforcement: audit}
      - {host: "*.w.test", port: 22}
    binaries: [{path: /**}]
  old:
    expires: 2001-01-01
    endpoints: [{host: gone.test, port: 443}]
    binaries: [{path: /**}]
tests:
"""
TRUE = [
    "{connect: 'a.test:443', expect: allow}",
    "{connect: 'A.test:8443', expect: deny, reason: port_not_allowed}",
    "{connect: '203.0.113.9:22', expect: deny, reason: raw_ip}",
    "{resolve: x.w.test, expect: allow}",
    "{resolve: data.attacker.example, expect: deny, reason: no_matching_rule}",
    "{request: 'https://a.test/x', expect: allow}",
    "{request: 'DELETE https://a.test/x', expect: deny, reason: method_not_allowed}",
    "{request: 'POST https://watched.test/', expect: audit, reason: method_not_allowed}",
    "{request: 'POST https://watched.test/', expect: allow}",
    "{connect: 'inference.local:443', expect: allow}",
    "{connect: 'gone.test:443', expect: allow}",
]


def test_true_ones_load_and_come_back() -> None:
    policy = parse_policy(BASE + "".join(f"  - {line}\n" for line in TRUE), "f.yaml")
    assert len(policy.cases) == len(TRUE)
    assert all(outcome.passed for outcome in run_cases(policy))
    again = Policy.from_doc(policy.to_doc())
    assert again == policy
    assert [case.to_doc() for case in again.cases] == [case.to_doc() for case in policy.cases]


@pytest.mark.parametrize(
    "line",
    [
        "{connect: 'a.test:443', expect: deny}",
        "{connect: 'b.test:443', expect: allow}",
        "{connect: 'b.test:443', expect: deny, reason: raw_ip}",
        "{resolve: a.test, expect: deny}",
        "{request: 'POST https://a.test/', expect: allow}",
        "{request: 'GET https://watched.test/', expect: audit}",
        "{connect: 'gone.test:443', expect: deny}",
    ],
)
def test_a_false_one_refuses_the_file_by_its_line(line: str) -> None:
    text = f"{BASE}  - {TRUE[0]}\n  - {line}\n"
    with pytest.raises(PolicyError, match=r"f\.yaml:15: tests\[1\]: .*expected") as caught:
        parse_policy(text, "f.yaml")
    assert len(caught.value.problems) == 1
    (_, outcome) = run_cases(Policy(read_text(text, "f.yaml")))
    assert (outcome.passed, outcome.to_doc()["line"]) == (False, 15)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{expect: allow}", "expected one of connect, resolve, request"),
        ("{connect: 'a:1', resolve: a, expect: allow}", "expected one of connect"),
        ("{connect: 'a.test:443'}", "expected 'expect: allow', 'audit' or 'deny'"),
        ("{connect: 'a.test:443', expect: permit}", "unknown value 'permit'"),
        ("{connect: 'a.test', expect: allow}", "expected https://host/path"),
        ("{connect: 'https://a.test/', expect: allow}", "expected host:port"),
        ("{request: 'a.test:443', expect: allow}", "expected METHOD https://host/path"),
        ("{resolve: 'a..b', expect: deny}", r"tests\[0\]\.resolve: "),
        ("{resolve: a.test, expect: deny, reason: no_rule}", "unknown value 'no_rule'"),
        ("{resolve: a.test, expects: deny}", "unknown key; did you mean 'expect'"),
    ],
)
def test_what_is_no_test_is_told(line: str, expected: str) -> None:
    with pytest.raises(PolicyError, match=expected):
        parse_policy(f"{BASE}  - {line}\n", "f.yaml")


def test_their_number_is_bounded() -> None:
    text = BASE + f"  - {TRUE[0]}\n" * (MAX_CASES + 1)
    with pytest.raises(PolicyError, match=f"more than {MAX_CASES} tests"):
        parse_policy(text, "f.yaml")


def test_a_reason_is_one_of_the_codes() -> None:
    (outcome,) = run_cases(parse_policy(f"{BASE}  - {TRUE[1]}\n", "f.yaml"))
    assert outcome.case.reason is Reason.PORT_NOT_ALLOWED
