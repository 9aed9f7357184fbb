"""Owns: what the world's name servers know, how they misbehave, and what they were asked.

Answers are scripted per name. Knows nothing of sockets.
"""

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, A, DNSError, DNSRecord

DEFAULT_TTL: Final = 60
MAX_ALIASES: Final = 16  # of one answer; a loop is cut here, as a server would


@dataclass(frozen=True, slots=True)
class Script:
    """How one name answers.

    Attributes:
        addresses: one tuple of addresses per turn (v4 or v6 as text); the last turn stays.
        alias: a CNAME instead of addresses.
        delay_s: how long the answer is held back.
        drop: no answer at all.
        truncate: over UDP only the head with TC set.
        rcode: dnslib's name of the response code.
        wrong_id: the answer carries another query's number.
    """

    addresses: tuple[tuple[str, ...], ...] = ((),)
    alias: str | None = None
    ttl: int = DEFAULT_TTL
    delay_s: float = 0.0
    drop: bool = False
    truncate: bool = False
    rcode: str = "NOERROR"
    wrong_id: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One question that arrived."""

    name: str
    kind: str
    transport: str
    server: str
    source: str


@dataclass(frozen=True, slots=True)
class Response:
    """What the server does with a query: bytes after a delay, or nothing."""

    data: bytes | None
    delay_s: float = 0.0


@dataclass(slots=True)
class _Name:
    script: Script
    turns: "itertools.count[int]" = field(default_factory=itertools.count)


class Zone:
    """Names and their scripts. Used from the test's thread and the servers' thread."""

    def __init__(self) -> None:
        self._names: dict[str, _Name] = {}
        self._queries: list[Query] = []
        self._lock = threading.Lock()

    def set(self, name: str, *addresses: str, **script: object) -> None:
        """`name` answers with `addresses` from now on; `script` are fields of Script."""
        script.setdefault("addresses", (addresses,))
        with self._lock:
            self._names[name.lower()] = _Name(Script(**script))  # type: ignore[arg-type]

    def set_turns(self, name: str, turns: Sequence[Sequence[str]], *, ttl: int = 1) -> None:
        """`name` answers the first query for an address with the first turn, and so on."""
        self.set(name, addresses=tuple(tuple(turn) for turn in turns), ttl=ttl)

    def remove(self, name: str) -> None:
        """`name` does not exist from now on."""
        with self._lock:
            self._names.pop(name.lower(), None)

    @property
    def queries(self) -> list[Query]:
        """Everything that was asked, in order."""
        with self._lock:
            return list(self._queries)

    def asked(self, name: str) -> list[Query]:
        """The queries for `name`."""
        return [query for query in self.queries if query.name == name.lower()]

    def forget_queries(self) -> None:
        """Begin the list of queries anew."""
        with self._lock:
            self._queries.clear()

    # -- the servers' side -----------------------------------------------------------------

    def respond(self, data: bytes, *, transport: str, server: str, source: str) -> Response:
        """The response to one message; malformed ones get none."""
        try:
            request = DNSRecord.parse(data)
            name = str(request.q.qname).rstrip(".").lower()
            kind = QTYPE[request.q.qtype]
        except (DNSError, UnicodeError):
            return Response(None)
        with self._lock:
            self._queries.append(Query(name, kind, transport, server, source))
            entry = self._names.get(name)
            script = entry.script if entry else Script(rcode="NXDOMAIN")
            if script.drop:
                return Response(None)
            reply = request.reply(ra=0, aa=1)
            reply.header.rcode = getattr(RCODE, script.rcode)
            if script.wrong_id:
                reply.header.id ^= 0x5555
            if script.truncate and transport == "udp":
                reply.header.tc = 1
            else:
                self._add_answers(reply, name, kind)
        return Response(reply.pack(), script.delay_s)

    def _add_answers(self, reply: DNSRecord, name: str, kind: str) -> None:
        for _ in range(MAX_ALIASES):
            entry = self._names.get(name)
            if entry is None:
                return
            script = entry.script
            if script.alias is None:
                break
            reply.add_answer(RR(name, QTYPE.CNAME, rdata=CNAME(script.alias), ttl=script.ttl))
            name = script.alias.lower()
        else:
            return
        turn = next(entry.turns) if kind == "A" else 0
        addresses = script.addresses[min(turn, len(script.addresses) - 1)]
        for address in addresses:
            six = ":" in address
            if kind == ("AAAA" if six else "A"):
                rdata = AAAA(address) if six else A(address)
                reply.add_answer(RR(name, getattr(QTYPE, kind), rdata=rdata, ttl=script.ttl))
