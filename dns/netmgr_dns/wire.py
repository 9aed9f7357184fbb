"""Owns: bytes to queries, answers to bytes. The only file that knows dnslib.

Knows nothing of policies. Its input is hostile: whatever the bytes are, nothing but
`MalformedMessage` comes out of it.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

import dnslib

from netmgr_dns.messages import (
    ANSWER_TTL_S,
    CLASS_IN,
    Answer,
    Edns,
    MalformedMessage,
    QType,
    Query,
    Question,
    Rcode,
)

HEADER_SIZE: Final = 12  # RFC 1035 §4.1.1
MAX_QUERY: Final = 1232  # a question needs 271 bytes; EDNS padding (RFC 8467) some hundred more
MAX_RESPONSE: Final = 8192  # from an upstream server over TCP: some hundred addresses
MAX_ADDITIONAL: Final = 3  # OPT, and a signature that is not looked at
MAX_RECORDS: Final = 256  # of a response's sections that are read; 16 addresses are used
MAX_POINTERS: Final = 16  # for one name (RFC 1035 §4.1.4); servers write one or two
PLAIN_UDP_SIZE: Final = 512  # RFC 1035 §4.2.1
EDNS_UDP_SIZE: Final = 1232  # no fragments on any link (DNS flag day 2020)
MAX_EDE_TEXT: Final = 160  # with the longest question it still fits into 512 bytes

_EDE_OPTION: Final = 15  # RFC 8914 §2
# RFC 2606: nobody's. Names go to dnslib as bytes: from text it would load the idna codec, and a
# confined worker can open no file.
_SOA_NAMES: Final = tuple(
    dnslib.DNSLabel(name) for name in (b"netmgr.invalid.", b"hostmaster.netmgr.invalid.")
)
_MAX_LABEL: Final = 63
_POINTER: Final = 0xC0  # RFC 1035 §4.1.4
_MAX_NAME: Final = 255  # on the wire, RFC 1035 §2.3.4
_QR: Final = 0x8000
_OPCODE: Final = 0x7800
_TC: Final = 0x0200
_RD: Final = 0x0100
_CD: Final = 0x0010
_HEADER: Final = struct.Struct("!HHHHHH")


@dataclass(frozen=True, slots=True)
class ResponseRecord:
    """One answer record of an upstream response.

    Attributes:
        owner: lower case, no trailing dot.
        data: an address, or the target of an alias in the form of `owner`.
    """

    owner: str
    ttl: int
    data: IPv4Address | IPv6Address | str


@dataclass(frozen=True, slots=True)
class Response:
    """What an upstream server answered.

    Attributes:
        labels: the question's name as it came back, letter case kept.
        truncated: the answer is incomplete (TC); the records then count for nothing.
        negative_ttl: how long "no such thing" holds (RFC 2308 §5), where a SOA says so.
    """

    id: int
    labels: tuple[bytes, ...]
    qtype: int
    rcode: int
    truncated: bool
    records: tuple[ResponseRecord, ...]
    negative_ttl: int | None


class _Buffer(dnslib.DNSBuffer):  # type: ignore[misc]  # dnslib has no types
    """Reads names itself. dnslib follows a thousand pointers for each of a message's names, which
    took a second for 8 KiB, and takes the reserved label types 01 and 10 for lengths."""

    offset: int

    def decode_name(self, last: int = -1) -> Any:
        """The name at the current offset, which then is behind it."""
        labels: list[bytes] = []
        size = 1
        behind: int | None = None
        pointers = 0
        while length := self.get(1)[0]:
            if length < _POINTER:
                labels.append(self._label(length))
                size += length + 1
                if size > _MAX_NAME:
                    raise MalformedMessage("a name is too long")
                continue
            at = self.offset - 1
            target = (length & ~_POINTER) << 8 | self.get(1)[0]
            behind = self.offset if behind is None else behind
            pointers += 1
            if target >= at or pointers > MAX_POINTERS:
                raise MalformedMessage("a name's pointers lead nowhere")
            self.offset = target
        if behind is not None:
            self.offset = behind
        return dnslib.DNSLabel(labels)

    def _label(self, length: int) -> bytes:
        if length > _MAX_LABEL:
            raise MalformedMessage("a label of a reserved type")
        label = bytes(self.get(length))
        label.decode()  # dnslib writes no other labels, and no host name has one
        return label


# -- what sandboxes send ---------------------------------------------------------------------


def parse_query(data: bytes) -> Query | None:
    """A query from its bytes; None for a response (QR=1), which is ignored without a word.

    Raises:
        MalformedMessage: anything else.
    """
    if len(data) < HEADER_SIZE:
        raise MalformedMessage(f"{len(data)} bytes are no DNS message", rcode=None)
    number, flags, *counts = _HEADER.unpack_from(data)
    if flags & _QR:
        return None
    if flags & _OPCODE:
        raise MalformedMessage(f"opcode {(flags & _OPCODE) >> 11}", Rcode.NOTIMP)
    if len(data) > MAX_QUERY:
        raise MalformedMessage(f"a query of {len(data)} bytes; the limit is {MAX_QUERY}")
    questions, answers, authorities, additional = counts
    if questions != 1 or answers or authorities or additional > MAX_ADDITIONAL:
        raise MalformedMessage(
            f"{questions} questions, {answers} answers, {authorities} authority records, "
            f"{additional} additional records"
        )
    with _only_malformed():
        buffer = _Buffer(data)
        buffer.offset = HEADER_SIZE
        question = _read_question(buffer)
        edns = _read_edns(buffer, additional)
    return Query(number, question, bool(flags & _RD), bool(flags & _CD), edns)


def _read_question(buffer: Any) -> Question:
    start = buffer.offset
    parsed = dnslib.DNSQuestion.parse(buffer)
    labels: tuple[bytes, ...] = tuple(parsed.qname.label)
    # A question has nothing in front of it that a compression pointer could mean.
    if buffer.offset - start != sum(len(label) + 1 for label in labels) + 1 + 4:
        raise MalformedMessage("a compressed question")
    return Question(labels, parsed.qtype, parsed.qclass)


def _read_edns(buffer: Any, count: int) -> Edns | None:
    found: Edns | None = None
    for _ in range(count):
        record = dnslib.RR.parse(buffer)
        if record.rtype != QType.OPT:
            continue
        if found is not None or record.rname.label:
            raise MalformedMessage("a second OPT record, or one that is not the root's")
        found = Edns(
            payload=record.rclass,
            version=record.edns_ver,
            dnssec_ok=bool(record.edns_do),
            has_options=bool(record.rdata),
        )
    if buffer.remaining():
        raise MalformedMessage(f"{buffer.remaining()} bytes after the message")
    return found


@contextmanager
def _only_malformed() -> Iterator[None]:
    """The fence around dnslib: whatever it raises on hostile bytes means "malformed"."""
    try:
        yield
    except MalformedMessage:
        raise
    except Exception as fault:  # dnslib raises five kinds of its own, and IndexError and others
        raise MalformedMessage(str(fault) or type(fault).__name__) from fault


# -- what sandboxes get ----------------------------------------------------------------------


def udp_limit(query: Query) -> int:
    """How many bytes an answer over UDP may have."""
    if query.edns is None:
        return PLAIN_UDP_SIZE
    return min(max(query.edns.payload, PLAIN_UDP_SIZE), EDNS_UDP_SIZE)


def render_answer(query: Query, answer: Answer, limit: int, ttl: int = ANSWER_TTL_S) -> bytes:
    """The answer as bytes, `limit` at most: what does not fit is left out, and TC says so.

    Args:
        ttl: seconds for which the answer, or the absence of one, may be kept.
    """
    whole = _render(query, answer, ttl)
    if len(whole) <= limit:
        return whole
    return _render(query, Answer(answer.rcode), ttl, truncated=True)


def render_error(data: bytes, rcode: Rcode) -> bytes:
    """The answer to a message that could not be read: its id, its opcode and RD, and the code.

    Raises:
        MalformedMessage: there is no header to answer to.
    """
    if len(data) < HEADER_SIZE:
        raise MalformedMessage("no header", rcode=None)
    number, flags = struct.unpack_from("!HH", data)
    return _HEADER.pack(number, _QR | flags & (_OPCODE | _RD) | rcode, 0, 0, 0, 0)


def _render(query: Query, answer: Answer, ttl: int, *, truncated: bool = False) -> bytes:
    question = query.question
    name = dnslib.DNSLabel(question.labels)
    header = dnslib.DNSHeader(id=query.id, qr=1, ra=1, rcode=answer.rcode & 0xF)
    header.rd = query.recursion_desired
    header.cd = query.checking_disabled
    header.tc = truncated
    record = dnslib.DNSRecord(header, q=dnslib.DNSQuestion(name, question.qtype, question.qclass))
    if answer.ip is not None:
        kind = dnslib.A if answer.ip.version == 4 else dnslib.AAAA
        _add_answer(record, name, ttl, kind(str(answer.ip)))
    if answer.pointer is not None:
        _add_answer(record, name, ttl, dnslib.PTR(dnslib.DNSLabel(answer.pointer.encode())))
    if answer.negative:
        record.add_auth(_soa(name, ttl))
    if query.edns is not None:
        record.add_ar(_opt(query.edns, answer))
    return bytes(record.pack())


def _add_answer(record: Any, name: Any, ttl: int, rdata: Any) -> None:
    record.add_answer(dnslib.RR(name, record.q.qtype, CLASS_IN, ttl, rdata))


def _soa(name: Any, ttl: int) -> Any:
    """The zone that does not have it begins at the name itself: nothing else is concluded from it.

    The last number is how long the absence may be remembered (RFC 2308 §4).
    """
    rdata = dnslib.SOA(*_SOA_NAMES, (1, ttl, ttl, ttl, ttl))
    return dnslib.RR(name, QType.SOA, CLASS_IN, ttl, rdata)


def _opt(edns: Edns, answer: Answer) -> Any:
    options = []
    if answer.ede is not None:
        text = answer.ede.text[:MAX_EDE_TEXT].encode("ascii", "replace")
        options.append(dnslib.EDNSOption(_EDE_OPTION, struct.pack("!H", answer.ede.code) + text))
    return dnslib.EDNS0(
        flags="do" if edns.dnssec_ok else "",
        ext_rcode=answer.rcode >> 4,
        udp_len=EDNS_UDP_SIZE,
        opts=options,
    )


# -- the upstream side -----------------------------------------------------------------------


def render_query(number: int, labels: tuple[bytes, ...], qtype: QType) -> bytes:
    """A recursive query without EDNS: a long answer then comes over TCP, which cannot be forged
    from the side."""
    header = dnslib.DNSHeader(id=number, rd=1)
    question = dnslib.DNSQuestion(dnslib.DNSLabel(labels), qtype, CLASS_IN)
    return bytes(dnslib.DNSRecord(header, q=question).pack())


def parse_response(data: bytes) -> Response:
    """An upstream server's answer.

    Raises:
        MalformedMessage: it is none.
    """
    if not HEADER_SIZE <= len(data) <= MAX_RESPONSE:
        raise MalformedMessage(f"a response of {len(data)} bytes", rcode=None)
    number, flags, questions, answered, authorities, _ = _HEADER.unpack_from(data)
    if not flags & _QR or flags & _OPCODE or questions != 1:
        raise MalformedMessage("no response to a query", rcode=None)
    truncated = bool(flags & _TC)
    if truncated:  # what follows the question may be cut anywhere
        answered = authorities = 0
    if answered + authorities > MAX_RECORDS:
        raise MalformedMessage(f"a response of {answered + authorities} records", rcode=None)
    with _only_malformed():
        buffer = _Buffer(data)
        buffer.offset = HEADER_SIZE
        question = _read_question(buffer)
        answers = [dnslib.RR.parse(buffer) for _ in range(answered)]
        authority = [dnslib.RR.parse(buffer) for _ in range(authorities)]
        if question.qclass != CLASS_IN:
            raise MalformedMessage("the answer to a question of another class", rcode=None)
        return Response(
            id=number,
            labels=question.labels,
            qtype=question.qtype,
            rcode=flags & 0xF,
            truncated=truncated,
            records=tuple(_response_record(r) for r in answers if _is_of_use(r)),
            negative_ttl=_negative_ttl(authority),
        )


def _is_of_use(record: Any) -> bool:
    return record.rclass == CLASS_IN and record.rtype in (QType.A, QType.AAAA, QType.CNAME)


def _response_record(record: Any) -> ResponseRecord:
    data: IPv4Address | IPv6Address | str
    if record.rtype == QType.CNAME:
        data = _text(record.rdata.label)
    elif record.rtype == QType.A:
        data = IPv4Address(bytes(record.rdata.data))
    else:
        data = IPv6Address(bytes(record.rdata.data))
    return ResponseRecord(_text(record.rname), record.ttl, data)


def _text(name: Any) -> str:
    return Question(tuple(name.label), QType.A, CLASS_IN).shown


def _negative_ttl(authority: list[Any]) -> int | None:
    for record in authority:
        if record.rtype == QType.SOA:
            return min(int(record.ttl), int(record.rdata.times[4]))
    return None
