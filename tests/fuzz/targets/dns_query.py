"""What a sandbox sends to port 53: a query, nothing, or `MalformedMessage`; all are answered."""

from ipaddress import IPv4Address, IPv6Address

from netmgr_dns.messages import Answer, Ede, EdeCode, MalformedMessage, QType, Query, Rcode
from netmgr_dns.wire import (
    EDNS_UDP_SIZE,
    HEADER_SIZE,
    MAX_EDE_TEXT,
    parse_query,
    render_answer,
    render_error,
    udp_limit,
)

BY_TYPE = {
    QType.A: (Answer(Rcode.NOERROR, ip=IPv4Address("198.18.0.1")),),
    QType.AAAA: (Answer(Rcode.NOERROR, ip=IPv6Address("::1")),),
    QType.PTR: (Answer(Rcode.NOERROR, pointer="a.example.test"),),
}
ANSWERS = (
    Answer(Rcode.NXDOMAIN, ede=Ede(EdeCode.BLOCKED, "é" * 2 * MAX_EDE_TEXT)),
    Answer(Rcode.NOERROR, negative=True),
    Answer(Rcode.BADVERS),
)


def fuzz(data: bytes) -> None:
    """Whatever was read is echoed, in bounds; whatever was not is answered with its id."""
    query, rcode = _parse(data)
    if rcode is not None:
        assert render_error(data, rcode)[:2] == data[:2]
    if query is None:
        return
    question = query.question
    assert question.shown.isascii()
    assert question.name is None or question.name == question.shown
    size = sum(len(label) + 1 for label in question.labels) + 1 + 4
    for answer in (*ANSWERS, *BY_TYPE.get(question.qtype, ())):
        wire = render_answer(query, answer, udp_limit(query))
        assert len(wire) <= EDNS_UDP_SIZE
        assert wire[:2] == data[:2]
        assert wire[HEADER_SIZE : HEADER_SIZE + size] == data[HEADER_SIZE : HEADER_SIZE + size]


def _parse(data: bytes) -> tuple[Query | None, Rcode | None]:
    try:
        return parse_query(data), None
    except MalformedMessage as fault:
        return None, fault.rcode
