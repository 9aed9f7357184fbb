"""Owns: the journal's file: append, read, retention. Used from one writer and one reader thread.

WAL with synchronous=NORMAL: a killed process loses nothing that was committed. What only a power
cut could take is bounded by syncing the log once a second (`sync`), not at each commit, so that a
busy sandbox does not make the store's own commits wait. Knows nothing of repeats and followers.
"""

import json
import os
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from netmgr.errors import HostFailed
from netmgr.journal.chain import ChainReport, check_chain, link
from netmgr.journal.filter import Filter, target_of

SCHEMA_VERSION: Final = 2
BUSY_TIMEOUT_MS: Final = 1000
PRUNE_ROWS: Final = 5000  # rows deleted per transaction, so that no append waits long

_SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    sandbox TEXT,
    kind TEXT NOT NULL,
    verdict TEXT NOT NULL,
    target TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX records_sandbox ON records (sandbox, seq);
CREATE INDEX records_time ON records (time);
CREATE TABLE last (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL) STRICT;
INSERT INTO last VALUES (1, 0);
PRAGMA user_version = 1;
COMMIT;
"""
# Every record carries a hash of itself and of the hash before it: netmgr.journal.chain.
_CHAINED: Final = """
BEGIN IMMEDIATE;
ALTER TABLE records ADD COLUMN chain TEXT NOT NULL DEFAULT '';
ALTER TABLE last ADD COLUMN chain TEXT NOT NULL DEFAULT '';
PRAGMA user_version = 2;
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A record that has its number.

    Attributes:
        time: epoch seconds.
        body: the record as JSON, made where a record that cannot be written is noticed.
    """

    seq: int
    time: float
    record: dict[str, Any]
    body: str


class JournalFile:
    """The records on disk.

    Raises:
        HostFailed: it cannot be opened, is damaged, or is newer than this program.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._chain = ""
        with ExitStack() as undo:
            try:
                os.close(
                    os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                )
                self._writer = _connect(path)
                undo.callback(self._writer.close)
                self._prepare()
                self._reader = _connect(path)
                undo.callback(self._reader.close)
                self._reader.execute("PRAGMA query_only = ON")
                # No lock of SQLite's is on the log, so this descriptor cannot drop one (fcntl(2)).
                self._log = os.open(f"{path}-wal", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except (OSError, sqlite3.Error) as problem:
                raise HostFailed(
                    f"{path}: cannot be opened: {problem}; restore it, or move it away: then a new "
                    "journal begins"
                ) from problem
            undo.pop_all()

    def close(self) -> None:
        """Close the file; the log is merged into it."""
        os.close(self._log)
        self._reader.close()
        self._writer.close()

    @property
    def last_seq(self) -> int:
        """The number of the newest record that was ever committed."""
        return int(self._writer.execute("SELECT seq FROM last").fetchone()[0])

    def append(self, records: Sequence[Numbered]) -> None:
        """Commit records, all or none.

        Raises:
            sqlite3.Error: the disk is full or fails; nothing was written.
        """
        chain = self._chain
        rows = []
        for item in records:
            chain = link(chain, item.body)
            rows.append((*_row(item), chain))
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            self._writer.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._writer.execute("UPDATE last SET seq = ?, chain = ?", (records[-1].seq, chain))
            self._writer.execute("COMMIT")
        except sqlite3.Error:
            if self._writer.in_transaction:  # not where SQLite has rolled back by itself
                self._writer.execute("ROLLBACK")
            raise
        self._chain = chain

    def sync(self) -> None:
        """Make what was committed survive a power cut."""
        os.fdatasync(self._log)

    def prune(self, keep_rows: int, oldest: float) -> int:
        """Delete some records that are too many or too old; how many went.

        Args:
            keep_rows: how many stay.
            oldest: epoch seconds before which none stays.
        """
        gone = 0
        for condition, bound, order in (
            ("seq <= ?", self.last_seq - keep_rows, "seq"),
            ("time < ?", oldest, "time"),
        ):
            gone += self._writer.execute(
                "DELETE FROM records WHERE seq IN (SELECT seq FROM records "  # noqa: S608 - constants
                f"WHERE {condition} ORDER BY {order} LIMIT {PRUNE_ROWS})",
                (bound,),
            ).rowcount
        return gone

    def read(self, wanted: Filter) -> list[dict[str, Any]]:
        """Stored records, oldest first: with `after` the first ones past it, else the newest."""
        where, values = wanted.where()
        order = "DESC" if wanted.after is None else "ASC"
        if wanted.after is not None:
            where += " AND seq > ?"
            values.append(wanted.after)
        rows = self._reader.execute(
            f"SELECT body FROM records WHERE {where} ORDER BY seq {order} LIMIT ?",  # noqa: S608 - Filter.where gives constants
            (*values, wanted.limit),
        ).fetchall()
        if wanted.after is None:
            rows.reverse()
        return [json.loads(row[0]) for row in rows]

    def verify(self) -> ChainReport:
        """Whether the stored records are those that were written, one after the other."""
        rows = self._reader.execute("SELECT seq, body, chain FROM records ORDER BY seq")
        last = self._reader.execute("SELECT seq, chain FROM last").fetchone()
        return check_chain(((row[0], row[1], row[2]) for row in rows), last[0], last[1])

    def oldest_seq(self) -> int | None:
        """The number of the oldest stored record."""
        row = self._reader.execute("SELECT min(seq) FROM records").fetchone()
        return None if row[0] is None else int(row[0])

    def _prepare(self) -> None:
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise HostFailed(f"{self.path}: written by a newer netmgr (schema {version})")
        if version == 0:
            self._writer.executescript(_SCHEMA)
        if version < SCHEMA_VERSION:
            self._writer.executescript(_CHAINED)
        self._chain = str(self._writer.execute("SELECT chain FROM last").fetchone()[0])


def format_time(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds."""
    whole, part = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_format_second(whole)}.{part:06d}Z"


@lru_cache(maxsize=4)  # records come in bursts
def _format_second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).isoformat().removesuffix("+00:00")


def _row(item: Numbered) -> tuple[Any, ...]:
    record = item.record
    columns = (record["sandbox"], record["kind"], record["verdict"], target_of(record))
    return item.seq, item.time, *columns, item.body


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    pragmas = (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "trusted_schema = OFF",
    )
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
