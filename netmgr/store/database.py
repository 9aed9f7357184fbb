"""Owns: the SQLite connection of the store: durability, transactions, migrations, its errors.

One process and one thread at a time write. A transaction is durable when it ends: WAL with
synchronous=FULL syncs the log at each commit (sqlite.org/wal.html). Knows nothing of the tables.
"""

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from netmgr.errors import HostFailed, NetmgrError, TryLater
from netmgr.store.schema import MIGRATIONS

BUSY_TIMEOUT_MS: Final = 2000  # a backup that reads the database may hold it for a moment
STATE_ID_BYTES: Final = 16

_PRAGMAS: Final = (
    f"busy_timeout = {BUSY_TIMEOUT_MS}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "trusted_schema = OFF",
)
_FULL: Final = frozenset({sqlite3.SQLITE_FULL})
_LOCKED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PRIMARY_CODE: Final = 0xFF  # extended result codes carry the primary one in the low byte


class Database:
    """One open database file, with its own small tables: meta and counters.

    Raises:
        HostFailed: the file cannot be opened, is damaged, or is newer than this program.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._depth = 0  # of transactions within each other
        self._failed = False
        self._lock = threading.RLock()
        with self._errors():
            self._connection = _open(path)
            try:
                self._migrate()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the file; the log is merged into it."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. One within another belongs to the outer one; when it fails, so has the
        outer one, even where the failure is caught in between.

        Raises:
            HostFailed: the disk is full, read-only or failing. Nothing was changed.
            TryLater: another program holds the database. Nothing was changed.
        """
        with self._lock, self._errors():
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
                self._failed = False
            self._depth += 1
            try:
                yield
                self._refuse_failed()
            except BaseException:
                self._failed = True
                self._depth -= 1
                self._roll_back()
                raise
            self._depth -= 1
            if self._depth == 0:
                self._commit()

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Run one statement within the transaction of the caller, or read."""
        with self._lock, self._errors():
            self._refuse_failed()
            return self._connection.execute(sql, values)

    def execute_each(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row, within the transaction of the caller."""
        with self._lock, self._errors():
            self._refuse_failed()
            self._connection.executemany(sql, rows)

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row of a query."""
        row: sqlite3.Row | None = self.execute(sql, *values).fetchone()
        return row

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Every row of a query."""
        return self.execute(sql, *values).fetchall()

    def count(self, name: str) -> int:
        """The next value of a counter; it stays taken once the transaction is through."""
        with self.transaction():
            row = self.one(
                "INSERT INTO counters VALUES (?, 1) "
                "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
                name,
            )
        assert row is not None
        return int(row["value"])

    def counted(self, name: str) -> int:
        """The last value that a counter gave."""
        row = self.one("SELECT value FROM counters WHERE name = ?", name)
        return int(row["value"]) if row else 0

    def meta(self, key: str) -> str | None:
        """A fact about the database as a whole."""
        row = self.one("SELECT value FROM meta WHERE key = ?", key)
        return str(row["value"]) if row else None

    def _refuse_failed(self) -> None:
        if self._depth and self._failed:
            raise RuntimeError("a part of this transaction failed, and the rest went on")

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        # After some errors (full disk, I/O) SQLite has rolled back by itself already.
        if self._depth == 0 and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _migrate(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise HostFailed(
                f"{self.path}: written by a newer netmgr (schema {version}, this program knows "
                f"{len(MIGRATIONS)}); start the newer one, or move the state directory away"
            )
        for number in range(version, len(MIGRATIONS)):
            self._connection.executescript(
                f"BEGIN IMMEDIATE;{MIGRATIONS[number]}PRAGMA user_version = {number + 1};COMMIT;"
            )
        with self.transaction():
            state_id = secrets.token_hex(STATE_ID_BYTES)
            self.execute("INSERT OR IGNORE INTO meta VALUES ('state_id', ?)", state_id)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise  # a broken promise between tables and code: a fault, not the host's
        except sqlite3.Error as problem:
            raise explain_error(self.path, problem) from problem


def explain_error(path: Path, problem: sqlite3.Error) -> NetmgrError:
    """What an SQLite error means to whoever has to act."""
    code = getattr(problem, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code in _FULL:
        return HostFailed(f"{path}: no space left on its disk; nothing was changed", cause="full")
    if code in _LOCKED:
        return TryLater(f"{path}: another program holds the database; nothing was changed")
    if code == sqlite3.SQLITE_READONLY:
        return HostFailed(f"{path}: the file or its disk is read-only; nothing was changed")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return HostFailed(f"{path}: damaged ({problem}); restore it or move it away")
    return HostFailed(f"{path}: {problem}; nothing was changed")


def _open(path: Path) -> sqlite3.Connection:
    try:
        # SQLite would create it with the umask; credentials' blobs are root's business alone.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except OSError as problem:
        raise HostFailed(f"{path}: cannot be opened: {problem.strerror}") from problem
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
