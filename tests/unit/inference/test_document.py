"""Strict JSON: every bound and every refusal, by name; long bodies in time."""

import time

import pytest

from netmgr.inference.protocols import Shape
from netmgr.reasons import Reason
from netmgr_proxy.inference.document import (
    MAX_DEPTH,
    MAX_MEMBERS,
    MAX_STRUCTURE,
    MalformedBody,
    read_document,
)

MIB = 1024 * 1024


def refused(body: bytes) -> MalformedBody:
    with pytest.raises(MalformedBody) as caught:
        read_document(body)
    return caught.value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "has no body, but needs a JSON object"),
        (b"  ", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{", "expected a key in double quotes at byte 1"),
        (b"{'a':1}", "expected a key in double quotes at byte 1"),
        (b"{a:1}", "expected a key"),
        (b'{"a"}', "expected ':' at byte 4"),
        (b'{"a" 1}', "expected ':' at byte 5"),
        (b'{"a":}', "Expecting value at byte 5"),
        (b'{"a":1,}', "expected a key in double quotes at byte 7"),
        (b'{"a":1 "b":2}', "expected ',' at byte 7"),
        (b'{"a":01}', "expected ','"),
        (b'{"a":1.}', "expected ','"),
        (b'{"a":.5}', "Expecting value"),
        (b'{"a":+1}', "Expecting value"),
        (b'{"a":tru}', "Expecting value"),
        (b'{"a":"\n"}', "control character"),
        (b'{"a":"\\x"}', "escape"),
        (b'{"a":1}x', "something follows the JSON object at byte 7"),
        (b'{"a":1}{}', "something follows"),
        (b'{"a":1}\x00', "something follows"),
        (b'{"a":/**/1}', "Expecting value"),
        (b'\xef\xbb\xbf{"a":1}', "byte order mark"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":"\xc0\xaf"}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        ('{"a":1}'.encode("utf-16-le"), "expected a key"),
        (b'{"a":1,"a":2}', "'a' more than once"),
        (b'{"a":1,"\\u0061":2}', "'a' more than once"),
        (b'{"a":{"b":1,"c":2,"b":1}}', "more than once"),
        (b'{"a":[[{"b:":":","b:":"\\u003a"}]]}', "more than once"),
        (b'{"a":NaN}', "has NaN"),
        (b'{"a":[{"b":-Infinity}]}', "has -Infinity"),
        (b'{"a":1e999}', "beyond all bounds: 1e999"),
        (b'{"a":-1e999}', "beyond all bounds"),
        (b'{"a":' + b"9" * 5000 + b"}", "too long"),
        (b'{"a":"\\ud800"}', "half of a surrogate pair"),
        (b'{"a":"\\udc00\\ud800"}', "half of a surrogate pair"),
        (b'{"a":[{"\\uDFFF":1}]}', "half of a surrogate pair"),
        ('{"a":"é\\ud800"}'.encode(), "half of a surrogate pair"),
        (b'{"\\ud800":1}', "half of a surrogate pair"),
    ],
)
def test_refused_with_the_place(body: bytes, words: str) -> None:
    error = refused(body)
    assert words in error.message
    assert (error.status, error.reason) == (400, Reason.MALFORMED_REQUEST)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b' \t\r\n{ "a" : 1 , "b" : [ ] } \n',
        b'{"a":1e308,"b":-0.0,"c":1E-400,"d":123456789012345678901234567890}',
        b'{"a":"\\ud83d\\ude00 \\\\ud800 \\u0000 \\/"}',
        '{"ключ":"值","\U0001f600":"\u2028"}'.encode(),
        b'{"a:":"b:c","d":{"a:":[":","\\u003a \\\\u003a"]}}',
    ],
)
def test_taken(body: bytes) -> None:
    for member in read_document(body).members:
        assert member.start < member.end


def test_nesting_has_a_bound() -> None:
    for opening, closing in ((b"[", b"]"), (b'{"k":', b"}")):
        inner = MAX_DEPTH - 1  # the document itself is one level
        at_bound = b'{"a":' + opening * inner + b"1" + closing * inner + b"}"
        read_document(at_bound)
        beyond = b'{"a":' + opening * (inner + 1) + b"1" + closing * (inner + 1) + b"}"
        assert "nested deeper than 128" in refused(beyond).message
        assert "nested deeper" in refused(b'{"a":' + opening * 1_000_000).message


def test_too_many_keys_is_a_limit() -> None:
    keys = [b'"k%d":0' % n for n in range(MAX_MEMBERS + 1)]
    assert len(read_document(b"{" + b",".join(keys[1:]) + b"}").members) == MAX_MEMBERS
    error = refused(b"{" + b",".join(keys) + b"}")
    assert (error.status, error.reason) == (413, Reason.LIMIT_EXCEEDED)


def test_too_many_values_is_a_limit_and_is_told_before_they_are_read() -> None:
    body = b'{"a":[' + b"[]," * MAX_STRUCTURE + b"0]}"
    begun = time.process_time()
    error = refused(body)
    assert (error.status, error.reason) == (413, Reason.LIMIT_EXCEEDED)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("unit", [b"QUJD", b"\\\\", "值".encode(), b"\\ud83d\\ude00"])
def test_the_longest_body_takes_no_second(unit: bytes) -> None:
    body = b'{"a":"' + unit * (32 * MIB // len(unit) - 4) + b'"}'
    begun = time.process_time()
    read_document(body)
    assert time.process_time() - begun < 2  # 0.1 to 0.3 s on an idle machine


def test_offsets_are_bytes_whatever_the_letters() -> None:
    body = '{"ä":"\U0001f600","b":[1]}'.encode()
    first, second = read_document(body).members
    assert body[first.start : first.end] == '"\U0001f600"'.encode()
    assert body[second.start : second.end] == b"[1]"
    assert read_document(body).text(first) == "\U0001f600"
    assert read_document(body).text(second) is None


def test_a_refusal_keeps_the_connection_and_the_shape() -> None:
    refusal = refused(b"{").refusal(Shape.ANTHROPIC)
    assert (refusal.status, refusal.close, refusal.shape) == (400, False, Shape.ANTHROPIC)


@pytest.mark.parametrize("key", [b'"model"', b'"mo\\u0064el"'])
@pytest.mark.parametrize("blank", [b"", b" ", b"\t\r\n "])
def test_members_are_the_same_however_they_are_written(key: bytes, blank: bytes) -> None:
    parts = [b"{", key, b":", b'"x"', b",", b'"n"', b":", b"[1,2]", b"}"]
    document = read_document(blank.join(parts))
    assert [(member.key, member.value) for member in document.members] == [
        ("model", "x"),
        ("n", [1, 2]),
    ]
    for member, text in zip(document.members, (b'"x"', b"[1,2]"), strict=True):
        assert document.body[member.start : member.end] == text


@pytest.mark.parametrize(
    "body", [b'{"a":1,}', b'{"a":1 "b":2}', b'{"a":1,,"b":2}', b'{,"a":1}', b'{"a" 1}', b'{"a":1;}']
)
def test_a_comma_stands_between_two_members_only(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        read_document(body)
