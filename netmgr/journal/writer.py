"""Owns: the thread that commits records in batches, waits out a full disk, and keeps retention.

Records wait in one bounded queue until they are committed. While the disk takes them that is a few
milliseconds; while it is full the queue is the ring that keeps them. Knows nothing of followers.
"""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from netmgr.journal.disk import JournalFile, Numbered

log = logging.getLogger(__name__)

BATCH_S: Final = 0.04  # records of this long are committed together; 0.2 s are promised in all
BATCH_ROWS: Final = 2000  # then no longer
RETRY_S: Final = 0.5  # between two attempts at a disk that is full
SYNC_S: Final = 1.0  # what a power cut may take at most
PRUNE_EVERY_S: Final = 30.0
RING_ROWS: Final = 10_000  # the contract's in-memory ring
STOP_S: Final = 10.0  # a disk that hangs longer does not keep the daemon alive
DAY_S: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How much stays: a number of records, and their greatest age in days."""

    rows: int
    days: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What the thread reports after each attempt.

    Attributes:
        committed: number of the newest committed record.
        problem: why the last attempt failed; None where it did not.
    """

    committed: int
    problem: Exception | None = None


class Writer:
    """Commits what is put into it, in order.

    Args:
        file: the journal's file; only this thread appends to it.
        keep: retention.
        report: called from the thread after each attempt.
    """

    def __init__(
        self, file: JournalFile, keep: Retention, report: Callable[[Progress], None]
    ) -> None:
        self._file = file
        self._keep = keep
        self._report = report
        self._committed = file.last_seq
        self._pending: deque[Numbered] = deque()
        self._wake = threading.Condition()
        self._hurry = False
        self._stopping = False
        self._prune_at = time.monotonic() + PRUNE_EVERY_S
        self._sync_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, record: Numbered) -> bool:
        """Take a record; False where the ring is full and it was not taken."""
        with self._wake:
            if len(self._pending) >= RING_ROWS:
                return False
            self._pending.append(record)
            if len(self._pending) in (1, BATCH_ROWS):
                self._wake.notify()
            return True

    def hurry(self) -> None:
        """Commit what waits at once."""
        with self._wake:
            self._hurry = True
            self._wake.notify()

    def waiting(self) -> list[Numbered]:
        """Records that are not committed yet, oldest first."""
        with self._wake:
            return list(self._pending)

    def stop(self) -> None:
        """Try once more to commit what waits, then end. Blocks for STOP_S at most."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as fault:
            # A fault of ours. The ring fills up, then new flows are refused: closed, not silent.
            log.exception("%s: the journal's writer ended", self._file.path)
            self._report(Progress(self._committed, fault))

    def _work(self) -> None:
        while True:
            batch, stopping = self._next_batch()
            problem = self._commit(batch) if batch else None
            if problem is None:
                self._keep_house(final=stopping)
            if stopping and (problem or not self._pending):
                return
            if problem is not None:
                self._rest(RETRY_S)

    def _next_batch(self) -> tuple[list[Numbered], bool]:
        with self._wake:
            if not self._pending and not self._stopping:
                self._wake.wait(self._idle_s())
            if self._pending and not self._stopping and not self._hurry:
                self._wake.wait_for(self._is_urgent, BATCH_S)
            self._hurry = False
            return list(islice(self._pending, BATCH_ROWS)), self._stopping

    def _is_urgent(self) -> bool:
        return self._hurry or self._stopping or len(self._pending) >= BATCH_ROWS

    def _idle_s(self) -> float:
        due = self._prune_at if self._sync_at is None else min(self._prune_at, self._sync_at)
        return max(0.0, due - time.monotonic())

    def _commit(self, batch: list[Numbered]) -> sqlite3.Error | None:
        try:
            self._file.append(batch)
        except sqlite3.Error as problem:
            self._report(Progress(self._committed, problem))
            return problem
        with self._wake:
            for _ in batch:
                self._pending.popleft()
        self._committed = batch[-1].seq
        if self._sync_at is None:
            self._sync_at = time.monotonic() + SYNC_S
        self._report(Progress(self._committed))
        return None

    def _keep_house(self, *, final: bool) -> None:
        now = time.monotonic()
        try:
            if self._sync_at is not None and (final or now >= self._sync_at):
                self._file.sync()
                self._sync_at = None
            if now >= self._prune_at:
                more = self._file.prune(self._keep.rows, time.time() - self._keep.days * DAY_S)
                self._prune_at = now + (BATCH_S if more else PRUNE_EVERY_S)
        except (OSError, sqlite3.Error) as problem:
            log.warning("%s: %s", self._file.path, problem)
            self._sync_at = None
            self._prune_at = now + PRUNE_EVERY_S

    def _rest(self, seconds: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping, seconds)
