"""The wire form, read back with dnslib as an independent reader where that matters."""

import struct
from ipaddress import IPv4Address

import dnslib
import pytest

from netmgr_dns.messages import (
    Answer,
    Ede,
    EdeCode,
    Edns,
    MalformedMessage,
    QType,
    Query,
    Question,
    Rcode,
)
from netmgr_dns.wire import (
    MAX_POINTERS,
    MAX_QUERY,
    MAX_RECORDS,
    parse_query,
    parse_response,
    render_answer,
    render_error,
    render_query,
    udp_limit,
)


def message(name: str = "Api.Example.com", qtype: str = "A", **edns: int) -> bytes:
    record = dnslib.DNSRecord.question(name, qtype)
    if edns:
        record.add_ar(dnslib.EDNS0(**edns))
    return bytes(record.pack())


def parsed(data: bytes) -> Query:
    query = parse_query(data)
    assert query is not None
    return query


def test_a_query_keeps_its_letter_case() -> None:
    query = parsed(message())
    assert query.question.labels == (b"Api", b"Example", b"com")
    assert query.question.name == "api.example.com"
    assert query.recursion_desired
    assert query.edns is None


def test_the_answer_echoes_question_id_and_flags() -> None:
    query = parsed(message())
    wire = render_answer(query, Answer(Rcode.NOERROR, ip=IPv4Address("198.18.0.7")), 512)
    record = dnslib.DNSRecord.parse(wire)
    assert record.header.id == query.id
    assert (record.header.qr, record.header.ra, record.header.rd, record.header.aa) == (1, 1, 1, 0)
    assert tuple(record.q.qname.label) == query.question.labels
    assert str(record.a.rdata) == "198.18.0.7"
    assert record.a.ttl == 30
    assert record.ar == []  # OPT only where it was asked for


def test_edns_is_echoed_when_asked_and_carries_the_reason() -> None:
    query = parsed(message(udp_len=4096, flags="do"))
    denial = Answer(Rcode.NXDOMAIN, ede=Ede(EdeCode.BLOCKED, "no_matching_rule rule=none"))
    record = dnslib.DNSRecord.parse(render_answer(query, denial, udp_limit(query)))
    (opt,) = record.ar
    assert record.header.rcode == 3
    assert (opt.edns_len, opt.edns_ver, opt.edns_do) == (1232, 0, 1)
    (option,) = opt.rdata
    assert option.code == 15
    assert option.data == b"\x00\x0fno_matching_rule rule=none"


def test_badvers_needs_the_upper_bits_of_the_code() -> None:
    query = parsed(message(version=1))
    assert query.edns is not None
    assert query.edns.version == 1
    record = dnslib.DNSRecord.parse(render_answer(query, Answer(Rcode.BADVERS), 512))
    assert (record.header.rcode, record.ar[0].edns_rcode, record.ar[0].edns_ver) == (0, 1, 0)


def test_nodata_carries_a_soa_for_negative_caching() -> None:
    answer = Answer(Rcode.NOERROR, negative=True)
    record = dnslib.DNSRecord.parse(render_answer(parsed(message()), answer, 512))
    (soa,) = record.auth
    assert soa.ttl == 30
    assert soa.rdata.times[4] == 30


@pytest.mark.parametrize(
    ("payload", "limit"), [(0, 512), (100, 512), (600, 600), (1232, 1232), (65535, 1232)]
)
def test_the_udp_limit_is_clamped(payload: int, limit: int) -> None:
    assert udp_limit(parsed(message(udp_len=payload))) == limit


def test_without_edns_the_udp_limit_is_512() -> None:
    assert udp_limit(parsed(message())) == 512


def test_what_does_not_fit_is_truncated_and_says_so() -> None:
    query = parsed(message())
    wire = render_answer(query, Answer(Rcode.NOERROR, ip=IPv4Address("198.18.0.7")), 40)
    record = dnslib.DNSRecord.parse(wire)
    assert record.header.tc == 1
    assert record.rr == []


def test_the_longest_denial_fits_into_a_plain_datagram() -> None:
    labels = (b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 61)
    query = Query(1, Question(labels, 1, 1), True, False, Edns(512, 0, False, False))
    answer = Answer(Rcode.NXDOMAIN, ede=Ede(EdeCode.BLOCKED, "r" * 500))
    wire = render_answer(query, answer, 512)
    assert dnslib.DNSRecord.parse(wire).header.tc == 0


def test_a_response_is_ignored() -> None:
    assert parse_query(bytes(dnslib.DNSRecord.parse(message()).reply().pack())) is None


HEADER = struct.Struct("!HHHHHH")


@pytest.mark.parametrize(
    ("data", "rcode"),
    [
        (b"", None),
        (b"\0" * 11, None),
        (HEADER.pack(7, 0x2800, 1, 0, 0, 0), Rcode.NOTIMP),  # UPDATE
        (HEADER.pack(7, 0x0100, 0, 0, 0, 0), Rcode.FORMERR),
        (HEADER.pack(7, 0x0100, 2, 0, 0, 0) + message()[12:] * 2, Rcode.FORMERR),
        (HEADER.pack(7, 0x0100, 1, 1, 0, 0) + message()[12:], Rcode.FORMERR),
        (HEADER.pack(7, 0x0100, 1, 0, 0, 9) + message()[12:], Rcode.FORMERR),
        (HEADER.pack(7, 0x0100, 1, 0, 0, 0), Rcode.FORMERR),  # no question
        (message()[:-1], Rcode.FORMERR),
        (message() + b"x", Rcode.FORMERR),
        (HEADER.pack(7, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", Rcode.FORMERR),  # points at itself
        (HEADER.pack(7, 0, 1, 0, 0, 0) + b"\xc0\x02\0\1\0\1", Rcode.FORMERR),  # compressed
        (HEADER.pack(7, 0, 1, 0, 0, 0) + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", Rcode.FORMERR),
        (HEADER.pack(7, 0, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", Rcode.FORMERR),
        (b"\0\7\1\0" + b"\0" * MAX_QUERY, Rcode.FORMERR),
    ],
)
def test_malformed_messages(data: bytes, rcode: Rcode | None) -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse_query(data)
    assert caught.value.rcode is rcode


def test_two_opt_records_are_malformed() -> None:
    record = dnslib.DNSRecord.question("example.com")
    record.add_ar(dnslib.EDNS0(), dnslib.EDNS0())
    with pytest.raises(MalformedMessage, match="OPT"):
        parse_query(bytes(record.pack()))


def test_an_error_answers_with_the_id_and_nothing_else() -> None:
    wire = render_error(struct.pack("!HH", 0xBEEF, 0x2900) + b"\xff" * 30, Rcode.NOTIMP)
    assert HEADER.unpack(wire) == (0xBEEF, 0xA904, 0, 0, 0, 0)


def test_upstream_query_and_response() -> None:
    wire = render_query(77, (b"wWw", b"example", b"com"), QType.A)
    request = dnslib.DNSRecord.parse(wire)
    assert (request.header.id, request.header.rd, request.ar) == (77, 1, [])
    reply = request.reply()
    zone = "www.example.com. 60 CNAME a.example.net.\na.example.net. 5 A 192.0.2.1"
    reply.add_answer(*dnslib.RR.fromZone(zone))
    response = parse_response(bytes(reply.pack()))
    assert response.labels == (b"wWw", b"example", b"com")
    assert [(r.owner, r.ttl, str(r.data)) for r in response.records] == [
        ("www.example.com", 60, "a.example.net"),
        ("a.example.net", 5, "192.0.2.1"),
    ]


def test_an_escaped_label_is_shown_as_text() -> None:
    question = Question((b"a.b", b"\x00\xff", b"com"), 1, 1)
    assert question.shown == "a\\046b.\\000\\255.com"
    assert question.name is None


def response_of(records: bytes, count: int) -> bytes:
    return HEADER.pack(7, 0x8180, 1, count, 0, 0) + b"\1a\0\0\1\0\1" + records


def test_a_response_has_a_bound_of_records() -> None:
    record = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\xc0\0\2\1"
    assert len(parse_response(response_of(record * 256, 256)).records) == MAX_RECORDS == 256
    with pytest.raises(MalformedMessage, match="257 records"):
        parse_response(response_of(record * 257, 257))


@pytest.mark.parametrize(("count", "good"), [(MAX_POINTERS, True), (MAX_POINTERS + 1, False)])
def test_a_name_has_a_bound_of_pointers(count: int, good: bool) -> None:
    """A thousand for each name of a message, and 8 KiB cost the dialer a second."""
    start = HEADER.size + 7 + 12  # the first record's data
    targets = [HEADER.size, *range(start, start + 2 * (count - 2), 2)]
    chain = b"".join(struct.pack("!H", 0xC000 | at) for at in targets)
    first = b"\xc0\x0c" + struct.pack("!HHIH", 99, 1, 0, len(chain)) + chain
    last = struct.pack("!H", 0xC000 | start + len(chain) - 2)
    second = last + struct.pack("!HHIH", 1, 1, 5, 4) + b"\xc0\0\2\1"
    data = response_of(first + second, 2)
    if good:
        assert [record.owner for record in parse_response(data).records] == ["a"]
    else:
        with pytest.raises(MalformedMessage, match="pointers"):
            parse_response(data)


@pytest.mark.parametrize(
    "name",
    [b"\x41" + b"a" * 65 + b"\0", b"\xc0\x13", b"\xc0\xff", (b"\x3f" + b"a" * 63) * 4 + b"\0"],
)
def test_a_name_that_is_none_is_malformed(name: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_response(response_of(name + b"\0\1\0\1\0\0\0\5\0\4\xc0\0\2\1", 1))
