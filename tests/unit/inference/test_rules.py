"""The rules of a route: what an operator may say, and that the least is allowed."""

from typing import Any

import pytest

from netmgr.errors import BadInput
from netmgr.inference.rules import LEAST, CallRules, ModelMode


@pytest.mark.parametrize(
    ("doc", "words"),
    [
        ({"model_mod": "reject"}, "did you mean 'model_mode'"),
        ({"model_mode": "refuse"}, "override, reject, passthrough"),
        ({"models": ["m"]}, "passthrough"),
        ({"server_tools": "web_search"}, "list"),
        ({"server_tools": ["Web Search"]}, "a tool like web_search"),
        ({"remote_urls": ["https://a.test/path"]}, "a host like"),
        ({"remote_urls": ["*"]}, "a host like"),
        ({"remote_urls": ["a@b"]}, "a host like"),
        ({"remote_urls": [""]}, "1 to 256"),
        ({"remote_urls": ["a"] * 257}, "at most 256"),
        ({"heartbeat_s": 0.5}, "at least 1 "),
        ({"heartbeat_s": True}, "expected seconds"),
        ({"idle_timeout_s": -1}, "0 to 86400"),
        ({"first_byte_timeout_s": float("nan")}, "0 to 86400"),
        ({"plain_http": "yes"}, "true or false"),
    ],
)
def test_what_cannot_be_meant(doc: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words.replace("(", "\\(")):
        CallRules.from_doc(doc)


def test_rules_survive_their_document() -> None:
    doc = {
        "model_mode": "passthrough",
        "models": ["a", "b"],
        "server_tools": ["web_search"],
        "stored_objects": ["vs_1"],
        "remote_urls": ["*.files.test", "gs://bucket", "http://a.test:8080"],
        "first_byte_timeout_s": 3.0,
        "idle_timeout_s": 4.5,
        "heartbeat_s": 10.0,
        "plain_http": True,
    }
    rules = CallRules.from_doc(doc)
    assert rules.to_doc() == doc
    assert set(LEAST.to_shown()) >= set(doc)
    assert LEAST.to_doc() == {}
    assert CallRules.from_doc({"idle_timeout_s": 0}) == LEAST


def test_a_change_replaces_what_it_names() -> None:
    rules = CallRules.from_doc({"model_mode": "passthrough", "models": ["a"], "plain_http": True})
    assert rules.changed({"models": []}).models == ()
    changed = rules.changed({"model_mode": "reject"})
    assert (changed.model_mode, changed.models, changed.plain_http) == (ModelMode.REJECT, (), True)
