"""Owns: the Prometheus series of routing decisions. Their number is bounded by the routing file's
size and by MAX_SERIES, whatever sandboxes do. Counted from records in plain numbers, as usage is,
and made into series when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from netmgr.accounts.usage import short

MAX_SERIES: Final = 2000  # label combinations of one counter; a file has 100 endpoints and 50 rules
OTHER: Final = "other"
ANSWERED: Final = "answered"
_LENGTHS: Final = (0, 1, 2, 3, 5, 10, 20, 50, 100)
_EDGES: Final = (*(str(float(length)) for length in _LENGTHS), "+Inf")


class _Counts:
    """One counter: how often each combination of labels was met."""

    def __init__(self, name: str, what: str, *labels: str) -> None:
        self._family = (name, what, labels)
        self._counts: dict[tuple[object, ...], int] = {}  # keys of texts only

    def add(self, *labels: object) -> None:
        """One more. Labels as a record has them, if they can be keys."""
        counts = self._counts
        if (known := counts.get(labels)) is not None:
            counts[labels] = known + 1
            return
        named: tuple[object, ...] = tuple(map(short, labels))
        if named not in counts and len(counts) >= MAX_SERIES:
            named = (OTHER,) * len(named)
        counts[named] = counts.get(named, 0) + 1

    def collect(self) -> CounterMetricFamily:
        """As a series each."""
        name, what, labels = self._family
        family = CounterMetricFamily(name, what, labels=list(labels))
        for named, count in self._counts.items():
            family.add_metric(list(map(str, named)), count)
        return family


class RoutingSeries(Collector):
    """Counts decisions, what removed endpoints, attempts, and differences of a file on trial."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = _Counts(
            "netmgr_routing_decisions",
            "Model calls that a routing file decided on",
            "route",
            "label",
            "verdict",
        )
        self._removed = _Counts(
            "netmgr_routing_removed",
            "Endpoints that a rule was the first to remove from a call's plan",
            "rule",
        )
        self._attempts = _Counts(
            "netmgr_routing_attempts",
            "Attempts of model calls at endpoints, by how they ended",
            "endpoint",
            "result",
        )
        self._differs = 0
        self._lengths = [0] * len(_EDGES)
        self._length_sum = 0
        registry.register(self)

    def count(self, record: dict[str, Any]) -> None:
        """Count the record of a model call."""
        call = record.get("inference")
        if not isinstance(call, dict):
            return
        if isinstance(shadow := call.get("shadow"), dict) and shadow.get("differs") is True:
            self._differs += 1
        if not isinstance(plan := call.get("plan"), list):
            return
        self._decisions.add(call.get("route"), call.get("label"), record["verdict"])
        self._lengths[bisect_left(_LENGTHS, len(plan))] += 1
        self._length_sum += len(plan)
        rejected = call.get("rejected")
        for rule in rejected.values() if isinstance(rejected, dict) else ():
            self._removed.add(short(rule))
        for each in call.get("tried") or ():
            if isinstance(each, dict):
                self._attempts.add(each.get("endpoint"), each.get("reason") or ANSWERED)

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """See prometheus_client: the series as they stand."""
        for counts in (self._decisions, self._removed, self._attempts):
            yield counts.collect()
        differs = CounterMetricFamily(
            "netmgr_routing_shadow_differences",
            "Model calls that the routing file on trial would have planned otherwise",
        )
        differs.add_metric([], self._differs)
        yield differs
        length = HistogramMetricFamily(
            "netmgr_routing_plan_endpoints", "Endpoints that a call's plan permits"
        )
        reached = zip(_EDGES, accumulate(self._lengths), strict=True)
        length.add_metric([], list(reached), self._length_sum)
        yield length
