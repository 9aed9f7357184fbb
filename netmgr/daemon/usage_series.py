"""Owns: the Prometheus series of model calls. Their number is bounded whatever sandboxes do.

Counted in plain numbers, because every call comes by here, and made into series when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from netmgr.accounts.limits import NANO
from netmgr.accounts.usage import count_in, short

MAX_MODELS: Final = 100  # (provider, model) with histograms: 30 lines of the page each
MAX_SERIES: Final = 2000  # (provider, model, sandbox) with counters: 4 lines each
OTHER: Final = "other"
# A token a second is slow, a hundred thousand milliseconds is a long answer.
_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_EDGES: Final = (*map(str, _BUCKETS), "+Inf")
_MODEL: Final = ("provider", "model")
_PLACE: Final = (*_MODEL, "sandbox")

_Model = tuple[str, str]
_Place = tuple[str, str, str]


class _Histogram:
    """How long something took: counts by bucket, and the sum in seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, milliseconds: float) -> None:
        seconds = milliseconds / 1000
        self.counts[bisect_left(_BUCKETS, seconds)] += 1
        self.total += seconds


class _Counters:
    """Of one sandbox and model."""

    __slots__ = ("calls", "cost", "tokens_in", "tokens_out")

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}  # by verdict
        self.tokens_in = 0
        self.tokens_out = 0
        self.cost = 0  # in billionths


class UsageSeries(Collector):
    """Counters by provider, model and sandbox; histograms by provider and model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._places: dict[_Place, _Counters] = {}
        self._models: dict[_Model, tuple[_Histogram, _Histogram]] = {}
        registry.register(self)

    def count(self, record: dict[str, Any], cost: int | None) -> None:
        """Count the record of a call that was sent; `cost` in billionths."""
        call, verdict = record["inference"], record["verdict"]
        model = (short(call["provider"]), short(call.get("model")))
        if model not in self._models and len(self._models) >= MAX_MODELS:
            model = (OTHER, OTHER)
        counters = self._at((*model, short(record.get("sandbox"))))
        counters.calls[verdict] = counters.calls.get(verdict, 0) + 1
        counters.tokens_in += count_in(call, "tokens_in")
        counters.tokens_out += count_in(call, "tokens_out")
        counters.cost += cost or 0
        histograms = self._models.get(model)
        if histograms is None:
            histograms = self._models[model] = (_Histogram(), _Histogram())
        first, whole = histograms
        if (ttfb_ms := call.get("ttfb_ms")) is not None:
            first.observe(ttfb_ms)
        if (duration_ms := record.get("duration_ms")) is not None:
            whole.observe(duration_ms)

    def keep_only(self, sandboxes: frozenset[str]) -> None:
        """All others are gone: their counters end."""
        for place in [place for place in self._places if place[2] not in sandboxes]:
            del self._places[place]

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """See prometheus_client: the series as they stand."""
        yield from self._counted()
        told = (
            ("first_byte", "From a model call's end to its answer's first body byte"),
            ("duration", "From a model call's head to its answer's end"),
        )
        for index, (name, what) in enumerate(told):
            family = HistogramMetricFamily(
                f"netmgr_inference_{name}_seconds", what, labels=list(_MODEL)
            )
            for model, histograms in self._models.items():
                histogram = histograms[index]
                reached = zip(_EDGES, accumulate(histogram.counts), strict=True)
                family.add_metric(list(model), list(reached), histogram.total)
            yield family

    def _counted(self) -> Iterator[CounterMetricFamily]:
        requests = CounterMetricFamily(
            "netmgr_inference_requests",
            "Model calls that were sent",
            labels=[*_PLACE, "verdict"],
        )
        tokens = CounterMetricFamily(
            "netmgr_inference_tokens",
            "Tokens of model calls, as providers told them",
            labels=[*_PLACE, "direction"],
        )
        cost = CounterMetricFamily(
            "netmgr_inference_cost",
            "What model calls with a known price cost, in the price file's currency",
            labels=list(_PLACE),
        )
        for place, counters in self._places.items():
            for verdict, calls in counters.calls.items():
                requests.add_metric([*place, verdict], calls)
            tokens.add_metric([*place, "in"], counters.tokens_in)
            tokens.add_metric([*place, "out"], counters.tokens_out)
            cost.add_metric(list(place), counters.cost / NANO)
        yield from (requests, tokens, cost)

    def _at(self, place: _Place) -> _Counters:
        found = self._places.get(place)
        if found is None:
            if len(self._places) >= MAX_SERIES:
                place = (OTHER, OTHER, OTHER)
            found = self._places.get(place)
            if found is None:
                found = self._places[place] = _Counters()
        return found
