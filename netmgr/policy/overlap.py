"""Owns: the ambiguity check: two endpoints that may cover one connection must agree about it.

Knows nothing of requests. Not every pair of endpoints is compared. Hosts are: a name with itself
and with the wildcards that cover it, a wildcard with those under the same fixed labels or under
fewer of them; and of a host's endpoints on one port, one stands for all that are alike.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from netmgr.policy.hosts import RESERVED_NAMES, WildcardHost, may_overlap
from netmgr.policy.index import Index
from netmgr.policy.problems import MAX_SHOWN, Report
from netmgr.policy.rules import Endpoint, Protocol, Tls

MAX_WILDCARDS: Final = 256  # different ones under the same fixed labels: bounds check and look-up
MAX_STEPS: Final = 2_000_000  # comparisons in all, about a second; real policies need thousands
_RAW: Final = (Protocol.TCP, Protocol.SQL)

_Traits = tuple[bool, Tls, bool, bool]
_Face = dict[int, dict[_Traits, Endpoint]]  # port -> one endpoint of each kind
_Conflict = tuple[Endpoint, Endpoint, str]


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
        for group in self._index.literal.values():
            yield from self._within(_face(group))
        for name, group in self._index.exact.items():
            face = _face(group)
            yield from self._within(face)
            if self._index.wild and name not in RESERVED_NAMES:
                covering = self._index.for_name(name)[len(group) :]
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
        for kinds in face.values():
            found = list(kinds.values())
            for number, one in enumerate(found):
                for other in found[number + 1 :]:
                    yield from self._compare(one, other)

    def _between(self, face: _Face, other_face: _Face) -> Iterator[_Conflict]:
        for port in face if len(face) < len(other_face) else other_face:
            self._step()
            for one in face.get(port, {}).values():
                for other in other_face.get(port, {}).values():
                    yield from self._compare(one, other)

    def _compare(self, one: Endpoint, other: Endpoint) -> Iterator[_Conflict]:
        self._step()
        what = _contradiction(one, other)
        if what is not None:
            yield one, other, what

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
        traits = (endpoint.protocol in _RAW, endpoint.tls, endpoint.inspects, endpoint.audit)
        for port in endpoint.ports:
            face.setdefault(port, {}).setdefault(traits, endpoint)
    return face


def _contradiction(one: Endpoint, other: Endpoint) -> str | None:
    if one.tls is not other.tls:
        return f"tls {one.tls.value!r} against {other.tls.value!r}"
    if (one.protocol in _RAW) is not (other.protocol in _RAW):
        return f"protocol {one.protocol.value!r} against {other.protocol.value!r}"
    if one.inspects and other.inspects and one.audit is not other.audit:
        return "enforcement 'enforce' against 'audit'"
    return None


def _parents(anchor: str) -> Iterator[str]:
    dot = anchor.find(".")
    while dot >= 0:
        yield anchor[dot + 1 :]
        dot = anchor.find(".", dot + 1)
