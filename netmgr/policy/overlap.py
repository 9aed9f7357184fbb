"""Owns: the ambiguity check: two endpoints that may cover one connection must agree about it.

Knows nothing of requests. Not every pair is compared: endpoints meet only where they share a port
and an exact name, or where one lies under the other's fixed labels, and of those that agree among
themselves one stands for all.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from netmgr.policy.hosts import RESERVED_NAMES, WildcardHost, may_overlap
from netmgr.policy.index import Index
from netmgr.policy.problems import Report
from netmgr.policy.rules import Endpoint, Protocol, Tls

MAX_WILDCARDS: Final = 256  # different ones under the same fixed labels: bounds check and look-up
_RAW: Final = (Protocol.TCP, Protocol.SQL)

_Traits = tuple[bool, Tls, bool, bool]


def report_conflicts(endpoints: Iterable[Endpoint], report: Report) -> None:
    """Note every pair of overlapping endpoints that contradict each other, by both names."""
    index = Index(endpoints)
    for group in (*index.exact.values(), *index.literal.values()):
        _compare(_one_of_each(group), report)
    for name, group in index.exact.items():
        if name not in RESERVED_NAMES and index.wild:
            wild = index.for_name(name)[len(group) :]
            _compare_across(_one_of_each(group), _one_of_each(wild), report)
    _compare_wildcards(index, report)


def _compare_wildcards(index: Index, report: Report) -> None:
    for anchor, group in index.wild.items():
        chosen = _one_of_each(group)
        if len({endpoint.host.text for endpoint in group}) > MAX_WILDCARDS:
            report.problem(
                0, "network_policies", f"more than {MAX_WILDCARDS} wildcards under {anchor!r}"
            )
            continue
        _compare(chosen, report)
        for parent in _parents(anchor):
            if parent in index.wild:
                _compare_across(chosen, _one_of_each(index.wild[parent]), report)


def _one_of_each(group: Iterable[Endpoint]) -> list[Endpoint]:
    # Two endpoints with the same host, ports and traits contradict the same others.
    seen: dict[tuple[str, tuple[int, ...], _Traits], Endpoint] = {}
    for endpoint in group:
        seen.setdefault((endpoint.host.text, endpoint.ports, _traits(endpoint)), endpoint)
    return list(seen.values())


def _traits(endpoint: Endpoint) -> _Traits:
    return (endpoint.protocol in _RAW, endpoint.tls, endpoint.inspects, endpoint.audit)


def _compare(group: list[Endpoint], report: Report) -> None:
    for number, one in enumerate(group):
        _compare_across([one], group[number + 1 :], report)


def _compare_across(some: list[Endpoint], others: list[Endpoint], report: Report) -> None:
    for one in some:
        for other in others:
            what = _contradiction(one, other)
            if what is not None and _meet(one, other):
                report.problem(
                    0,
                    f"network_policies.{other.place}",
                    f"contradicts {one.place} ({one.host.text}) on the same host and port: {what}",
                )


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
