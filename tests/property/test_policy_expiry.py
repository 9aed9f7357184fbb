"""Expiry: what has ended grants nothing, and every face of a policy ends at the same moment."""

import copy
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from property.test_policy_decisions import DOC, PATH, REQUEST_METHOD, TARGET

from netmgr.policy.decision import Request, Target
from netmgr.policy.explain import explain
from netmgr.policy.policy import Policy
from netmgr.policy.problems import PolicyError
from netmgr.reasons import Reason

SOON, LATER = "2030-01-01", "2040-01-01"
MOMENTS = {"before": 1.8e9, "between": 2.0e9, "after": 2.3e9}


@st.composite
def timed(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """A policy, and the same without any expiry."""
    doc: dict[str, Any] = draw(DOC)
    plain = copy.deepcopy(doc)
    for entry in doc["network_policies"].values():
        if expires := draw(st.sampled_from([None, SOON, LATER])):
            entry["expires"] = expires
    try:
        return Policy.from_doc(doc), Policy.from_doc(plain)
    except PolicyError:
        assume(False)
        raise


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(timed(), TARGET, REQUEST_METHOD, PATH, st.sampled_from(sorted(MOMENTS)))
def test_an_end_grants_nothing(
    policies: tuple[Policy, Policy], target: Target, method: str, path: str, moment: str
) -> None:
    policy, plain = policies
    then, request = policy.at(MOMENTS[moment]), Request(method, path)
    for told, whole in (
        (then.judge_connection(target), plain.judge_connection(target)),
        (then.judge_request(target, request), plain.judge_request(target, request)),
    ):
        assert whole.permits or told == whole
        assert told.permits or not whole.permits or told.reason is Reason.EXPIRED
        if moment == "before":
            assert told == whole
    if target.name is not None:
        assert then.ports_of(target.name) <= plain.ports_of(target.name)
        assert then.judge_name(target.name).ports == then.ports_of(target.name)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(timed(), TARGET, st.sampled_from(sorted(MOMENTS)))
def test_explain_ends_with_the_judge(
    policies: tuple[Policy, Policy], target: Target, moment: str
) -> None:
    then = policies[0].at(MOMENTS[moment])
    assume(target.name != "inference.local")
    told = explain(then, str(target)).decision
    assert told.permits is then.judge_connection(target).permits
    assert told.reason is then.judge_connection(target).reason
