"""Owns: the table of what providers store, and for which sandbox it was made."""

from collections.abc import Iterable

from netmgr.store.database import Database

Row = tuple[int, str, str, float]  # sandbox id, provider, the object's id, when it was seen


class ProviderObjects:
    """Ids of responses, conversations and the like, which a provider keeps under the one key."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self) -> tuple[Row, ...]:
        """Every object, the oldest first."""
        rows = self._db.all("SELECT * FROM provider_objects ORDER BY made")
        return tuple((row["sandbox_id"], row["provider"], row["id"], row["made"]) for row in rows)

    def change(self, added: Iterable[Row], gone: Iterable[tuple[str, str]]) -> None:
        """Add objects of sandboxes that exist, and forget others by (provider, id)."""
        with self._db.transaction():
            for provider, name in gone:
                self._db.execute(
                    "DELETE FROM provider_objects WHERE provider = ? AND id = ?", provider, name
                )
            for row in added:
                self._db.execute(
                    "INSERT OR IGNORE INTO provider_objects "
                    "SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM sandboxes WHERE id = ?)",
                    *row,
                    row[0],
                )
