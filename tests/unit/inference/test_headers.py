"""Headers: two allow-lists, the key last, nothing by the back door."""

import pytest

from netmgr.inference.profiles import Provider
from netmgr.inference.protocols import Shape
from netmgr.inference.resolve import resolve_route
from netmgr.inference.route import InferenceRoute
from netmgr.secret import Secret
from netmgr_proxy.inference.headers import (
    judge_request_headers,
    request_headers,
    response_headers,
)


def route(type_name: str = "openai", key: str = "OPENAI_API_KEY") -> InferenceRoute:
    return resolve_route(Provider("p", type_name, {key: Secret("op")}), "m", route_id="r")


OAI = route()
ANT = route("anthropic", "ANTHROPIC_API_KEY")

AGENT = [
    (b"Host", b"inference.local"),
    (b"Authorization", b"Bearer agent"),
    (b"X-Api-Key", b"agent"),
    (b"api-key", b"agent"),
    (b"X-Goog-Api-Key", b"agent"),
    (b"Cookie", b"c=1"),
    (b"Content-Length", b"99"),
    (b"Transfer-Encoding", b"chunked"),
    (b"TE", b"trailers"),
    (b"Expect", b"100-continue"),
    (b"X-Stainless-OS", b"Linux"),
    (b"traceparent", b"t"),
    (b"openai-project", b"p"),
    (b"x-amz-date", b"d"),
]


def test_what_is_not_listed_does_not_cross() -> None:
    assert request_headers(AGENT, OAI, 2) == [
        (b"host", b"api.openai.com"),
        (b"accept-encoding", b"identity"),
        (b"content-type", b"application/json"),
        (b"content-length", b"2"),
        (b"authorization", b"Bearer op"),
    ]


def test_what_is_listed_crosses_in_its_order_with_duplicates() -> None:
    client = [
        (b"User-Agent", b"a"),
        (b"Accept", b"x"),
        (b"accept", b"y"),
        (b"OpenAI-Organization", b"o"),
        (b"x-model-id", b"i"),
        (b"anthropic-beta", b"b"),
    ]
    out = request_headers(client, OAI, None)
    assert out[1:-1] == [
        (b"user-agent", b"a"),
        (b"accept", b"x"),
        (b"accept", b"y"),
        (b"openai-organization", b"o"),
        (b"x-model-id", b"i"),
        (b"accept-encoding", b"identity"),
    ]


def test_what_connection_nominates_stays_behind() -> None:
    client = [(b"Connection", b"close, X-Model-Id"), (b"x-model-id", b"i"), (b"Accept", b"a")]
    names = [name for name, _ in request_headers(client, OAI, None)]
    assert names == [b"host", b"accept", b"accept-encoding", b"authorization"]


def test_defaults_yield_to_the_client() -> None:
    ours = (b"anthropic-version", b"2023-06-01")
    assert ours in request_headers([], ANT, None)
    sent = [(b"Anthropic-Version", b"2024-01-01"), (b"anthropic-beta", b"b1")]
    out = request_headers(sent, ANT, None)
    assert [v for n, v in out if n == b"anthropic-version"] == [b"2024-01-01"]
    assert (b"anthropic-beta", b"b1") in out
    assert out[-1] == (b"x-api-key", b"op")


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ([(b"anthropic-version", b"1"), (b"Anthropic-Version", b"1")], [b"1"]),
        ([(b"anthropic-version", b"1"), (b"Anthropic-Version", b"2")], None),
        (
            [
                (b"connection", b"anthropic-version"),
                (b"anthropic-version", b"1"),
                (b"anthropic-version", b"2"),
            ],
            [b"2023-06-01"],
        ),
    ],
)
def test_a_header_that_may_stand_once_goes_on_once(
    fields: list[tuple[bytes, bytes]], sent: list[bytes] | None
) -> None:
    refusal = judge_request_headers(fields, Shape.ANTHROPIC, ANT)
    if sent is None:
        assert refusal is not None
        assert (refusal.status, refusal.shape) == (400, Shape.ANTHROPIC)
        assert "anthropic-version" in refusal.message
        return
    assert refusal is None
    assert [v for n, v in request_headers(fields, ANT, None) if n == b"anthropic-version"] == sent


def test_lists_stay_in_as_many_fields_as_there_were() -> None:
    fields = [(b"anthropic-beta", b"a"), (b"anthropic-beta", b"b"), (b"anthropic-beta", b"a")]
    assert judge_request_headers(fields, Shape.ANTHROPIC, ANT) is None
    out = request_headers(fields, ANT, None)
    assert [v for n, v in out if n == b"anthropic-beta"] == [b"a", b"b", b"a"]


def test_what_does_not_cross_may_stand_as_often_as_it_likes() -> None:
    fields = [(b"x-other", b"1"), (b"x-other", b"2"), (b"x-api-key", b"1"), (b"x-api-key", b"2")]
    assert judge_request_headers(fields, Shape.OPENAI, OAI) is None


def test_a_nominated_version_is_replaced_by_the_default() -> None:
    client = [(b"connection", b"anthropic-version"), (b"anthropic-version", b"x")]
    out = request_headers(client, ANT, None)
    assert [v for n, v in out if n == b"anthropic-version"] == [b"2023-06-01"]


@pytest.mark.parametrize(
    ("types", "sent"),
    [
        ([], b"application/json"),
        ([b"application/json"], b"application/json"),
        ([b"Application/JSON; charset=utf-8"], b"Application/JSON; charset=utf-8"),
        ([b"application/vnd.x+json"], b"application/vnd.x+json"),
        ([b"application/x-www-form-urlencoded"], b"application/json"),
        ([b"multipart/form-data; boundary=b"], b"application/json"),
        ([b"application/json", b"text/plain"], b"application/json"),
        ([b"application/json, text/plain"], b"application/json"),
    ],
)
def test_a_body_is_sent_as_the_json_that_it_is(types: list[bytes], sent: bytes) -> None:
    client = [(b"Content-Type", value) for value in types]
    out = request_headers([*client, (b"connection", b"content-type")], OAI, 2)
    assert [value for name, value in out if name == b"content-type"] == [sent]
    assert b"content-type" not in dict(request_headers(client, OAI, None))


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\nb", b"a\x00b"])
def test_a_value_that_could_begin_a_line_is_dropped(value: bytes) -> None:
    assert b"accept" not in dict(request_headers([(b"accept", value)], OAI, None))
    assert response_headers([(b"content-type", value)]) == []


@pytest.mark.parametrize("asked", [b"gzip", b"gzip, deflate, br, zstd", b"*"])
def test_answers_are_asked_for_as_they_are(asked: bytes) -> None:
    out = request_headers([(b"accept-encoding", asked)], OAI, None)
    assert [value for name, value in out if name == b"accept-encoding"] == [b"identity"]


@pytest.mark.parametrize(
    "header",
    [
        (b"Content-Encoding", b"zstd"),
        (b"content-encoding", b"identity, br"),
        (b"content-encoding", b"gzip, gzip"),
        (b"content-type", b"application/json; charset=utf-7"),
        (b"content-type", b'application/json;CHARSET="UTF-16"'),
    ],
)
def test_bodies_in_other_clothes_are_refused(header: tuple[bytes, bytes]) -> None:
    refusal = judge_request_headers([header], Shape.OPENAI, OAI)
    assert refusal is not None
    assert refusal.status == 415
    coded = header[0].lower() == b"content-encoding"
    assert refusal.codings == ("gzip, deflate, identity" if coded else None)


def test_codings_in_two_headers_are_two_codings() -> None:
    twice = [(b"content-encoding", b"gzip"), (b"Content-Encoding", b"deflate")]
    refusal = judge_request_headers(twice, Shape.OPENAI, OAI)
    assert refusal is not None
    assert "gzip, deflate" in refusal.message


@pytest.mark.parametrize(
    "header",
    [
        (b"content-encoding", b"identity"),
        (b"content-encoding", b"GZIP, identity"),
        (b"content-encoding", b"deflate"),
        (b"content-type", b"application/json"),
        (b"content-type", b"application/json; charset=UTF-8"),
    ],
)
def test_plain_bodies_pass(header: tuple[bytes, bytes]) -> None:
    assert judge_request_headers([header], Shape.OPENAI, OAI) is None


def test_what_comes_back() -> None:
    upstream = [
        (b"Content-Type", b"application/json"),
        (b"Set-Cookie", b"a=b"),
        (b"OpenAI-Organization", b"acme"),
        (b"openai-project", b"p"),
        (b"anthropic-organization-id", b"acme"),
        (b"Server", b"s"),
        (b"Via", b"v"),
        (b"Location", b"http://other/"),
        (b"Content-Length", b"3"),
        (b"Connection", b"x-request-id"),
        (b"x-request-id", b"hop"),
        (b"Retry-After", b"7"),
        (b"x-ratelimit-remaining-tokens", b"5"),
        (b"x-netmgr-reason", b"forged"),
    ]
    assert response_headers(upstream) == [
        (b"content-type", b"application/json"),
        (b"retry-after", b"7"),
        (b"x-ratelimit-remaining-tokens", b"5"),
    ]
