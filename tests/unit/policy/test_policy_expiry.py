"""Expiry: what ends when, what stays denied, and what every face says."""

from datetime import UTC, datetime

import pytest

from netmgr.policy.decision import Request, Target, Treatment
from netmgr.policy.expiry import TimedJudge, lapsed_warnings, parse_expiry
from netmgr.policy.explain import explain
from netmgr.policy.index import Index
from netmgr.policy.operations import parse_arguments
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.update import update_policy
from netmgr.reasons import Reason, Verdict

END = datetime(2027, 2, 1, tzinfo=UTC).timestamp()  # of the day 2027-01-31
BEFORE, AFTER = END - 0.001, END

TEXT = """
version: 1
network_policies:
  guest:
    expires: 2027-01-31
    endpoints:
      - {host: a.test, ports: [443, 8443], protocol: rest, access: full,
         deny_rules: [{method: DELETE, path: /**}]}
      - {host: "*.w.test", port: 443}
      - {host: 203.0.113.9, port: 22}
      - {host: mixed.test, port: 443, protocol: rest, access: read-only}
    binaries: [{path: /**}]
  lasting:
    endpoints:
      - {host: a.test, port: 8443, protocol: rest, access: full}
      - {host: mixed.test, port: 443}
    binaries: [{path: /**}]
"""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(TEXT, "t.yaml")


@pytest.mark.parametrize(
    ("text", "canonical", "moment"),
    [
        ("2027-01-31", "2027-01-31", END),
        ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z", END - 43200),
        ("2027-01-31t12:00:00z", "2027-01-31T12:00:00Z", END - 43200),
        ("2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00Z", END - 50400),
        ("2027-01-31 12:00:00.5Z", "2027-01-31T12:00:00.500000Z", END - 43199.5),
    ],
)
def test_a_date_counts_to_its_end_and_a_time_to_the_moment(
    text: str, canonical: str, moment: float
) -> None:
    expiry = parse_expiry(text)
    assert (expiry.text, expiry.at) == (canonical, moment)
    assert parse_expiry(expiry.text) == expiry


@pytest.mark.parametrize(
    "text", ["", "soon", "2027-1-1", "2027-02-30", "20270131", "2027-01-31T12:00:00", "2027-W01-1"]
)
def test_anything_else_is_no_expiry(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the calendar's own words are among them
        parse_expiry(text)


def test_every_question_changes_at_the_same_moment(policy: Policy) -> None:
    target = Target("a.test", None, 443)
    for moment, permits in ((BEFORE, True), (AFTER, False)):
        then = policy.at(moment)
        assert then.judge_connection(target).permits is permits
        assert then.judge_request(target, Request("GET", "/x")).permits is permits
        assert then.judge_name("x.w.test").decision.permits is permits
        assert then.judge_connection(Target(None, "203.0.113.9", 22)).permits is permits
        assert (then.destination_plan(target) is not None) is permits
        assert bool(then.literals()) is permits
        assert (443 in then.judge_name("a.test").ports) is permits
        assert 8443 in then.judge_name("a.test").ports
        assert then.covers("x.w.test")


def test_the_reason_names_the_entry_and_its_end(policy: Policy) -> None:
    then = policy.at(AFTER)
    told = then.judge_connection(Target("x.w.test", None, 443))
    assert (told.reason, told.rule) == (Reason.EXPIRED, "guest.endpoints[1]")
    assert "until 2027-01-31" in told.message
    named = then.judge_name("x.w.test").decision
    assert (named.reason, named.verdict) == (Reason.EXPIRED, Verdict.DENIED)
    shown = explain(then, "https://x.w.test/").to_doc("a")
    assert (shown["reason"], shown["expires"]) == ("expired", "2027-01-31")
    assert explain(policy.at(BEFORE), "https://x.w.test/").expires == "2027-01-31"
    assert explain(policy.at(BEFORE), "https://a.test:8443/").expires is not None
    unknown = then.judge_connection(Target("other.test", None, 443))
    assert unknown.reason is Reason.NO_MATCHING_RULE


def test_the_remedy_gives_a_little_more_time(policy: Policy) -> None:
    told = policy.at(AFTER).judge_connection(Target("a.test", None, 443))
    assert told.remedy_args == "--rule-name guest --expires 2027-02-02"
    renewed = update_policy(policy, parse_arguments(told.remedy_args)).policy
    assert renewed.at(AFTER).judge_connection(Target("a.test", None, 443)).permits
    assert not renewed.at(AFTER + 2 * 86400).judge_connection(Target("a.test", None, 443)).permits


def test_an_expiry_grants_nothing(policy: Policy) -> None:
    """What the expired entry denied, or had judged, stays so."""
    then, target = policy.at(AFTER), Target("a.test", None, 8443)
    assert then.judge_request(target, Request("GET", "/x")).permits
    denied = then.judge_request(target, Request("DELETE", "/x"))
    assert denied.reason is Reason.DENY_RULE
    mixed = Target("mixed.test", None, 443)
    assert then.judge_connection(mixed).treatment is Treatment.TERMINATE
    assert then.judge_request(mixed, Request("GET", "/")).permits
    assert not then.judge_request(mixed, Request("POST", "/")).permits


def test_the_clock_may_be_set_back() -> None:
    now = [BEFORE]
    entries = parse_policy(TEXT, "t.yaml").entries
    index = Index(endpoint for entry in entries for endpoint in entry.endpoints)
    judge = TimedJudge(entries, index, lambda: now[0])
    target = Target("a.test", None, 443)
    seen = []
    for now[0] in (BEFORE, AFTER, BEFORE, AFTER + 1e9):
        seen.append(judge.judge_connection(target).permits)
    assert seen == [True, False, True, False]
    assert [judge.phase(moment) for moment in (BEFORE, AFTER)] == [0, 1]
    assert (judge.next_deadline(BEFORE), judge.next_deadline(AFTER)) == (END, None)


def test_a_policy_without_expiries_asks_no_clock() -> None:
    policy = parse_policy(TEXT.replace("    expires: 2027-01-31\n", ""), "t.yaml")
    assert policy.timed is None
    assert policy.at(AFTER) is policy


def test_what_has_ended_already_is_told(policy: Policy) -> None:
    assert lapsed_warnings(policy.entries, BEFORE) == ()
    (warning,) = lapsed_warnings(policy.entries, AFTER)
    assert warning == "network_policies.guest: expired on 2027-01-31: it allows nothing"
