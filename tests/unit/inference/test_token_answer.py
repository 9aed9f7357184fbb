"""What token servers answer: hostile bytes until proven otherwise."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr_proxy.inference.token_answer import MAX_ANSWER, NoToken, parse_token_answer

CREDENTIALS = {"AccessKeyId": "ASIA1", "SecretAccessKey": "s/k", "SessionToken": "t=="}
XML = (
    b'<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
    b"<Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s/k</SecretAccessKey>"
    b"<SessionToken>t==</SessionToken><Expiration>2023-11-14T22:13:20Z</Expiration>"
    b"</Credentials><AssumedRoleUser><Arn>a</Arn></AssumedRoleUser></AssumeRoleResult>"
    b"</AssumeRoleResponse>"
)


def sts(**more: object) -> bytes:
    return json.dumps(
        {"AssumeRoleResponse": {"AssumeRoleResult": {"Credentials": {**CREDENTIALS, **more}}}}
    ).encode()


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (
            {"access_token": "t", "token_type": "Bearer", "expires_in": 3599},
            {"access_token": "t", "expires_in": 3599.0},
        ),
        ({"access_token": "t", "expires_in": "60"}, {"access_token": "t", "expires_in": 60.0}),
        ({"access_token": "t", "expires_in": None, "refresh_token": ""}, {"access_token": "t"}),
        (
            {"access_token": "t", "refresh_token": "r", "x": [1]},
            {"access_token": "t", "refresh_token": "r"},
        ),
    ],
)
def test_oauth(body: dict[str, object], found: dict[str, object]) -> None:
    assert parse_token_answer("oauth", 200, json.dumps(body).encode()) == found


@pytest.mark.parametrize(
    "body", [sts(Expiration=1.7e9), sts(Expiration="2023-11-14T22:13:20Z"), XML]
)
def test_sts_in_json_and_xml(body: bytes) -> None:
    assert parse_token_answer("sts", 200, body) == {
        "access_key_id": "ASIA1",
        "secret": "s/k",
        "token": "t==",
        "expires_at": 1.7e9,
    }


@pytest.mark.parametrize(
    ("kind", "status", "body", "message", "refused"),
    [
        (
            "oauth",
            400,
            b'{"error":"invalid_grant","error_description":"gone\\n"}',
            "HTTP 400: invalid_grant: gone",
            True,
        ),
        ("oauth", 503, b"<html>down</html>", "HTTP 503: <html>down</html>", False),
        ("oauth", 302, b"", "HTTP 302", False),
        ("oauth", 200, b"<html>login</html>", "no JSON object", False),
        ("oauth", 200, b'{"error":"nope"}', "no access_token in the answer: nope", False),
        ("oauth", 200, b'{"access_token":"t","token_type":"mac"}', "type is not bearer", False),
        ("oauth", 200, b'{"access_token":"t\\r\\nx: y"}', "is no token", False),
        ("oauth", 200, b'{"access_token":5}', "is no token", False),
        ("oauth", 200, b'{"access_token":"t","expires_in":true}', "no number", False),
        ("oauth", 200, b'{"access_token":"t","expires_in":NaN}', "no JSON object", False),
        ("oauth", 200, b'{"access_token":"t","expires_in":"1e9"}', "no number", False),
        ("oauth", 200, b" " * (MAX_ANSWER + 1), "more than", False),
        ("sts", 200, b"[" * 60_000, "not AssumeRole's", False),
        ("sts", 200, sts(), "Expiration", False),
        ("sts", 200, XML.replace(b"22:13:20Z", b"soon"), "no time", False),
        ("sts", 200, b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type", False),
        ("sts", 200, b"<a>" * 20, "too deep", False),
        ("sts", 200, b"<a", "no XML", False),
    ],
)
def test_what_is_no_token(kind: str, status: int, body: bytes, message: str, refused: bool) -> None:
    with pytest.raises(NoToken, match=message) as told:
        parse_token_answer(kind, status, body)
    assert told.value.refused is refused
    assert "\n" not in told.value.message


@given(st.sampled_from(["oauth", "sts"]), st.sampled_from([200, 400, 500]), st.binary(max_size=400))
def test_nothing_but_no_token_escapes(kind: str, status: int, body: bytes) -> None:
    _try(kind, status, body)


@given(st.integers(0, len(XML)), st.binary(max_size=6))
def test_a_damaged_answer_is_none_or_whole(place: int, damage: bytes) -> None:
    _try("sts", 200, XML[:place] + damage + XML[place:])
    _try("sts", 200, XML[:place])


def _try(kind: str, status: int, body: bytes) -> None:
    try:
        found = parse_token_answer(kind, status, body)
    except NoToken as failure:
        told = failure.message
        assert len(told) < 300, told
    else:
        assert all(isinstance(v, float) or v.isascii() for v in found.values())
