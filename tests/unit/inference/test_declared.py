"""What an operator declares of a provider is read strictly, and reaches the ledger's facts."""

import pytest

from netmgr.errors import BadInput
from netmgr.inference.declared import NOTHING, Declared, parse_declared
from netmgr.routing.single import single_generation


def test_what_is_declared_is_a_fact_of_the_one_endpoint() -> None:
    declared = parse_declared({"OPERATED_BY": "processor", "RESIDENCY": "eu, ch,eu"})
    assert declared == Declared("processor", ("eu", "ch"))
    (endpoint,) = single_generation("p", "m", declared).file.endpoints
    assert endpoint.facts.operated_by == "processor"
    assert endpoint.facts.residency == {"eu", "ch"}


def test_nothing_is_declared_by_itself() -> None:
    assert parse_declared({"BASE_URL": "https://x.example"}) is NOTHING
    (endpoint,) = single_generation("p", "m").file.endpoints
    assert (endpoint.facts.operated_by, endpoint.facts.residency) == (None, frozenset())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"OPERATED_BY": "processr"}, "did you mean 'processor'?"),
        ({"OPERATED_BY": ""}, "expected one of self, processor, third_party"),
        ({"RESIDENCY": ""}, "expected places like eu"),
        ({"RESIDENCY": "eu,,de"}, "expected places like eu"),
        ({"RESIDENCY": "e u"}, "expected places like eu"),
    ],
)
def test_what_cannot_be_meant_is_refused(config: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_declared(config)
    assert said in refused.value.message
