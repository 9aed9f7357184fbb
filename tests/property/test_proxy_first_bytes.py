"""ClientHello parser and first-byte classifier: only their own outcomes, and prefixes agree."""

import ssl
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from netmgr_proxy.wire.classify import (
    MAX_FIRST_BYTES,
    Http,
    Http2Preface,
    Malformed,
    Other,
    Tls,
    classify,
    classify_ended,
)
from netmgr_proxy.wire.hello import BadHello, ClientHello, Missing, parse_hello


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, data)


def server_name(name: bytes) -> bytes:
    return extension(0, vector(2, b"\0" + vector(2, name)))


def hello_message(extensions: bytes, *, session: bytes = b"s" * 32) -> bytes:
    body = b"\x03\x03" + bytes(32) + vector(1, session) + vector(2, b"\x13\x01") + vector(1, b"\0")
    body += vector(2, extensions)
    return b"\x01" + vector(3, body)


def records(message: bytes, sizes: list[int]) -> bytes:
    """The message in records of these sizes; what is left comes in one."""
    out = b""
    for size in sizes:
        piece, message = message[:size], message[size:]
        if piece:
            out += b"\x16\x03\x01" + vector(2, piece)
    return out + (b"\x16\x03\x01" + vector(2, message) if message else b"")


NAMES = st.from_regex(rb"[a-zA-Z0-9.-]{1,60}", fullmatch=True)
HELLOS = st.builds(
    lambda name, alpn, padding, ech: hello_message(
        (server_name(name) if name is not None else b"")
        + (extension(16, vector(2, b"".join(vector(1, p) for p in alpn))) if alpn else b"")
        + extension(51, bytes(padding))
        + (extension(0xFE0D, b"x" * 200) if ech else b"")
    ),
    st.none() | NAMES,
    st.lists(st.binary(min_size=1, max_size=8), max_size=3),
    st.integers(0, 3000),  # post-quantum key shares are 1.2 KiB
    st.booleans(),
)
HTTP_LIKE = st.builds(
    lambda parts, sep: sep.join(parts),
    st.lists(
        st.sampled_from([b"GET", b"get", b" ", b"/", b"HTTP/1.1", b"HTTP/2.0", b"\t", b"Host: a"])
        | st.binary(max_size=6),
        max_size=8,
    ),
    st.sampled_from([b"", b" ", b"\r\n", b"\n", b"\r\n\r\n"]),
)
ANY_FIRST = st.binary(max_size=200) | HTTP_LIKE | HELLOS.map(lambda m: records(m, [5, 100]))


def outcome(data: bytes) -> Any:
    try:
        return parse_hello(data)
    except BadHello as fault:
        return str(fault)


def decided_by_prefixes(decide: Any, data: bytes) -> Any:
    """What a reader says who gets the bytes one by one and stops at the first decision."""
    for end in range(1, len(data) + 1):
        found = decide(data[:end])
        if not isinstance(found, Missing):
            return found
        assert found.until > end
    return decide(data)


@given(st.binary(max_size=400).map(lambda d: b"\x16\x03\x01" + d) | st.binary(max_size=100))
def test_any_bytes_give_a_hello_a_wish_for_more_or_bad_hello(data: bytes) -> None:
    assert isinstance(outcome(data), ClientHello | Missing | str)


@given(HELLOS, st.lists(st.integers(1, 600), max_size=8))
@settings(max_examples=60)
def test_byte_by_byte_is_the_same_as_all_at_once(message: bytes, sizes: list[int]) -> None:
    data = records(message, sizes)
    assert decided_by_prefixes(outcome, data) == outcome(data)


@given(HELLOS, st.lists(st.integers(1, 600), max_size=20))
def test_the_cut_into_records_does_not_matter(message: bytes, sizes: list[int]) -> None:
    assert outcome(records(message, sizes)) == outcome(records(message, []))


@given(HELLOS, st.data())
def test_a_changed_byte_never_escapes(message: bytes, data: st.DataObject) -> None:
    raw = bytearray(records(message, []))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    assert isinstance(outcome(bytes(raw)), ClientHello | Missing | str)


@given(HELLOS)
def test_missing_never_asks_for_more_than_there_is(message: bytes) -> None:
    data = records(message, [300])
    at = 1
    for _ in range(10):
        found = outcome(data[:at])
        if not isinstance(found, Missing):
            assert isinstance(found, ClientHello)
            return
        assert at < found.until <= len(data)
        at = found.until
    raise AssertionError("a hello in two records needs more than ten looks")


@given(ANY_FIRST)
@example(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
@example(b"PRI * HTTP/2.0\r\n\r\nXX")
@example(b"\r\nGET / HTTP/1.1\r\n\r\n")
@example(b"0033git-upload-pack /a\0host=b\0")
def test_a_class_once_given_stays(data: bytes) -> None:
    assert decided_by_prefixes(classify, data) == classify(data)
    assert not isinstance(classify_ended(data), Missing) or not data


@given(st.binary(max_size=300))
def test_whatever_carries_an_http_line_is_never_other(tail: bytes) -> None:
    found = classify(b"GET / HTTP/1.1\r\n" + tail)
    assert isinstance(found, Http | Missing)


def test_the_bounds_hold() -> None:
    long_head = b"GET / HTTP/1.1\r\nA: " + b"x" * 20000
    assert classify(long_head) == classify(long_head[:MAX_FIRST_BYTES])
    assert isinstance(classify(long_head), Malformed)
    tiny_records = b"\x16\x03\x01\x00\x01" + b"\x01"
    assert isinstance(classify(tiny_records + b"\x16\x03\x01\x00\x01\0" * 70), Malformed)
    assert isinstance(classify(b"\x16\x03\x01\x40\x01"), Malformed)
    assert isinstance(classify(b"\x16\x03\x01\x00\x04\x01\xff\xff\xff"), Malformed)
    assert isinstance(classify(b"A" * 40), Other)
    assert isinstance(classify(b"GET " + b"/" * 20000), Malformed)
    assert isinstance(classify(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Http2Preface)


def test_two_server_names_are_refused() -> None:
    twice = records(hello_message(server_name(b"a.test") + server_name(b"b.test")), [])
    assert "twice" in outcome(twice)
    both = extension(0, vector(2, b"\0" + vector(2, b"a.test") + b"\0" + vector(2, b"b.test")))
    assert "more than one" in outcome(records(hello_message(both), []))


def test_openssl_speaks_what_we_read() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    tls = context.wrap_bio(incoming, outgoing, server_hostname="Api.Example.TEST")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    found = classify(outgoing.read())
    assert found == Tls(ClientHello("api.example.test", ("h2", "http/1.1"), ech=False))
