"""The body: every byte outside the model's value stays; nothing but MalformedBody escapes."""

import contextlib
import json
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netmgr_proxy.inference.document import MalformedBody, read_document
from netmgr_proxy.inference.rewrite import pin_model

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
BLANKS = st.text(" \t\r\n", max_size=3)
MODEL_KEY = st.sampled_from(['"model"', '"\\u006dodel"', '"m\\u006Fde\\u006c"'])


def other_key(key: str) -> bool:
    return key.partition("\0")[0].strip().casefold() != "model"


MEMBER = st.tuples(TEXT.filter(other_key), VALUE)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, str, str]:
    """(before, value, after) of a body whose top-level model has `value`; '' where it has none."""
    ascii_only = draw(st.booleans())
    members = [
        f"{json.dumps(key, ensure_ascii=ascii_only)}{draw(BLANKS)}:{draw(BLANKS)}"
        f"{json.dumps(value, ensure_ascii=ascii_only)}{draw(BLANKS)}"
        for key, value in draw(st.lists(MEMBER, max_size=5, unique_by=itemgetter(0)))
    ]
    head, tail = draw(BLANKS) + "{", "}" + draw(BLANKS)
    if draw(st.booleans()):
        return head + draw(BLANKS), "", ",".join(draw(BLANKS) + m for m in members) + tail
    at = draw(st.integers(0, len(members)))
    before = "".join(m + "," for m in members[:at])
    after = "".join("," + m for m in members[at:])
    key = draw(MODEL_KEY)
    value = json.dumps(draw(VALUE))
    return (
        f"{head}{before}{draw(BLANKS)}{key}{draw(BLANKS)}:{draw(BLANKS)}",
        value,
        f"{draw(BLANKS)}{after}{tail}",
    )


@given(bodies(), st.text(min_size=1, max_size=20))
def test_every_byte_outside_the_value_stays(parts: tuple[str, str, str], model: str) -> None:
    before, value, after = (part.encode() for part in parts)
    pinned = pin_model(before + value + after, model)
    out = pinned.joined()
    assert len(out) == pinned.length
    assert json.loads(out)["model"] == model
    if value:
        requested = json.loads(value)
        named = value if requested == model else json.dumps(model)
        assert out == before + named.encode() + after
        assert pinned.requested_model == (requested if isinstance(requested, str) else None)
    else:
        inserted = b'"model":' + json.dumps(model).encode()
        brace = out.index(b"{") + 1
        assert out[brace : brace + len(inserted)] == inserted
        rest = out[brace + len(inserted) :]
        assert out[:brace] + rest.removeprefix(b",") == before + after
        assert pinned.requested_model is None


@given(st.binary(max_size=200))
@example(b"{")
@example(b'{"model"')
@example(b'{"model":')
@example(b'{"a":' + b"[" * 100_000)
@example(b'{"a":' + b"9" * 5000 + b"}")
def test_only_malformed_body_escapes(body: bytes) -> None:
    with contextlib.suppress(MalformedBody):
        pin_model(body, "m")


@given(bodies(), st.data())
def test_damage_never_loses_the_pin(parts: tuple[str, str, str], data: st.DataObject) -> None:
    """Whatever single byte breaks: what passes still names our model, and ours alone."""
    body = bytearray("".join(parts).encode())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))
    try:
        out = pin_model(bytes(body), "ours").joined()
    except MalformedBody:
        return
    pairs: list[list[tuple[str, Any]]] = []

    def keep(members: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs.append(members)
        return dict(members)

    json.loads(out, object_pairs_hook=keep)
    assert [v for k, v in pairs[-1] if k.casefold() == "model"] == ["ours"]


@given(VALUE)
def test_values_read_as_json_reads_them(value: Any) -> None:
    body = json.dumps({"v": value}, ensure_ascii=False).encode()
    (member,) = read_document(body).members
    assert json.loads(body[member.start : member.end]) == value


@given(st.lists(st.sampled_from(["\\ud83d", "\\ude00", "\\\\", "\\n", "\\u0041", "x", "\\ud83dx"])))
def test_surrogates_pass_in_pairs_only(pieces: list[str]) -> None:
    body = '{"a":["' + "".join(pieces) + '"]}'
    text = json.loads(body)["a"][0]
    lone = any(0xD800 <= ord(c) <= 0xDFFF for c in text)
    for dressed in (body, body.replace('"]', '","é"]')):
        if lone:
            with pytest.raises(MalformedBody):
                read_document(dressed.encode())
        else:
            read_document(dressed.encode())


KEY = st.sampled_from(['"a"', '"\\u0061"', '":"', '"\\u003a"', '"b\\\\"', '"\\\\u003a"', '""'])
NESTED = st.recursive(
    st.sampled_from(["1", '":"', '"\\u003A:"', '"\\\\:"', "[]", "{}"]),
    lambda inner: (
        st.lists(st.tuples(KEY, inner), max_size=3).map(
            lambda members: "{" + ",".join(f"{k} :{v}" for k, v in members) + "}"
        )
        | st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
    ),
    max_leaves=10,
)


@given(NESTED)
def test_a_key_stands_once_at_every_depth(value: str) -> None:
    twice = False

    def look(members: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        twice = twice or len(dict(members)) != len(members)
        return dict(members)

    json.loads(value, object_pairs_hook=look)
    body = b'{"v": ' + value.encode() + b"}"
    if twice:
        with pytest.raises(MalformedBody, match="more than once"):
            read_document(body)
    else:
        read_document(body)
