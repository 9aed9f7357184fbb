"""Owns: everything encrypted that the store holds, as one list: for another key to be put over it.

Knows nothing of keys. Each place is what `Vault.seal` was told.
"""
# ruff: noqa: S608 - what is put into the SQL text are constants of this file

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from netmgr.keys.vault import Sealed
from netmgr.store.database import Database

Place = tuple[str, ...]
Reseal = Callable[[Sealed, Place], Sealed]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table with encrypted values. `columns` are its primary key, and the place after `word`."""

    name: str
    word: str
    columns: tuple[str, ...]
    value: str


_TABLES: Final = (
    _Table("credentials", "provider", ("provider", "key"), "value"),
    _Table("refresh_secrets", "refresh", ("provider", "key", "name"), "value"),
    _Table("authorities", "authority", ("sandbox_id",), "key"),
)


class SealedValues:
    """All encrypted values."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def count(self, *, but: str = "") -> int:
        """How many there are; with `but`, how many are not under that key."""
        found = 0
        for table in _TABLES:
            sql = f"SELECT count(*) AS n FROM {table.name} WHERE key_id != ?"
            row = self._db.one(sql, but)
            found += int(row["n"]) if row else 0
        return found

    def reseal(self, key_id: str, reseal: Reseal) -> int:
        """Put every value under that key, all or none.

        Args:
            reseal: opens a value of a place, and seals it again.

        Returns:
            how many values were under another.
        """
        done = 0
        with self._db.transaction():
            for table in _TABLES:
                done += self._reseal(table, key_id, reseal)
        return done

    def _reseal(self, table: _Table, key_id: str, reseal: Reseal) -> int:
        rows = self._db.all(f"SELECT * FROM {table.name} WHERE key_id != ?", key_id)
        where = " AND ".join(f"{column} = ?" for column in table.columns)
        for row in rows:
            place = (table.word, *(str(row[column]) for column in table.columns))
            fresh = reseal(Sealed(row["key_id"], row[table.value]), place)
            self._db.execute(
                f"UPDATE {table.name} SET key_id = ?, {table.value} = ? WHERE {where}",
                fresh.key_id,
                fresh.blob,
                *(row[column] for column in table.columns),
            )
        return len(rows)
