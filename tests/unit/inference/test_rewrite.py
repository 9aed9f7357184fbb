"""The pin: what is replaced, what is inserted, and what is refused because it is told twice."""

import json

import pytest

from netmgr_proxy.inference.rewrite import MalformedBody, pin_model


@pytest.mark.parametrize(
    ("body", "pinned", "requested", "stream"),
    [
        (b'{"model":"x"}', b'{"model":"m"}', "x", False),
        (b' { "a":1,\n"model" : "x" }\n', b' { "a":1,\n"model" : "m" }\n', "x", False),
        (b"{}", b'{"model":"m"}', None, False),
        (b"{ }", b'{"model":"m" }', None, False),
        (b'{"a":1}', b'{"model":"m","a":1}', None, False),
        (b'{"model":null,"stream":true}', b'{"model":"m","stream":true}', None, True),
        (b'{"model":{"a":[1]},"stream":1}', b'{"model":"m","stream":1}', None, False),
        (b'{"\\u006dodel":"x"}', b'{"\\u006dodel":"m"}', "x", False),
        (b'{"model":"\\u00e9\xc3\xa9"}', b'{"model":"m"}', "éé", False),
        (b'{"a":{"model":"x"}}', b'{"model":"m","a":{"model":"x"}}', None, False),
        (b'{"a":"\\"model\\":1"}', b'{"model":"m","a":"\\"model\\":1"}', None, False),
    ],
)  # fmt: skip
def test_one_value_changes(body: bytes, pinned: bytes, requested: str | None, stream: bool) -> None:
    result = pin_model(body, "m")
    assert result.joined() == pinned
    assert result.length == len(pinned)
    assert (result.requested_model, result.stream) == (requested, stream)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","\\u006dodel":"a"}',
        b'{"Model":"a"}',
        b'{"model":"a","MODEL":"b"}',
        b'{"model\\u0000x":"a"}',
        b'{" model":"a"}',
    ],
)
def test_which_model_is_told_once_and_in_one_spelling(body: bytes) -> None:
    with pytest.raises(MalformedBody) as caught:
        pin_model(body, "m")
    assert "model" in caught.value.message.lower()
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("model", ['a"b', "a\\b", "é", "\U0001f600", "a/b:c"])
def test_any_model_name_is_quoted(model: str) -> None:
    assert json.loads(pin_model(b'{"a":1}', model).joined())["model"] == model


def test_the_body_is_not_copied() -> None:
    body = b'{"model":"x","a":"' + b"y" * 1000 + b'"}'
    views = [chunk for chunk in pin_model(body, "m").chunks if isinstance(chunk, memoryview)]
    assert all(view.obj is body for view in views)
