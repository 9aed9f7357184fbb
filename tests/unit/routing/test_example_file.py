"""The example of the documentation: it loads, its own tests pass, and they do test something."""

from pathlib import Path

import pytest

from netmgr.policy.problems import PolicyError
from netmgr.routing.cases import require_cases, run_cases
from netmgr.routing.contract import Request
from netmgr.routing.generation import Generation
from netmgr.routing.schema import parse_routing, routing_from_doc

TEXT = (Path(__file__).parents[3] / "examples/routing/routing.yaml").read_text()


def generation(text: str = TEXT) -> Generation:
    return Generation(parse_routing(text, "routing.yaml"), 7)


def test_its_seven_situations_come_out_as_it_says() -> None:
    outcomes = run_cases(generation())
    assert [outcome.differences for outcome in outcomes] == [()] * 7


def test_read_again_from_its_document_it_is_the_same() -> None:
    file = parse_routing(TEXT, "routing.yaml")
    again = routing_from_doc(file.doc)
    assert again.digest == file.digest
    assert again.rules == file.rules
    assert again.endpoints == file.endpoints


def test_a_test_that_fails_refuses_the_file_with_its_line() -> None:
    wrong = TEXT.replace("{ frontier-us: batch-is-cheap }", "{ frontier-us: clearance }")
    with pytest.raises(PolicyError) as refused:
        require_cases(generation(wrong), "routing.yaml")
    problem = refused.value.problems[0]
    assert problem.line == TEXT[: TEXT.index("- name: batch work")].count("\n") + 1
    assert "expected clearance, found batch-is-cheap" in problem.message


def test_a_plan_says_what_it_is_of() -> None:
    routes = generation()
    plan = routes.decide(routes.context(Request(tenant="acme-eu", model="no-such-name")))
    assert (plan.generation, plan.route, plan.label) == (7, "default", "restricted")
    assert plan.endpoints == ("onprem-qwen", "onprem-vl")
