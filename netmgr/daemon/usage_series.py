"""Owns: the Prometheus series of model calls. Their number is bounded whatever sandboxes do."""

from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from netmgr.accounts.limits import NANO

MAX_MODELS: Final = 100  # (provider, model) with histograms: 30 lines of the page each
MAX_SERIES: Final = 2000  # (provider, model, sandbox) with counters: 10 lines each
OTHER: Final = "other"
# A token a second is slow, a hundred thousand milliseconds is a long answer.
_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_PLACE: Final = ("provider", "model", "sandbox")


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
        self._places: set[tuple[str, str, str]] = set()
        self._models: set[tuple[str, str]] = set()

    def count(self, record: dict[str, Any], cost: int | None) -> None:
        """Count the record of a call that was sent; `cost` in billionths."""
        call = record["inference"]
        model = self._model(str(call["provider"]), str(call.get("model") or ""))
        place = self._place(model, str(record.get("sandbox") or ""))
        self._requests.labels(*place, record["verdict"]).inc()
        for name, direction in (("tokens_in", "in"), ("tokens_out", "out")):
            if tokens := call.get(name):
                self._tokens.labels(*place, direction).inc(tokens)
        if cost:
            self._cost.labels(*place).inc(cost / NANO)
        if call.get("ttfb_ms") is not None:
            self._first.labels(*model).observe(call["ttfb_ms"] / 1000)
        if record.get("duration_ms") is not None:
            self._whole.labels(*model).observe(record["duration_ms"] / 1000)

    def keep_only(self, sandboxes: frozenset[str]) -> None:
        """All others are gone: their counters end."""
        for place in [place for place in self._places if place[2] not in sandboxes]:
            self._places.discard(place)
            for counter in (self._requests, self._tokens, self._cost):
                counter.remove_by_labels(dict(zip(_PLACE, place, strict=True)))

    def _model(self, provider: str, model: str) -> tuple[str, str]:
        key = (provider, model)
        if key not in self._models:
            if len(self._models) >= MAX_MODELS:
                return (OTHER, OTHER)
            self._models.add(key)
        return key

    def _place(self, model: tuple[str, str], sandbox: str) -> tuple[str, str, str]:
        key = (*model, sandbox)
        if key not in self._places:
            if len(self._places) >= MAX_SERIES:
                return (*model, OTHER)
            self._places.add(key)
        return key
