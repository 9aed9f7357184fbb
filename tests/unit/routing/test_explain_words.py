"""A call that is described with words that no call can bring is no denial: it is a mistake."""

import pytest

from netmgr.errors import BadInput
from netmgr.routing.explain import explain
from netmgr.routing.generation import Generation
from netmgr.routing.schema import parse_routing

SMALL = "version: 1\nendpoints:\n  e: {provider: p, model: m, facts: {capabilities: [deep]}}\n"
MISTAKES = {
    "protocol": ({"protocol": "openai_chat_completion"}, "'openai_chat_completions'?"),
    "need": ({"needs": ["visoin"]}, "did you mean 'vision'?"),
    "a need of the file's": ({"needs": ["dep"]}, "did you mean 'deep'?"),
    "field": ({"tennant": "a"}, "did you mean 'tenant'?"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_told_with_the_nearest_word(what: str) -> None:
    request, said = MISTAKES[what]
    with pytest.raises(BadInput, match="did you mean") as refused:
        explain(Generation(parse_routing(SMALL, "r.yaml")), {"request": request})
    assert said in refused.value.message
