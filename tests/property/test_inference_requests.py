"""Request lines, headers and base URLs: only the room's own answers, whatever comes."""

import contextlib
import re

from hypothesis import example, given
from hypothesis import strategies as st

from netmgr.errors import BadInput
from netmgr.inference.base_url import parse_base_url
from netmgr.inference.profiles import Provider
from netmgr.inference.protocols import Shape
from netmgr.inference.resolve import resolve_route
from netmgr.secret import Secret
from netmgr_proxy.inference.admit import Admitted, admit
from netmgr_proxy.inference.answer import judge_answer
from netmgr_proxy.inference.headers import judge_request_headers, request_headers
from netmgr_proxy.inference.url import OutsideBase, join

OAI = resolve_route(
    Provider("p", "openai", {"OPENAI_API_KEY": Secret("operator")}), "m", route_id="r"
)
PIECES = st.sampled_from(
    [
        "/",
        "v1",
        "/v1/",
        "models",
        "/v1/models/",
        "..",
        ".",
        "%2e",
        "%2F",
        "%25",
        "?",
        "#",
        "a",
        ";",
        "\\",
        "%00",
        "chat/completions",
        " ",
        "é",
        "//",
        "v4",
    ]
)
TARGETS = st.lists(PIECES, max_size=12).map("".join)
NAMES = st.sampled_from(
    [
        b"Accept",
        b"cookie",
        b"AUTHORIZATION",
        b"x-api-key",
        b"connection",
        b"content-type",
        b"user-agent",
        b"Host",
        b"te",
        b"x-model-id",
        b"content-encoding",
        b"set-cookie",
    ]
)
FIELDS = st.lists(
    st.tuples(NAMES | st.binary(max_size=8), st.binary(max_size=20) | NAMES), max_size=10
)


@given(st.sampled_from(["GET", "post", "X"]), TARGETS.map(str.encode) | st.binary(max_size=60))
@example("GET", b"/v1/models/..%2f..")
def test_what_is_admitted_stays_below_the_base(method: str, target: bytes) -> None:
    admitted = admit(method, target, OAI)
    if not isinstance(admitted, Admitted):
        return
    sent = join(OAI.base, admitted.path, admitted.query)
    assert re.match(
        r"/v1/(?:chat/completions|completions|responses|embeddings|models)(?:[/?]|$)", sent
    )
    path = sent.partition("?")[0]
    assert not {".", ".."} & set(path.split("/"))
    assert sent.isascii()
    assert sent.isprintable()
    assert " " not in sent


@given(TARGETS, TARGETS, st.sampled_from(["", "/v1", "/a/v4", "/x"]))
def test_join_climbs_nowhere(path: str, query: str, base_path: str) -> None:
    base = parse_base_url("https://h.example" + base_path, "base")
    with contextlib.suppress(OutsideBase):
        joined = join(base, path, query).partition("?")[0]
        assert joined.startswith(base_path + "/") or joined == base_path


@given(FIELDS)
def test_the_agent_s_secrets_stay_and_ours_is_last(fields: list[tuple[bytes, bytes]]) -> None:
    refusal = judge_request_headers(fields, Shape.OPENAI, OAI)
    out = request_headers(fields, OAI, 2)
    names = [name for name, _ in out]
    if refusal is None:
        assert names.count(b"user-agent") <= 1
    assert out[0] == (b"host", b"api.openai.com")
    assert out[-1] == (b"authorization", b"Bearer operator")
    assert names.count(b"authorization") == names.count(b"host") == 1
    assert not {b"cookie", b"x-api-key", b"te", b"connection", b"set-cookie"} & set(names)
    assert not any(byte in value for _, value in out for byte in (b"\r", b"\n", b"\0"))


@given(st.integers(100, 999), FIELDS)
def test_any_answer_head_is_judged(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    head = judge_answer(status, fields, Shape.OPENAI)
    names = {name for name, _ in getattr(head, "headers", [])}
    assert not {b"set-cookie", b"connection", b"host"} & names


@given(st.text(max_size=60) | TARGETS.map(lambda t: "https://h.example" + t))
def test_only_bad_input_escapes_and_what_passes_is_canonical(text: str) -> None:
    with contextlib.suppress(BadInput):
        url = parse_base_url(text, "here")
        assert parse_base_url(str(url), "here") == url
