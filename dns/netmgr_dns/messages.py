"""Owns: the resolver's nouns: what was asked and what is answered. Frozen values, no I/O.

Knows nothing of dnslib, sockets or policies' insides.
"""

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from netmgr.errors import BadInput
from netmgr.model import DnsName, parse_dns_name
from netmgr.policy.decision import Decision

CLASS_IN: Final = 1
ANSWER_TTL_S: Final = 30  # contract, "Faces of a denial": a private address is good for 30 s
ROOT: Final = "."

_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")


class QType(IntEnum):
    """The query types that are told apart (IANA, DNS parameters)."""

    A = 1
    CNAME = 5
    SOA = 6
    PTR = 12
    AAAA = 28
    OPT = 41
    SVCB = 64
    HTTPS = 65


class Rcode(IntEnum):
    """Response codes; those above 15 need an OPT record (RFC 6891 §6.1.3)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class EdeCode(IntEnum):
    """Extended DNS error codes (RFC 8914 §4)."""

    OTHER = 0
    BLOCKED = 15
    NOT_SUPPORTED = 21


class MalformedMessage(ValueError):
    """A message that is no well-formed query or response.

    Attributes:
        rcode: what the sender is told; None: it is not answered at all.
    """

    def __init__(self, why: str, rcode: Rcode | None = Rcode.FORMERR) -> None:
        super().__init__(why)
        self.rcode = rcode


@dataclass(frozen=True, slots=True)
class Edns:
    """A query's OPT record (RFC 6891).

    Attributes:
        payload: largest UDP answer that the sender takes, in bytes, as it said.
        has_options: options came with it (cookies, padding): then no two queries are alike.
    """

    payload: int
    version: int
    dnssec_ok: bool
    has_options: bool


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        labels: as they came, letter case kept: the echo must be exact (0x20).
    """

    labels: tuple[bytes, ...]
    qtype: int
    qclass: int

    @property
    def shown(self) -> str:
        """The name for people: lower case; anything unusual escaped as in RFC 1035 §5.1."""
        return ".".join(_show(label) for label in self.labels) or ROOT

    @property
    def name(self) -> DnsName | None:
        """The name as policies know it; None where it is no host name at all."""
        try:
            return parse_dns_name(self.shown)
        except BadInput:
            return None


@dataclass(frozen=True, slots=True)
class Query:
    """A well-formed query message.

    Attributes:
        edns: None where the sender did not ask for EDNS; then the answer has none either.
    """

    id: int
    question: Question
    recursion_desired: bool
    checking_disabled: bool
    edns: Edns | None


@dataclass(frozen=True, slots=True)
class Ede:
    """An extended DNS error: code and text."""

    code: EdeCode
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one query is answered with.

    Attributes:
        ip: the address of an A or AAAA answer.
        pointer: the name of a PTR answer.
        negative: NODATA that may be cached (a SOA goes with it, RFC 2308 §2.2). Denials are never
            cached, so that a policy change is in force at the next query.
        decision: what the policy said; None where nothing was decided (localhost, BADVERS).
    """

    rcode: Rcode
    ip: IPv4Address | IPv6Address | None = None
    pointer: str | None = None
    negative: bool = False
    ede: Ede | None = None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class NeedName:
    """An allowed name that has no private address yet: the daemon has to give it one.

    Attributes:
        decision: why it is allowed.
    """

    name: DnsName
    decision: Decision


def _show(label: bytes) -> str:
    lowered = label.lower()
    return "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03d}" for byte in lowered)
