"""Owns: the tables of how credentials are renewed, with the encrypted part of what that takes."""

import json
import sqlite3
from collections.abc import Mapping

from netmgr.errors import NotFound
from netmgr.keys.vault import Sealed
from netmgr.store.database import Database
from netmgr.store.rows import Refresh


class Refreshes:
    """Refreshes by (provider, credential). They go with their provider."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put(self, refresh: Refresh, secrets: Mapping[str, Sealed]) -> None:
        """Store one, whole, in place of what was there."""
        provider, key = refresh.provider, refresh.key
        with self._db.transaction():
            self.remove(provider, key)
            self._db.execute(
                "INSERT INTO refreshes VALUES (?, ?, ?, ?, ?, ?, ?)",
                provider,
                key,
                refresh.strategy,
                json.dumps(dict(refresh.material), sort_keys=True),
                refresh.updated,
                refresh.renewed,
                refresh.failed,
            )
            for name, sealed in secrets.items():
                self._put_secret(provider, key, name, sealed)

    def note(
        self,
        provider: str,
        key: str,
        *,
        renewed: float | None = None,
        failed: str = "",
        secrets: Mapping[str, Sealed] | None = None,
    ) -> None:
        """What came of an attempt.

        Args:
            renewed: when it succeeded; None leaves the time of the last success.
            secrets: what the answer replaced (a refresh token that is used once).
        """
        with self._db.transaction():
            self._db.execute(
                "UPDATE refreshes SET renewed = ifnull(?, renewed), failed = ? "
                "WHERE provider = ? AND key = ?",
                renewed,
                failed,
                provider,
                key,
            )
            for name, sealed in (secrets or {}).items():
                self._put_secret(provider, key, name, sealed)

    def find(self, provider: str, key: str) -> Refresh | None:
        """The refresh of that credential, or None."""
        row = self._db.one("SELECT * FROM refreshes WHERE provider = ? AND key = ?", provider, key)
        return self._refresh(row) if row else None

    def get(self, provider: str, key: str) -> Refresh:
        """The refresh of that credential.

        Raises:
            NotFound: it is not renewed by itself.
        """
        found = self.find(provider, key)
        if found is None:
            raise NotFound(
                f"credential {key} of provider {provider} is not renewed by itself; "
                f"netmgr provider refresh configure {provider} --key {key} --strategy ... does that"
            )
        return found

    def of(self, provider: str) -> tuple[Refresh, ...]:
        """Every refresh of a provider, by credential."""
        rows = self._db.all("SELECT * FROM refreshes WHERE provider = ? ORDER BY key", provider)
        return tuple(map(self._refresh, rows))

    def all(self) -> tuple[Refresh, ...]:
        """Every refresh."""
        return tuple(
            map(self._refresh, self._db.all("SELECT * FROM refreshes ORDER BY provider, key"))
        )

    def secrets(self, provider: str, key: str) -> dict[str, Sealed]:
        """The encrypted part of one refresh, by name."""
        rows = self._db.all(
            "SELECT * FROM refresh_secrets WHERE provider = ? AND key = ?", provider, key
        )
        return {row["name"]: Sealed(row["key_id"], row["value"]) for row in rows}

    def remove(self, provider: str, key: str) -> bool:
        """Forget one; whether there was one."""
        with self._db.transaction():
            cursor = self._db.execute(
                "DELETE FROM refreshes WHERE provider = ? AND key = ?", provider, key
            )
            return cursor.rowcount > 0

    def _put_secret(self, provider: str, key: str, name: str, sealed: Sealed) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO refresh_secrets VALUES (?, ?, ?, ?, ?)",
            provider,
            key,
            name,
            sealed.key_id,
            sealed.blob,
        )

    def _refresh(self, row: sqlite3.Row) -> Refresh:
        names = self._db.all(
            "SELECT name FROM refresh_secrets WHERE provider = ? AND key = ? ORDER BY name",
            row["provider"],
            row["key"],
        )
        return Refresh(
            provider=row["provider"],
            key=row["key"],
            strategy=row["strategy"],
            material=json.loads(row["material"]),
            updated=row["updated"],
            secrets=tuple(name["name"] for name in names),
            renewed=row["renewed"],
            failed=row["failed"],
        )
