"""A provider that is made up: in the test mode only, and marked as such."""

import json

import pytest

from netmgr.errors import BadInput
from netmgr.inference.catalogue import load_catalogue
from netmgr.inference.profiles import Provider
from netmgr.inference.resolve import resolve_route
from netmgr.inference.route import InferenceRoute
from netmgr.secret import Secret
from netmgr_proxy.inference.admit import Admitted, admit
from netmgr_proxy.inference.answer_here import answer_here
from netmgr_proxy.inference.mock import MARK
from netmgr_proxy.inference.outgoing import outgoing_body

CONFIG = {"OPENAI_BASE_URL": "mock://x"}
KEY = {"OPENAI_API_KEY": Secret("sk-op")}


def route() -> InferenceRoute:
    kind = load_catalogue(None, mock=True).get("openai")
    found = resolve_route(Provider("p", "openai", KEY, CONFIG, kind), "m-op", route_id="r")
    return InferenceRoute.from_wire(found.to_wire(with_credential=True))


def test_it_is_refused_outside_of_the_test_mode() -> None:
    with pytest.raises(BadInput, match="test mode"):
        resolve_route(Provider("p", "openai", KEY, CONFIG), "m", route_id="r")


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/v1/chat/completions", "choices"),
        ("/v1/completions", "choices"),
        ("/v1/responses", "output"),
        ("/v1/embeddings", "data"),
    ],
)
def test_every_protocol_has_its_shape(path: str, member: str) -> None:
    admitted = admit("POST", path.encode(), route())
    assert isinstance(admitted, Admitted)
    assert admitted.answered_here
    made = answer_here(admitted, outgoing_body(admitted, b'{"model":"x"}'))
    assert made.status == 200
    assert MARK in made.headers
    answer = json.loads(made.body)
    assert answer["model"] == "m-op"
    assert isinstance(answer[member], list)
    assert b"sk-op" not in made.body


def test_it_streams_too() -> None:
    admitted = admit("POST", b"/v1/chat/completions", route())
    assert isinstance(admitted, Admitted)
    made = answer_here(admitted, outgoing_body(admitted, b'{"model":"x","stream":true}'))
    assert (b"content-type", b"text/event-stream") in made.headers
    assert made.body.endswith(b"data: [DONE]\n\n")
