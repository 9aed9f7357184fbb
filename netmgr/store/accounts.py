"""Owns: the tables of the accounts room: limits, prices, what is used of limits, usage by hour.

Knows nothing of what a measure means.
"""
# ruff: noqa: S608 - what is put into the SQL text are constants of this file

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from netmgr.accounts.ledger import Row
from netmgr.accounts.usage import Key, Sums
from netmgr.store.database import Database

# Sandbox id, tenant; both None: what sandboxes have that have no own.
Subject = tuple[int | None, str | None]

_SUMS: Final = tuple(Sums.__slots__)
_WHERE: Final = "WHERE sandbox_id IS ? AND tenant IS ?"
# What usage can be shown by -> the SQL of it.
GROUPS: Final[Mapping[str, str]] = {
    "model": "model",
    "provider": "provider",
    "sandbox": "sandbox",
    "tenant": "tenant",
    "hour": "hour",
    "day": "hour / 86400 * 86400",
}


class Accounts:
    """Limits, prices, what is used."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- limits and prices -----------------------------------------------------------------

    def limits(self) -> dict[Subject, dict[str, int | None]]:
        """All limits that were set, by subject."""
        rows = self._db.all("SELECT * FROM limits ORDER BY sandbox_id, tenant")
        return {(row["sandbox_id"], row["tenant"]): json.loads(row["doc"]) for row in rows}

    def put_limits(self, subject: Subject, doc: Mapping[str, int | None]) -> None:
        """Replace a subject's limits; without any, it has no row."""
        with self._db.transaction():
            self._db.execute(f"DELETE FROM limits {_WHERE}", *subject)
            if doc:
                self._db.execute("INSERT INTO limits VALUES (?, ?, ?)", *subject, json.dumps(doc))

    def prices(self) -> tuple[str, str]:
        """The price file and what it was called; '' where there is none."""
        row = self._db.one("SELECT text, source FROM prices")
        return (row["text"], row["source"]) if row else ("", "")

    def put_prices(self, text: str, source: str) -> None:
        """Replace the price file; '' removes it."""
        with self._db.transaction():
            self._db.execute("DELETE FROM prices")
            if text:
                self._db.execute("INSERT INTO prices VALUES (1, ?, ?)", text, source)

    # -- what is used ----------------------------------------------------------------------

    def used(self) -> list[Row]:
        """What was used of limits."""
        rows = self._db.all("SELECT * FROM spent")
        return [(row["subject"], row["measure"], row["slot"], row["amount"]) for row in rows]

    def add(
        self, spent: Mapping[tuple[str, str], Iterable[Row]], usage: Mapping[Key, Sums]
    ) -> None:
        """Store what is used of limits (the rows of those that changed) and add to the usage."""
        columns = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
        marks = ", ".join("?" * (len(Key._fields) + len(_SUMS)))
        with self._db.transaction():
            for key, rows in spent.items():
                self._db.execute("DELETE FROM spent WHERE subject = ? AND measure = ?", *key)
                for row in rows:
                    self._db.execute("INSERT INTO spent VALUES (?, ?, ?, ?)", *row)
            for place, sums in usage.items():
                self._db.execute(
                    f"INSERT INTO usage VALUES ({marks}) ON CONFLICT DO UPDATE SET {columns}",
                    *place,
                    *(getattr(sums, name) for name in _SUMS),
                )

    def prune(self, before: int) -> int:
        """Forget the usage of hours before that time; how many rows went."""
        with self._db.transaction():
            return self._db.execute("DELETE FROM usage WHERE hour < ?", before).rowcount

    def usage(
        self, by: str, since: int, *, sandbox: str | None = None, tenant: str | None = None
    ) -> list[dict[str, Any]]:
        """Sums by one of GROUPS, the largest first, or in order of time.

        Args:
            since: epoch seconds; hours that begin before it are left out.
        """
        column = GROUPS[by]
        sums = ", ".join(f"sum({name}) AS {name}" for name in _SUMS)
        order = column if by in ("hour", "day") else "sum(tokens_in) + sum(tokens_out) DESC"
        rows = self._db.all(
            f"SELECT {column} AS what, {sums} FROM usage WHERE hour >= ? "
            "AND (? IS NULL OR sandbox = ?) AND (? IS NULL OR tenant = ?) "
            f"GROUP BY {column} ORDER BY {order}, {column}",
            since,
            sandbox,
            sandbox,
            tenant,
            tenant,
        )
        return [dict(row) for row in rows]
