"""Hostile bytes: only our own error escapes, from every parser of the DNS room."""

import struct
from ipaddress import IPv4Address

import dnslib
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netmgr_dns.messages import Answer, Ede, EdeCode, MalformedMessage, Query, Rcode
from netmgr_dns.tcp import QueryReader
from netmgr_dns.wire import (
    MAX_QUERY,
    parse_query,
    parse_response,
    render_answer,
    render_error,
    udp_limit,
)

LABEL = st.binary(min_size=1, max_size=63)
NAMES = st.lists(LABEL, max_size=8).filter(lambda ls: sum(len(x) + 1 for x in ls) < 255)
COUNTS = st.integers(0, 3)
HEADERS = st.builds(
    struct.Struct("!HHHHHH").pack,
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 0x0100, 0x8180, 0x8580, 0x8380]),
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
)
ALMOST = st.tuples(HEADERS, st.binary(max_size=300)).map(b"".join)


def _mutate(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, value in edits:
        changed[place % len(changed)] = value
    return bytes(changed)


def _sample() -> bytes:
    record = dnslib.DNSRecord.question("www.example.com").reply()
    zone = "www.example.com. 60 CNAME a.example.net.\na.example.net. 5 A 192.0.2.1"
    record.add_answer(*dnslib.RR.fromZone(zone))
    record.add_auth(*dnslib.RR.fromZone("example.com. 60 SOA ns.example.com. h.example.com."))
    record.add_ar(dnslib.EDNS0(udp_len=1400))
    return bytes(record.pack())


EDITS = st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 255)), max_size=12)
MUTATED = st.builds(_mutate, st.just(_sample()), EDITS)
POINTERS = b"".join(struct.pack("!H", 0xC000 | max(i - 2, 12)) for i in range(12, 1200, 2))


def _outcome(data: bytes) -> tuple[Query | None, Rcode | None]:
    try:
        return parse_query(data), None
    except MalformedMessage as fault:
        return None, fault.rcode


def _is_utf8(label: bytes) -> bool:
    try:
        label.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.binary(max_size=2 * MAX_QUERY) | ALMOST | MUTATED)
@example(b"\0\1\0\0\0\1\0\0\0\0\0\1" + POINTERS)
@example(b"\0\1\0\0\0\1\0\0\0\0\0\1\0\0\1\0\1\0\0\x29\1\0\0\0\0\0\0\5\0\1\0\0\0")
def test_only_malformed_message_escapes_from_queries(data: bytes) -> None:
    query, rcode = _outcome(data)
    if rcode is not None:
        assert render_error(data, rcode)[:2] == data[:2]
    if query is not None:
        wire = render_answer(query, Answer(Rcode.NXDOMAIN), udp_limit(query))
        assert wire[:2] == data[:2]


@given(st.binary(max_size=9000) | ALMOST | MUTATED)
@example(b"\0\1\x80\0\0\1\0\1\0\0\0\0" + POINTERS * 6)
def test_only_malformed_message_escapes_from_responses(data: bytes) -> None:
    try:
        parse_response(data)
    except MalformedMessage:
        return


@given(NAMES, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.booleans())
def test_what_is_asked_is_echoed_exactly(
    labels: list[bytes], qtype: int, number: int, edns: bool
) -> None:
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    question = name + struct.pack("!HH", qtype, 1)
    opt = b"\0\0\x29\x10\0\0\0\0\0\0\0" if edns else b""
    data = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, int(edns)) + question + opt
    query, _ = _outcome(data)
    if not all(map(_is_utf8, labels)):  # dnslib takes no other labels, and no host name has one
        assert query is None
        return
    assert isinstance(query, Query)
    assert query.question.labels == tuple(labels)
    answer = Answer(
        Rcode.NOERROR, ip=IPv4Address("198.18.0.1"), ede=Ede(EdeCode.BLOCKED, "x" * 160)
    )
    wire = render_answer(query, answer, udp_limit(query))
    assert wire[12 : 12 + len(question)] == question
    assert len(wire) <= 1232
    assert (wire.count(b"\0\0\x29") > 0) >= edns


@given(st.lists(st.binary(max_size=80), max_size=6), st.integers(1, 7))
def test_tcp_frames_byte_by_byte_equal_all_at_once(messages: list[bytes], step: int) -> None:
    stream = b"".join(struct.pack("!H", len(m)) + m for m in messages)
    reader = QueryReader()
    pieces = []
    for start in range(0, len(stream), step):
        pieces += reader.feed(stream[start : start + step])
    assert pieces == messages == QueryReader().feed(stream)


@given(st.integers(MAX_QUERY + 1, 0xFFFF))
def test_a_tcp_frame_that_is_no_query_is_refused_by_its_length(length: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        QueryReader().feed(struct.pack("!H", length))
