"""Owns: the Prometheus series of model calls. Their number is bounded whatever sandboxes do."""

from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram

from netmgr.accounts.limits import NANO
from netmgr.accounts.usage import short

MAX_MODELS: Final = 100  # (provider, model) with histograms: 30 lines of the page each
MAX_SERIES: Final = 2000  # (provider, model, sandbox) with counters: 10 lines each
OTHER: Final = "other"
# A token a second is slow, a hundred thousand milliseconds is a long answer.
_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_PLACE: Final = ("provider", "model", "sandbox")

_Model = tuple[str, str]
_Place = tuple[str, str, str]


class UsageSeries:
    """Counters by provider, model and sandbox; histograms by provider and model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "netmgr_inference_requests",
            "Model calls that were sent",
            [*_PLACE, "verdict"],
            registry=registry,
        )
        self._tokens = Counter(
            "netmgr_inference_tokens",
            "Tokens of model calls, as providers told them",
            [*_PLACE, "direction"],
            registry=registry,
        )
        self._cost = Counter(
            "netmgr_inference_cost",
            "What model calls with a known price cost, in the price file's currency",
            list(_PLACE),
            registry=registry,
        )
        self._first = Histogram(
            "netmgr_inference_first_byte_seconds",
            "From a model call's end to its answer's first body byte",
            ["provider", "model"],
            registry=registry,
            buckets=_BUCKETS,
        )
        self._whole = Histogram(
            "netmgr_inference_duration_seconds",
            "From a model call's head to its answer's end",
            ["provider", "model"],
            registry=registry,
            buckets=_BUCKETS,
        )
        # A series is looked up by its labels once: that costs more than counting does.
        self._places: dict[_Place, _Counters] = {}
        self._models: dict[_Model, _Histograms] = {}

    def count(self, record: dict[str, Any], cost: int | None) -> None:
        """Count the record of a call that was sent; `cost` in billionths."""
        call = record["inference"]
        model, histograms = self._model((short(call["provider"]), short(call.get("model"))))
        counters = self._place((*model, short(record.get("sandbox"))))
        counters.calls(record["verdict"]).inc()
        if tokens := call.get("tokens_in"):
            counters.tokens_in.inc(tokens)
        if tokens := call.get("tokens_out"):
            counters.tokens_out.inc(tokens)
        if cost:
            counters.cost.inc(cost / NANO)
        if call.get("ttfb_ms") is not None:
            histograms.first.observe(call["ttfb_ms"] / 1000)
        if record.get("duration_ms") is not None:
            histograms.whole.observe(record["duration_ms"] / 1000)

    def keep_only(self, sandboxes: frozenset[str]) -> None:
        """All others are gone: their counters end."""
        for place in [place for place in self._places if place[2] not in sandboxes]:
            del self._places[place]
            for counter in (self._requests, self._tokens, self._cost):
                counter.remove_by_labels(dict(zip(_PLACE, place, strict=True)))

    def _model(self, key: _Model) -> tuple[_Model, "_Histograms"]:
        found = self._models.get(key)
        if found is None:
            if len(self._models) >= MAX_MODELS:
                key = (OTHER, OTHER)
            found = _Histograms(self._first.labels(*key), self._whole.labels(*key))
            self._models[key] = found
        return key, found

    def _place(self, key: _Place) -> "_Counters":
        found = self._places.get(key)
        if found is None:
            if len(self._places) >= MAX_SERIES:
                key = (OTHER, OTHER, OTHER)
            found = _Counters(
                self._requests,
                key,
                self._tokens.labels(*key, "in"),
                self._tokens.labels(*key, "out"),
                self._cost.labels(*key),
            )
            self._places[key] = found
        return found


class _Histograms(NamedTuple):
    """The series of one model."""

    first: Histogram
    whole: Histogram


class _Counters:
    """The series of one sandbox and model."""

    __slots__ = ("_by_verdict", "_key", "_requests", "cost", "tokens_in", "tokens_out")

    def __init__(
        self,
        requests: Counter,
        key: _Place,
        tokens_in: Counter,
        tokens_out: Counter,
        cost: Counter,
    ) -> None:
        self._requests = requests
        self._key = key
        self._by_verdict: dict[str, Counter] = {}
        self.tokens_in = tokens_in
        self.tokens_out = tokens_out
        self.cost = cost

    def calls(self, verdict: str) -> Counter:
        """The counter of calls with that verdict: one of four words."""
        found = self._by_verdict.get(verdict)
        if found is None:
            found = self._by_verdict[verdict] = self._requests.labels(*self._key, verdict)
        return found
