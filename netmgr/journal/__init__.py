"""Owns: the decision records: numbering, counting of repeats, keeping, asking, following.

    journal = Journal(settings.journal_path, Retention(rows, days), repeat_s=..., on_available=...)
    await journal.start()
    journal.append(record.to_wire())           # from the loop's thread; never waits
    await journal.query(Filter(sandbox="a"))
    async for record in journal.subscribe(Filter(verdict="denied")): ...
    await journal.close()

A record is numbered when it is taken and shown to followers when it is committed, at most 50 ms
later; so a number that anybody has seen is never given again. The one exception is a full disk:
then followers see the ring, and a kill at that moment loses what they saw of it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from netmgr.errors import HostFailed, LimitExceeded, TryLater
from netmgr.journal.chain import ChainReport
from netmgr.journal.disk import JournalFile, Numbered, format_time
from netmgr.journal.filter import DEFAULT_LIMIT, MAX_LIMIT, Filter
from netmgr.journal.repeats import RecordBody, Repeats
from netmgr.journal.text import text_of
from netmgr.journal.writer import RING_ROWS, Progress, Retention, Writer
from netmgr.model import Record
from netmgr.reasons import Kind, Reason, Verdict

__all__ = ["DEFAULT_LIMIT", "MAX_LIMIT", "RING_ROWS", "Filter", "Journal", "Retention"]

log = logging.getLogger(__name__)

MAX_FOLLOWERS: Final = 64  # `observe -f` in this many terminals
RECENT_ROWS: Final = RING_ROWS  # published records in memory; slower followers read the file
CATCH_UP_ROWS: Final = 1000  # read from the file at a time
FLUSH_S: Final = 5.0  # a disk that takes longer than this for a batch is in trouble

# The contract's order; a record that lacks a part says null.
_FIELDS: Final = (
    "seq",
    "time",
    "sandbox",
    "tenant",
    "kind",
    "verdict",
    "reason",
    "rule",
    "policy_revision",
    "destination",
    "process",
    "http",
    "inference",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "count",
    "message",
    "remedy",
)
_BLANK: Final[RecordBody] = dict.fromkeys(_FIELDS)


class Journal:
    """The records of one daemon state.

    Args:
        path: the file; its directory exists.
        keep: retention.
        repeat_s: how long repeats are counted before they become a record.
        on_available: called in the loop with False when the ring is full, so that new allowed
            flows have to be refused, and with True when there is room again.
    """

    def __init__(
        self,
        path: Path,
        keep: Retention,
        *,
        repeat_s: float = 10.0,
        on_available: Callable[[bool], None] = lambda available: None,
    ) -> None:
        self.path = path
        self.available = True
        self._keep = keep
        self._on_available = on_available
        self._repeats = Repeats(repeat_s)
        self._problem: str | None = None
        self._lost = 0
        self._recent: deque[Numbered] = deque(maxlen=RECENT_ROWS)
        self._unpublished: deque[Numbered] = deque()
        self._last = 0  # number of the newest record that was taken
        self._published = 0  # ... that followers can see
        self._committed = 0  # ... that is on disk
        self._followers: set[asyncio.Event] = set()
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._reading = asyncio.Lock()
        self._running = False

    async def start(self) -> None:
        """Open the file and begin to write.

        Raises:
            HostFailed: the file cannot be opened, is damaged, or is newer than this program.
        """
        self._loop = asyncio.get_running_loop()
        self._file = JournalFile(self.path)
        self._last = self._published = self._committed = self._file.last_seq
        self._writer = Writer(self._file, self._keep, self._report)
        self._writer.start()
        self._running = True

    async def close(self) -> None:
        """Write what is counted and what waits, then close."""
        if not self._running:
            return
        for record in self._repeats.rest():
            self._write(record)
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.to_thread(self._writer.stop)
        await asyncio.sleep(0)  # the thread's last report
        for _, future in self._flushes:
            future.cancel()
        for event in self._followers:
            event.set()
        async with self._reading:
            self._file.close()

    def append(self, record: RecordBody) -> None:
        """Take a decision (`Record.to_wire()`), to be written or counted."""
        now = time.monotonic()
        write = self._repeats.add(record, now)
        if write is not None:
            self._write(write)
        self._schedule(now)

    @property
    def last_seq(self) -> int:
        """The number of the newest record that followers can see."""
        return self._published

    def require_writable(self) -> None:
        """Refuse a change while its record could not be kept.

        Raises:
            HostFailed: the disk is full or fails.
        """
        if self._problem is not None:
            raise HostFailed(
                f"{self.path}: decision records cannot be written ({self._problem}); "
                "changes are refused until they can"
            )

    async def flush(self) -> None:
        """Wait until every record that was taken before is on disk; counted repeats are not.

        Raises:
            TryLater: the disk does not take them.
        """
        last = self._last
        if last <= self._committed:
            return
        if self._problem is not None:
            raise self._not_written()
        future: asyncio.Future[None] = self._loop.create_future()
        self._flushes.append((last, future))
        self._writer.hurry()
        try:
            await asyncio.wait_for(future, FLUSH_S)
        except TimeoutError:
            raise self._not_written() from None

    async def query(self, wanted: Filter) -> list[dict[str, Any]]:
        """Records, oldest first: with `after` the first past it, else the newest ones.

        Raises:
            HostFailed: the file cannot be read.
        """
        with suppress(TryLater):  # what the disk does not take is read from the ring below
            await self.flush()
        waiting = self._writer.waiting()  # before the file is read: nothing slips between the two
        records = await self._read(wanted)
        stored = {record["seq"] for record in records}
        after = -1 if wanted.after is None else wanted.after
        records += [
            item.record
            for item in waiting
            if item.seq > after
            and item.seq not in stored
            and wanted.matches(item.record, item.time)
        ]
        return records[-wanted.limit :] if wanted.after is None else records[: wanted.limit]

    def counted(self, request_id: str) -> dict[str, Any] | None:
        """The record in which a model call is counted at the moment; it has no number yet."""
        found = self._repeats.counted(request_id)
        return None if found is None else _full(0, found) | {"seq": None}

    def subscribe(self, wanted: Filter) -> AsyncGenerator[dict[str, Any], None]:
        """Records that are published from now on, for as long as the caller asks.

        With `after`, everything past it comes first; with `since`, the newest `limit` since then.
        A caller that is slower than the records reads them from the file later. Where retention
        was faster than the caller, one finding that bears the last number stands for what is gone.

        Raises:
            LimitExceeded: there are MAX_FOLLOWERS already.
        """
        if len(self._followers) >= MAX_FOLLOWERS:
            raise LimitExceeded(f"{MAX_FOLLOWERS} followers already read the journal")
        return self._follow(wanted, self._published if wanted.after is None else wanted.after)

    async def _follow(self, wanted: Filter, cursor: int) -> AsyncGenerator[dict[str, Any], None]:
        event = asyncio.Event()
        self._followers.add(event)
        try:
            if wanted.after is None and wanted.since is not None:
                for record in await self.query(wanted):
                    if record["seq"] <= cursor:
                        yield record
            while self._running:
                event.clear()
                batch = await self._after(cursor)
                if not batch:
                    await event.wait()
                    continue
                if batch[0].seq > cursor + 1:
                    yield _missed(cursor, batch[0].seq - 1)
                cursor = batch[-1].seq
                for item in batch:
                    if wanted.matches(item.record, item.time):
                        yield item.record
        finally:
            self._followers.discard(event)

    # -- writing -----------------------------------------------------------------------------

    def _write(self, record: RecordBody) -> None:
        if not self._running:
            log.warning("%s: closed; not written: %s", self.path, record["message"])
            return
        number = self._last + 1
        at = float(record["time"])
        full = _full(number, record)
        item = Numbered(number, at, full, text_of(full))
        if self._writer.put(item):
            self._last = number
            self._unpublished.append(item)
            if self._problem is not None:
                self._publish(number)
            return
        self._lost += record["count"]
        if self.available:
            self.available = False
            self._on_available(False)

    def _schedule(self, now: float) -> None:
        due = self._repeats.next_due()
        if self._timer is None and due is not None and self._running:
            self._timer = self._loop.call_later(max(0.0, due - now), self._write_due)

    def _write_due(self) -> None:
        self._timer = None
        now = time.monotonic()
        for record in self._repeats.due(now):
            self._write(record)
        self._schedule(now)

    def _report(self, progress: Progress) -> None:
        """Called from the writer's thread."""
        with suppress(RuntimeError):  # the loop is gone: nobody is left to be told
            self._loop.call_soon_threadsafe(self._progress, progress)

    def _progress(self, progress: Progress) -> None:
        self._committed = progress.committed
        if progress.problem is not None:
            if self._problem is None:
                log.error("%s: records wait in memory: %s", self.path, progress.problem)
            self._problem = str(progress.problem)
            self._end_flushes(self._last, self._not_written())
            if self._unpublished:
                self._publish(self._last)
            return
        if self._problem is not None:
            log.warning("%s: records are written again", self.path)
        self._problem = None
        self._publish(progress.committed)
        self._end_flushes(progress.committed, None)
        if not self.available:
            self._recover()

    def _end_flushes(self, upto: int, problem: TryLater | None) -> None:
        for waiting in [flush for flush in self._flushes if flush[0] <= upto]:
            self._flushes.remove(waiting)
            if waiting[1].done():
                continue
            if problem is None:
                waiting[1].set_result(None)
            else:
                waiting[1].set_exception(problem)

    def _not_written(self) -> TryLater:
        return TryLater(f"{self.path}: records wait in memory: {self._problem}")

    def _recover(self) -> None:
        self.available = True
        lost, self._lost = self._lost, 0
        self._write(_lost(lost))
        self._on_available(True)

    def _publish(self, upto: int) -> None:
        while self._unpublished and self._unpublished[0].seq <= upto:
            item = self._unpublished.popleft()
            self._recent.append(item)
            self._published = item.seq
        for event in self._followers:
            event.set()

    # -- reading -----------------------------------------------------------------------------

    async def _after(self, cursor: int) -> list[Numbered]:
        """Published records past a number; a first one that is not the next tells a gap."""
        if cursor >= self._published:
            return []
        if self._recent and self._recent[0].seq <= cursor + 1:
            return [item for item in self._recent if item.seq > cursor]
        rows = await self._read(Filter(after=cursor, limit=CATCH_UP_ROWS))
        stored = [Numbered(row["seq"], _epoch(row["time"]), row, "") for row in rows]
        return stored or list(self._recent)

    async def verify(self) -> ChainReport:
        """Whether the records on disk are those that were written; read in a thread.

        Raises:
            TryLater: the journal is not open.
        """
        await self.flush()
        async with self._reading:
            if not self._running:
                raise TryLater("the journal is closed")
            return await asyncio.to_thread(self._file.verify)

    async def _read(self, wanted: Filter) -> list[dict[str, Any]]:
        async with self._reading:
            if not self._running:
                return []
            return await asyncio.to_thread(self._file.read, wanted)


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _full(seq: int, record: RecordBody) -> RecordBody:
    full = {**_BLANK, **record}
    full["seq"], full["time"] = seq, format_time(float(record["time"]))
    return full


def _missed(after: int, last: int) -> RecordBody:
    number = last - after
    message = f"records {after + 1} to {last} are no longer kept"
    return _full(last, _finding(message, number))


def _lost(number: int) -> RecordBody:
    message = (
        f"{number} decisions were not recorded: the disk was full, and so was the memory that is "
        f"kept for {RING_ROWS} records"
    )
    return _finding(message, number)


def _finding(message: str, number: int) -> RecordBody:
    """About the journal itself; `number` is how many records it speaks of."""
    return Record(
        time=time.time(),
        sandbox=None,
        kind=Kind.FINDING,
        verdict=Verdict.FAILED,
        reason=Reason.JOURNAL_UNAVAILABLE,
        message=message,
        count=max(1, number),
    ).to_wire()
