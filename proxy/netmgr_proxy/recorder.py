"""Owns: telling the daemon what was decided, without letting a sandbox flood it.

The first of equal decisions is told at once; repeats within a window are counted and told together
with their exact number when it ends. The daemon aggregates further and gives out numbers.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from netmgr.ipc import Peer
from netmgr.model import Record

WINDOW_S: Final = 1.0  # repeats of one second become one message
MAX_KINDS: Final = 4096  # different decisions held within one window; then it ends early
_SUMMED: Final = ("bytes_in", "bytes_out")

Clock = Callable[[], float]


class Recorder:
    """Sends records over `daemon`."""

    def __init__(self, daemon: Peer, clock: Clock = time.time) -> None:
        self._daemon = daemon
        self._clock = clock
        self._repeats: dict[tuple[Any, ...], Record | None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.sent = 0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def record(self, record: Record) -> None:
        """Tell a decision, or count it as a repeat."""
        key = _key_of(record)
        if key not in self._repeats:
            if len(self._repeats) >= MAX_KINDS:
                self.flush()
            self._repeats[key] = None
            self._start_window()
            self._tell(record)
            return
        waiting = self._repeats[key]
        self._repeats[key] = record if waiting is None else _merge(waiting, record)

    def record_single(self, record: Record) -> None:
        """Tell a decision that is never a repeat (a model call, the end of a long flow)."""
        self._tell(record)

    def flush(self) -> None:
        """End the window now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        repeats, self._repeats = self._repeats, {}
        for record in repeats.values():
            if record is not None:
                self._tell(record)

    def _start_window(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW_S, self._end_window)

    def _end_window(self) -> None:
        self._timer = None
        self.flush()

    def _tell(self, record: Record) -> None:
        if not self._daemon.closed:  # closed: this process is about to end
            self.sent += 1
            self._daemon.tell("record", record.to_wire())


def _key_of(record: Record) -> tuple[Any, ...]:
    http = record.extra.get("http")
    return (
        record.sandbox,
        record.kind,
        record.verdict,
        record.reason,
        record.destination,
        record.rule,
        record.policy_revision,
        None if http is None else (http["method"], http["path"], http["status"]),
    )


def _merge(into: Record, other: Record) -> Record:
    """Both as one: the later one's particulars, counts and bytes added."""
    extra = dict(other.extra)
    for key in _SUMMED:
        if key in extra or key in into.extra:
            extra[key] = extra.get(key, 0) + into.extra.get(key, 0)
    if "duration_ms" in into.extra:
        extra["duration_ms"] = max(extra.get("duration_ms", 0), into.extra["duration_ms"])
    return replace(other, count=into.count + other.count, extra=extra)
