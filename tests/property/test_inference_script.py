"""Scripts of the model server: any JSON is a script or a BadInput; bodies break off where told."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import BadInput
from netmgr.testing.model_answers import default_answer
from netmgr.testing.model_script import parse_reply, parse_script

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
REPLY = st.dictionaries(
    st.sampled_from(
        ["status", "headers", "json", "text", "base64", "events", "gzip", "delay_s", "cut_after"]
    ),
    JSON,
    max_size=4,
)
RULE = st.dictionaries(
    st.sampled_from(["method", "path", "times", "reply", "x"]), JSON | REPLY, max_size=4
)


@given(st.lists(RULE | JSON, max_size=3) | JSON)
def test_only_bad_input_escapes(document: object) -> None:
    with contextlib.suppress(BadInput):
        parse_script(document)


@given(st.lists(st.text(max_size=9), max_size=5), st.integers(0, 60))
def test_a_body_breaks_off_at_the_byte(events: list[str], limit: int) -> None:
    whole = b"".join(parse_reply({"events": list(events)}, "").body())
    cut = b"".join(parse_reply({"events": list(events), "cut_after": limit}, "").body())
    assert cut == whole[:limit]


@given(st.text(), st.binary())
def test_every_request_has_an_answer(path: str, body: bytes) -> None:
    parse_reply(default_answer("/" + path, {}, body), "default")
    parse_reply(default_answer("/v1/chat/completions", {}, body), "default")
