"""Owns: the ambiguity check: two endpoints that may cover one connection must agree about it.

Endpoints for different programs need not: a program that runs under both meets the stricter one
(judge.py, venue.py). Knows nothing of requests.

Not every pair of endpoints is compared. Hosts are: a name with itself and with the wildcards that
cover it, a wildcard with those under the same fixed labels or under fewer of them; and of a host's
endpoints on one port, one stands for all that are alike. What must agree stands in two tables, by
name: a field that two endpoints must agree about is one row more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Final, NamedTuple

from netmgr.policy.hosts import RESERVED_NAMES, WildcardHost, may_overlap
from netmgr.policy.index import Index
from netmgr.policy.problems import MAX_SHOWN, Report
from netmgr.policy.programs import Programs
from netmgr.policy.rules import Endpoint, Protocol

MAX_WILDCARDS: Final = 256  # different ones under the same fixed labels: bounds check and look-up
MAX_STEPS: Final = 2_000_000  # comparisons in all, about a second; real policies need thousands
_RAW: Final = (Protocol.TCP, Protocol.SQL)


class _Aspect(NamedTuple):
    """What endpoints must agree about.

    Attributes:
        key: what has to be equal.
        said: what an error shows; None: the key.
    """

    name: str
    key: Callable[[Endpoint], object]
    said: Callable[[Endpoint], object] | None = None

    def show(self, endpoint: Endpoint) -> str:
        """As a document writes it."""
        value = (self.said or self.key)(endpoint)
        return str(value).lower() if isinstance(value, bool) else repr(value)


def _networks(endpoint: Endpoint) -> str:
    return ", ".join(map(str, endpoint.networks)) or "none"


_CONNECTION: Final = (
    _Aspect("tls", lambda e: e.tls.value),
    _Aspect("allowed_ips", lambda e: e.networks if e.host.text else None, _networks),
    _Aspect("protocol", lambda e: e.protocol in _RAW, lambda e: e.protocol.value),
)
# Only asked of endpoints that look inside, and whose `path` is equally narrow: else the narrower
# one says how a request is read.
_REQUEST: Final = (
    _Aspect("protocol", lambda e: e.protocol.value),
    _Aspect("enforcement", lambda e: "audit" if e.audit else "enforce"),
    _Aspect("allow_encoded_slash", lambda e: e.encoded_slash),
)

_Traits = tuple[object, ...]
_Whom = Programs | None  # None: every program
_Paths = dict[tuple[str, _Whom], Endpoint]
_Narrowness = tuple[bool, int]
_Conflict = tuple[Endpoint, Endpoint, str]


@dataclass(slots=True)
class _Port:
    """The endpoints of one host and port: one stands for all that are alike.

    Attributes:
        kinds: by what they say of the connection, and for whom.
        readers: those that look inside, by narrowness (handshakes apart: no other endpoint has a
            say on them), by what they say of requests, by path and for whom.
    """

    kinds: dict[tuple[_Traits, _Whom], Endpoint] = field(default_factory=dict)
    readers: dict[_Narrowness, dict[_Traits, _Paths]] = field(default_factory=dict)

    def add(self, endpoint: Endpoint) -> None:
        whom = None if endpoint.programs.any else endpoint.programs
        self.kinds.setdefault((_traits(endpoint, _CONNECTION), whom), endpoint)
        if endpoint.inspects:
            narrowness = (endpoint.protocol is Protocol.WEBSOCKET, endpoint.specificity)
            said = self.readers.setdefault(narrowness, {})
            path = endpoint.path.text if endpoint.path else ""
            paths = said.setdefault(_traits(endpoint, _REQUEST), {})
            paths.setdefault((path, whom), endpoint)


_Face = dict[int, _Port]


class _TooMany(Exception):
    """The comparisons would take too long."""


def report_conflicts(
    endpoints: Iterable[Endpoint], lines: Mapping[str, int], report: Report
) -> None:
    """Note pairs of overlapping endpoints that contradict each other, by both names.

    Args:
        lines: where each endpoint stands, by its place.
    """
    try:
        for number, (one, other, what) in enumerate(_Check(Index(endpoints)).conflicts()):
            if number == MAX_SHOWN:
                return
            report.problem(
                lines.get(other.place, 0),
                f"network_policies.{other.place}",
                f"contradicts {one.place} ({one.host.text}) on the same host and port: {what}",
            )
    except _TooMany:
        report.problem(0, "network_policies", "too many endpoints overlap to compare them")


def report_crowds(endpoints: Iterable[Endpoint], report: Report) -> bool:
    """Note where too many wildcards stand under one name; whether there was any such place."""
    crowds: dict[str, set[str]] = {}
    for endpoint in endpoints:
        if isinstance(endpoint.host, WildcardHost):
            crowds.setdefault(endpoint.host.anchor, set()).add(endpoint.host.text)
    crowded = [anchor for anchor, hosts in crowds.items() if len(hosts) > MAX_WILDCARDS]
    for anchor in crowded:
        message = f"more than {MAX_WILDCARDS} different wildcards under {anchor!r}"
        report.problem(0, "network_policies", message)
    return bool(crowded)


class _Check:
    """One pass over a policy, with a budget of steps."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._steps = 0
        self._wild = {anchor: _by_host(found) for anchor, found in index.wild.items()}

    def conflicts(self) -> Iterator[_Conflict]:
        """Every contradiction, once for each pair of hosts, port and pair of kinds."""
        yield from self._within(_face(self._index.anywhere))
        for group in self._index.literal.values():
            yield from self._within(_face(group))
        for name, group in self._index.exact.items():
            if len(group) == 1 and not self._wild:
                continue  # one endpoint cannot contradict itself
            face = _face(group)
            yield from self._within(face)
            if self._index.wild and name not in RESERVED_NAMES:
                covering = [e for e in self._index.for_name(name)[len(group) :] if e.host.text]
                yield from self._between(face, _face(covering))
        for anchor, hosts in self._wild.items():
            yield from self._among(list(hosts.items()))
            for parent in _parents(anchor):
                yield from self._across(hosts, self._wild.get(parent, {}))

    def _among(self, hosts: list[tuple[WildcardHost, _Face]]) -> Iterator[_Conflict]:
        for number, (host, face) in enumerate(hosts):
            yield from self._within(face)
            for other, other_face in hosts[number + 1 :]:
                self._step()
                if may_overlap(host, other):
                    yield from self._between(face, other_face)

    def _across(
        self, some: dict[WildcardHost, _Face], others: dict[WildcardHost, _Face]
    ) -> Iterator[_Conflict]:
        for host, face in some.items():
            for other, other_face in others.items():
                self._step()
                if may_overlap(host, other):
                    yield from self._between(face, other_face)

    def _within(self, face: _Face) -> Iterator[_Conflict]:
        for port in face.values():
            for one, other in combinations(port.kinds.values(), 2):
                yield from self._compare(one, other, _CONNECTION)
            for said in port.readers.values():
                for some, others in combinations(said.values(), 2):
                    yield from self._paths(some, others)

    def _between(self, face: _Face, other_face: _Face) -> Iterator[_Conflict]:
        for number in face if len(face) < len(other_face) else other_face:
            self._step()
            port, other_port = face.get(number), other_face.get(number)
            if port is None or other_port is None:
                continue
            for one, other in product(port.kinds.values(), other_port.kinds.values()):
                yield from self._compare(one, other, _CONNECTION)
            for narrowness in port.readers.keys() & other_port.readers.keys():
                yield from self._readers(port.readers[narrowness], other_port.readers[narrowness])

    def _readers(
        self,
        some: dict[_Traits, _Paths],
        others: dict[_Traits, _Paths],
    ) -> Iterator[_Conflict]:
        for (traits, paths), (other_traits, other_paths) in product(some.items(), others.items()):
            if traits != other_traits:
                yield from self._paths(paths, other_paths)

    def _paths(self, some: _Paths, others: _Paths) -> Iterator[_Conflict]:
        for one, other in product(some.values(), others.values()):
            self._step()
            if one.path is None or other.path is None or one.path.meets(other.path):
                yield from self._compare(one, other, _REQUEST)

    def _compare(
        self, one: Endpoint, other: Endpoint, aspects: tuple[_Aspect, ...]
    ) -> Iterator[_Conflict]:
        self._step()
        if one.programs.apart_from(other.programs):
            return
        for aspect in aspects:
            if aspect.key(one) != aspect.key(other):
                yield one, other, f"{aspect.name} {aspect.show(one)} against {aspect.show(other)}"
                return

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _TooMany


def _by_host(endpoints: Iterable[Endpoint]) -> dict[WildcardHost, _Face]:
    groups: dict[WildcardHost, list[Endpoint]] = {}
    for endpoint in endpoints:
        if isinstance(endpoint.host, WildcardHost):
            groups.setdefault(endpoint.host, []).append(endpoint)
    return {host: _face(group) for host, group in groups.items()}


def _face(endpoints: Iterable[Endpoint]) -> _Face:
    face: _Face = {}
    for endpoint in endpoints:
        for number in endpoint.ports:
            port = face.get(number)
            if port is None:
                port = face[number] = _Port()
            port.add(endpoint)
    return face


def _traits(endpoint: Endpoint, aspects: tuple[_Aspect, ...]) -> _Traits:
    return tuple(aspect.key(endpoint) for aspect in aspects)


def _parents(anchor: str) -> Iterator[str]:
    dot = anchor.find(".")
    while dot >= 0:
        yield anchor[dot + 1 :]
        dot = anchor.find(".", dot + 1)
