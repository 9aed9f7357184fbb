"""Owns: the Prometheus series of routing decisions. Their number is bounded by the routing file's
size and by MAX_SERIES, whatever sandboxes do. Counted from records, as usage is.
"""

from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from netmgr.accounts.usage import short

MAX_SERIES: Final = 2000  # label combinations of one counter; a file has 100 endpoints and 50 rules
OTHER: Final = "other"
ANSWERED: Final = "answered"
_LENGTHS: Final = (0, 1, 2, 3, 5, 10, 20, 50, 100)


class RoutingSeries:
    """Counts decisions, what removed endpoints, attempts, and differences of a file on trial."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "netmgr_routing_decisions",
            "Model calls that a routing file decided on",
            ["route", "label", "verdict"],
            registry=registry,
        )
        self._removed = Counter(
            "netmgr_routing_removed",
            "Endpoints that a rule was the first to remove from a call's plan",
            ["rule"],
            registry=registry,
        )
        self._attempts = Counter(
            "netmgr_routing_attempts",
            "Attempts of model calls at endpoints, by how they ended",
            ["endpoint", "result"],
            registry=registry,
        )
        self._differs = Counter(
            "netmgr_routing_shadow_differences",
            "Model calls that the routing file on trial would have planned otherwise",
            registry=registry,
        )
        self._length = Histogram(
            "netmgr_routing_plan_endpoints",
            "Endpoints that a call's plan permits",
            registry=registry,
            buckets=_LENGTHS,
        )
        # A series is looked up by its labels once: that costs more than counting does.
        self._known: dict[Counter, dict[tuple[str, ...], Counter]] = {}

    def count(self, record: dict[str, Any]) -> None:
        """Count the record of a model call."""
        call = record.get("inference")
        if not isinstance(call, dict):
            return
        if isinstance(shadow := call.get("shadow"), dict) and shadow.get("differs") is True:
            self._differs.inc()
        if not isinstance(plan := call.get("plan"), list):
            return
        place = (call.get("route"), call.get("label"), record["verdict"])
        self._add(self._decisions, *map(short, place))
        self._length.observe(len(plan))
        rejected = call.get("rejected")
        for rule in rejected.values() if isinstance(rejected, dict) else ():
            self._add(self._removed, short(rule))
        for each in call.get("tried") or ():
            if isinstance(each, dict):
                result = short(each.get("reason")) or ANSWERED
                self._add(self._attempts, short(each.get("endpoint")), result)

    def _add(self, counter: Counter, *labels: str) -> None:
        known = self._known.get(counter)
        if known is None:
            known = self._known[counter] = {}
        series = known.get(labels)
        if series is None:
            if len(known) >= MAX_SERIES:
                labels = (OTHER,) * len(labels)
            series = known[labels] = counter.labels(*labels)
        series.inc()
