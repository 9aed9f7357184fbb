"""Bodies for providers that want more than another model; every kept byte stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.inference.dialect import CallShape
from netmgr_proxy.inference.document import MalformedBody
from netmgr_proxy.inference.reshape import shape_body
from netmgr_proxy.inference.rewrite import read_call

VERTEX = CallShape(
    model_in_body=False, remove=("context_management",), add=(("anthropic_version", '"v"'),)
)
PATH = CallShape(target="/m/{model}", model_in_body=False)


@pytest.mark.parametrize(
    ("body", "shaped"),
    [
        (b"{}", b'{"anthropic_version":"v"}'),
        (b'{"model":"x"}', b'{"anthropic_version":"v"}'),
        (b' { "model" : "x" , "a" : 1.0e2 } ', b' {"anthropic_version":"v", "a" : 1.0e2 } '),
        (b'{"a":[1,{"model":2}],"model":"x"}', b'{"anthropic_version":"v","a":[1,{"model":2}]}'),
        (
            b'{"context_management":{"a":","},"b":2,"model":"x","c":3}',
            b'{"anthropic_version":"v","b":2,"c":3}',
        ),
        (b'{"anthropic_version":"w","model":"x"}', b'{"anthropic_version":"w"}'),
    ],
)
def test_vertex(body: bytes, shaped: bytes) -> None:
    assert shape_body(read_call(body), VERTEX, "m").joined() == shaped


def test_a_body_whose_path_names_the_model_is_not_touched() -> None:
    body = b' {"model":"their own","stream":true} '
    shaped = shape_body(read_call(body, "alias"), PATH, "n")
    assert (shaped.joined(), shaped.requested_model, shaped.model) == (body, "alias", "n")
    with pytest.raises(MalformedBody):
        read_call(b"[]", "x")


KEYS = st.sampled_from(["a", "b", "model", "context_management", "anthropic_version", "z"])
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.dictionaries(KEYS, VALUES), st.sampled_from([None, 1]))
def test_as_a_dictionary(asked: dict[str, object], indent: int | None) -> None:
    shaped = shape_body(read_call(json.dumps(asked, indent=indent).encode()), VERTEX, "m")
    gone = ("model", "context_management")
    wanted = {key: value for key, value in asked.items() if key not in gone}
    wanted.setdefault("anthropic_version", "v")
    assert json.loads(shaped.joined()) == wanted
    assert shaped.length == len(shaped.joined())
