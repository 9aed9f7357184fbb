"""Owns: the ambiguity check: two endpoints that may cover one connection must agree about it.

Knows nothing of requests. Not every pair is compared: endpoints meet only where they share a port
and an exact name, or where one lies under the other's fixed labels, and of those that agree among
themselves one stands for all.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from netmgr.policy.hosts import RESERVED_NAMES, WildcardHost, may_overlap
from netmgr.policy.index import Index
from netmgr.policy.problems import Report
from netmgr.policy.rules import Endpoint, Protocol, Tls

MAX_WILDCARDS: Final = 256  # different ones under the same fixed labels: bounds check and look-up
_RAW: Final = (Protocol.TCP, Protocol.SQL)

_Traits = tuple[bool, Tls, bool, bool]
_Conflict = tuple[Endpoint, Endpoint, str]


def report_conflicts(
    endpoints: Iterable[Endpoint], lines: Mapping[str, int], report: Report
) -> None:
    """Note every pair of overlapping endpoints that contradict each other, by both names.

    Args:
        lines: where each endpoint stands, by its place.
    """
    for one, other, what in _find_conflicts(Index(endpoints)):
        report.problem(
            lines.get(other.place, 0),
            f"network_policies.{other.place}",
            f"contradicts {one.place} ({one.host.text}) on the same host and port: {what}",
        )


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


def _find_conflicts(index: Index) -> Iterator[_Conflict]:
    for group in (*index.exact.values(), *index.literal.values()):
        yield from _within(_one_of_each(group))
    for name, group in index.exact.items():
        if index.wild and name not in RESERVED_NAMES:
            wild = index.for_name(name)[len(group) :]
            yield from _across(_one_of_each(group), _one_of_each(wild))
    for anchor, group in index.wild.items():
        chosen = _one_of_each(group)
        yield from _within(chosen)
        for parent in _parents(anchor):
            if parent in index.wild:
                yield from _across(_one_of_each(index.wild[parent]), chosen)


def _one_of_each(group: Iterable[Endpoint]) -> list[Endpoint]:
    # Two endpoints with the same host, ports and traits contradict the same others.
    seen: dict[tuple[str, tuple[int, ...], _Traits], Endpoint] = {}
    for endpoint in group:
        seen.setdefault((endpoint.host.text, endpoint.ports, _traits(endpoint)), endpoint)
    return list(seen.values())


def _traits(endpoint: Endpoint) -> _Traits:
    return (endpoint.protocol in _RAW, endpoint.tls, endpoint.inspects, endpoint.audit)


def _within(group: list[Endpoint]) -> Iterator[_Conflict]:
    for number, one in enumerate(group):
        yield from _across([one], group[number + 1 :])


def _across(some: list[Endpoint], others: list[Endpoint]) -> Iterator[_Conflict]:
    for one in some:
        for other in others:
            what = _contradiction(one, other)
            if what is not None and _meet(one, other):
                yield one, other, what


def _contradiction(one: Endpoint, other: Endpoint) -> str | None:
    if one.tls is not other.tls:
        return f"tls {one.tls.value!r} against {other.tls.value!r}"
    if (one.protocol in _RAW) is not (other.protocol in _RAW):
        return f"protocol {one.protocol.value!r} against {other.protocol.value!r}"
    if one.inspects and other.inspects and one.audit is not other.audit:
        return "enforcement 'enforce' against 'audit'"
    return None


def _meet(one: Endpoint, other: Endpoint) -> bool:
    if set(one.ports).isdisjoint(other.ports):
        return False
    if isinstance(one.host, WildcardHost) and isinstance(other.host, WildcardHost):
        return may_overlap(one.host, other.host)
    return True  # the index has already brought names and wildcards together


def _parents(anchor: str) -> Iterator[str]:
    dot = anchor.find(".")
    while dot >= 0:
        yield anchor[dot + 1 :]
        dot = anchor.find(".", dot + 1)
