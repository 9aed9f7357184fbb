"""Owns: what model calls used, added up by hour, sandbox, tenant, provider and model.

Fed with decision records; knows nothing of storage. What is gathered is taken away (`take`) and
added to what is stored, so an hour's sum grows by pieces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

HOUR_S: Final = 3600
MAX_KEYS: Final = 10_000  # different keys within one hour; a sandbox that may name models at will
MAX_NAME: Final = 256  # characters of a name; the longest model's that can be set
OTHER: Final = "(other)"  # could name a million: what is beyond the bound is counted under this


class Key(NamedTuple):
    """What is added up together; '' where there is none."""

    hour: int  # epoch seconds of its beginning
    sandbox: str
    tenant: str
    provider: str
    model: str


@dataclass(slots=True)
class Sums:
    """Sums over calls.

    Attributes:
        failed: calls that were sent and did not end well.
        uncounted: calls that ended well and whose answer told no tokens.
        unpriced: calls with tokens for which no price is known.
        tokens_in: all prompt tokens, those read from and written to a cache included.
        cost: of the calls with a price, in billionths of the currency's unit.
    """

    calls: int = 0
    failed: int = 0
    uncounted: int = 0
    unpriced: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost: int = 0


class Gathered:
    """Sums since they were last taken away."""

    def __init__(self) -> None:
        self._sums: dict[Key, Sums] = {}
        self._keys: dict[tuple[Any, ...], Key] = {}  # of this hour, by the names in a record
        self._hour = 0

    def add(self, record: Mapping[str, Any], cost: int | None) -> None:
        """Count the record of one model call that was sent to a provider.

        Args:
            cost: in billionths; None where it is not known.
        """
        call = record["inference"]
        key = self._key(record, call)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = Sums()
        told_in, told_out = count_in(call, "tokens_in"), count_in(call, "tokens_out")
        well = record["verdict"] == "allowed"
        sums.calls += 1
        sums.failed += not well
        sums.uncounted += well and call.get("tokens_in") is None
        sums.unpriced += cost is None and bool(told_in or told_out)
        sums.tokens_in += told_in
        sums.tokens_out += told_out
        sums.cache_read += count_in(call, "tokens_cache_read")
        sums.cache_write += count_in(call, "tokens_cache_write")
        sums.cost += cost or 0

    def take(self) -> dict[Key, Sums]:
        """What was gathered; it is gone from here."""
        taken, self._sums = self._sums, {}
        return taken

    def put_back(self, taken: Mapping[Key, Sums]) -> None:
        """What could not be stored."""
        for key, sums in taken.items():
            into = self._sums.setdefault(key, Sums())
            for name in Sums.__slots__:
                setattr(into, name, getattr(into, name) + getattr(sums, name))

    def _key(self, record: Mapping[str, Any], call: Mapping[str, Any]) -> Key:
        hour = int(record["time"] // HOUR_S) * HOUR_S
        if hour != self._hour:
            self._hour = hour
            self._keys.clear()
        names = (
            record.get("sandbox") or "",
            record.get("tenant") or "",
            call.get("provider") or "",
            call.get("model") or "",
        )
        key = self._keys.get(names)
        if key is None:
            shortened = tuple(map(short, names))
            key = Key(hour, *shortened)
            if shortened not in self._keys:
                if len(self._keys) >= MAX_KEYS:
                    return key._replace(model=OTHER)
                self._keys[shortened] = key
        return key


def short(name: object) -> str:
    """A name as it is counted under; '' where there is none. Where programs may ask for any model,
    its name may be anything."""
    text = str(name or "")
    return text if len(text) <= MAX_NAME else OTHER


def was_sent(record: Mapping[str, Any]) -> bool:
    """Whether a record is of a model call that reached a provider."""
    call = record.get("inference")
    return (
        record["kind"] == "inference"
        and record["count"] == 1
        and isinstance(call, dict)
        and bool(call.get("attempts"))
        and bool(call.get("provider"))
    )


def count_in(call: Mapping[str, Any], name: str) -> int:
    """A number of tokens in a record's part; 0 where it is none."""
    value = call.get(name)
    return value if type(value) is int and value > 0 else 0
