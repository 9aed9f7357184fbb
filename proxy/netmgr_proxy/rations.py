"""Owns: what the limits of a policy's entry leave to a flow, and the refusal when nothing is left.

Knows nothing of sockets. Who has no limit has no ration, and pays nothing.
"""

from collections import Counter
from typing import Final

from netmgr.policy.decision import Decision
from netmgr.policy.limits import EntryLimits
from netmgr.policy.rules import entry_of
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason
from netmgr_proxy.tally import Key, Tally, TallyFull, key_of
from netmgr_proxy.wire.face import Refusal

UNBOUNDED: Final = 1 << 62


class Ration:
    """One entry's limits, for one sandbox's flow."""

    __slots__ = ("_entry", "_hits", "_key", "_limits", "_tally")

    def __init__(
        self, entry: str, limits: EntryLimits, key: Key, tally: Tally, hits: Counter[str]
    ) -> None:
        self._entry = entry
        self._limits = limits
        self._key = key
        self._tally = tally
        self._hits = hits

    def left(self) -> int:
        """Bytes that may still be moved within this hour."""
        most = self._limits.bytes_per_hour
        return UNBOUNDED if most is None else max(0, most - self._tally.used(self._key))

    def left_of_request(self, sent: int) -> int:
        """Bytes that may follow on `sent` ones of a request."""
        most = self._limits.request_bytes
        return UNBOUNDED if most is None else max(0, most - sent)

    def take(self, moved: int) -> bool:
        """Count bytes that are about to be moved; False: they may not be."""
        if self._limits.bytes_per_hour is None:
            return True
        if moved > self.left():
            return False
        try:
            self._tally.add(self._key, moved)
        except TallyFull:
            return False
        return True

    def hour_is_over(self) -> Refusal:
        """The refusal when `left` says no; counted."""
        most = self._limits.bytes_per_hour
        self._hits["bytes_per_hour"] += 1
        why = f"entry {self._entry!r} allows {most} bytes per hour (limits.bytes_per_hour)"
        return Refusal(Reason.LIMIT_EXCEEDED, why, self._entry)

    def request_is_too_large(self) -> Refusal:
        """The refusal when `left_of_request` says no; counted."""
        most = self._limits.request_bytes
        self._hits["request_bytes"] += 1
        why = f"entry {self._entry!r} allows {most} bytes per request (limits.request_bytes)"
        return Refusal(Reason.LIMIT_EXCEEDED, why, self._entry, status=413)


class Rations:
    """All rations of one worker.

    Attributes:
        hits: how often each limit was met, by its name.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.hits: Counter[str] = Counter(request_bytes=0, bytes_per_hour=0)

    def of(self, sandbox: SandboxView, decision: Decision) -> Ration | None:
        """What limits a flow that this decision lets through; None: nothing does."""
        limits = sandbox.policy.limits_of(decision.rule)
        if limits is None:
            return None
        entry = entry_of(decision.rule or "")
        key = key_of(sandbox.name, sandbox.address, entry)
        return Ration(entry, limits, key, self._tally, self.hits)
