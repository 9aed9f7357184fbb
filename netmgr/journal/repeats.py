"""Owns: which records are written at once and which are counted. No I/O, no clock.

The first occurrence is written at once. Repeats within a period become one record with an exact
count when the period ends. Nothing is lost: the counts of what came out add up to what went in.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from netmgr.reasons import Kind, Verdict

RecordBody = dict[str, Any]
Key = tuple[Any, ...]

# A sandbox that scans makes a new destination with every packet. Beyond this many within a period
# its further ones are counted together, by what was decided and why.
MAX_KEYS_PER_SANDBOX: Final = 512
# Model calls of a counted record that can be asked for by their id; the count is of all. 12 kB.
MAX_IDS: Final = 1000

_SINGULAR: Final = frozenset({Kind.CONFIG, Kind.LIFECYCLE, Kind.FINDING})
_SUMMED: Final = ("bytes_in", "bytes_out")
_DECIDED: Final = ("protocol", "route", "label", "generation", "unscanned", "rejected")


@dataclass(slots=True)
class _Window:
    """A key's current period.

    Attributes:
        ends: when it is over.
        repeats: the counted record, once there is one.
    """

    ends: float
    repeats: RecordBody | None = None


@dataclass(slots=True)
class Repeats:
    """Counts repeats.

    Args:
        period_s: how long repeats are counted before they become a record.
        max_keys: how many different decisions of one sandbox are told apart at a time.
    """

    period_s: float
    max_keys: int = MAX_KEYS_PER_SANDBOX
    _windows: OrderedDict[Key, _Window] = field(default_factory=OrderedDict)
    _keys_of: dict[str | None, int] = field(default_factory=dict)

    def add(self, record: RecordBody, now: float) -> RecordBody | None:
        """Take a record in.

        Returns:
            the record where it has to be written now; None where it is counted.
        """
        if _is_singular(record):
            return record
        key = _key(record)
        if key not in self._windows:
            sandbox = record["sandbox"]
            if self._keys_of.get(sandbox, 0) >= self.max_keys:
                record = _without_destination(record)
                key = _key(record)
        window = self._windows.get(key)
        if window is None:
            self._open(key, now)
            return record
        window.repeats = _merge(window.repeats, record)
        return None

    def due(self, now: float) -> list[RecordBody]:
        """The counted records whose period is over; a key that stayed quiet is forgotten."""
        records: list[RecordBody] = []
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if window.ends > now:
                break
            self._close(key)
            if window.repeats is not None:
                records.append(window.repeats)
                self._open(key, now)
        return records

    def rest(self) -> list[RecordBody]:
        """Every counted record, whether its period is over or not; afterwards nothing is held."""
        records = [w.repeats for w in self._windows.values() if w.repeats is not None]
        self._windows.clear()
        self._keys_of.clear()
        return records

    def counted(self, request_id: str) -> RecordBody | None:
        """The record in which a model call is counted now."""
        held = (w.repeats for w in self._windows.values() if w.repeats is not None)
        return next((each for each in held if request_id in ids_of(each)), None)

    def next_due(self) -> float | None:
        """When `due` has something to do; None while nothing is held."""
        return next(iter(self._windows.values())).ends if self._windows else None

    def _open(self, key: Key, now: float) -> None:
        # Periods are equally long, so the order of opening is the order of ending.
        self._windows[key] = _Window(now + self.period_s)
        sandbox = key[0]
        self._keys_of[sandbox] = self._keys_of.get(sandbox, 0) + 1

    def _close(self, key: Key) -> None:
        del self._windows[key]
        left = self._keys_of[key[0]] - 1
        if left:
            self._keys_of[key[0]] = left
        else:
            del self._keys_of[key[0]]


def _is_singular(record: RecordBody) -> bool:
    """Whether a record is an event of its own: a change, a finding, an answered inference request
    (its tokens are somebody's bill)."""
    kind = record["kind"]
    return kind in _SINGULAR or (kind == Kind.INFERENCE and record["verdict"] != Verdict.DENIED)


def _key(record: RecordBody) -> Key:
    """What two records share that are repeats of each other: all but time and measurements."""
    destination = record.get("destination") or {}
    http = record.get("http") or {}
    process = record.get("process") or {}
    call = record.get("inference") or {}
    return (
        record["sandbox"],
        record["kind"],
        record["verdict"],
        record["reason"],
        record.get("rule"),
        record.get("policy_revision"),
        destination.get("name"),
        destination.get("ip"),
        destination.get("port"),
        destination.get("protocol"),
        http.get("method"),
        http.get("path"),
        http.get("status"),
        process.get("exe"),
        # What was decided on a model call, so that one record tells of all. As text: a worker wrote
        # it, and may have been hijacked.
        json.dumps([call.get(name) for name in _DECIDED]) if call else None,
        record.get("duration_ms") is None,  # a flow's start and its end are two things
    )


def _without_destination(record: RecordBody) -> RecordBody:
    kept = ("time", "sandbox", "tenant", "kind", "verdict", "reason", "count", *_SUMMED)
    record = {name: record[name] for name in kept if name in record}
    record["message"] = "further destinations, too many to be told apart"
    return record


def _merge(into: RecordBody | None, record: RecordBody) -> RecordBody:
    """One record for both: the later one, with counts and bytes added up."""
    if into is None:
        return record
    merged = record | {"count": into.get("count", 1) + record.get("count", 1)}
    for name in _SUMMED:
        if name in into or name in record:
            merged[name] = (into.get(name) or 0) + (record.get(name) or 0)
    if isinstance(call := record.get("inference"), dict):
        ids = ids_of(into)
        if len(ids) < MAX_IDS:
            ids += ids_of(record)
        merged["inference"] = call | {"request_ids": ids}
    if into.get("duration_ms") is not None and record.get("duration_ms") is not None:
        merged["duration_ms"] = max(into["duration_ms"], record["duration_ms"])
    return merged


def ids_of(record: RecordBody) -> list[str]:
    """The ids of every model call that a record is of, as far as it has kept them."""
    call = record.get("inference")
    if not isinstance(call, dict):
        return []
    counted, one = call.get("request_ids"), call.get("request_id")
    if isinstance(counted, list):
        return counted
    return [one] if isinstance(one, str) else []
