"""Owns: the tables of providers, their encrypted credentials, and the inference routes to them."""
# ruff: noqa: S608 - what is put into the SQL text are constants of this file

import json
import sqlite3
from collections.abc import Mapping

from netmgr.errors import Conflict, NotFound, did_you_mean
from netmgr.keys.vault import Sealed
from netmgr.store.database import Database
from netmgr.store.rows import InferenceRoute, Provider


class Providers:
    """Providers and their credentials. A credential leaves only as it is kept: encrypted."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, provider: Provider, credentials: Mapping[str, Sealed]) -> None:
        """Store a new provider; its `expires` go with the credentials.

        Raises:
            Conflict: the name is taken.
        """
        with self._db.transaction():
            if self.find(provider.name) is not None:
                raise Conflict(f"provider {provider.name!r} exists")
            self._db.execute(
                "INSERT INTO providers VALUES (?, ?, ?, ?, ?)",
                provider.name,
                provider.type,
                _config(provider.config),
                provider.created,
                provider.updated,
            )
            self._put_credentials(provider.name, credentials)
            self._put_expiries(provider.name, provider.expires)

    def update(
        self,
        name: str,
        now: float,
        *,
        config: Mapping[str, str] | None = None,
        credentials: Mapping[str, Sealed | None] | None = None,
        expires: Mapping[str, float | None] | None = None,
        unverify: bool = False,
    ) -> Provider:
        """Replace the configuration where one is given, and single credentials (None deletes).

        Args:
            expires: when credentials end; None is never. A new credential has no end of old.
            unverify: no probe has seen what its routes come to now.

        Raises:
            NotFound: there is no such provider.
        """
        with self._db.transaction():
            provider = self.get(name)
            self._db.execute(
                "UPDATE providers SET config = ?, updated = ? WHERE name = ?",
                _config(provider.config if config is None else config),
                now,
                name,
            )
            self._put_credentials(name, credentials or {})
            self._put_expiries(name, expires or {})
            if unverify:
                self._db.execute("UPDATE inference SET verified = NULL WHERE provider = ?", name)
        return self.get(name)

    def find(self, name: str) -> Provider | None:
        """The provider of that name, or None."""
        row = self._db.one("SELECT * FROM providers WHERE name = ?", name)
        return self._provider(row) if row else None

    def get(self, name: str) -> Provider:
        """The provider of that name.

        Raises:
            NotFound: names the nearest one.
        """
        provider = self.find(name)
        if provider is None:
            names = [row["name"] for row in self._db.all("SELECT name FROM providers")]
            raise NotFound(f"there is no provider {name!r}{did_you_mean(name, names)}")
        return provider

    def all(self) -> tuple[Provider, ...]:
        """Every provider, by name."""
        return tuple(map(self._provider, self._db.all("SELECT * FROM providers ORDER BY name")))

    def credentials(self, name: str) -> dict[str, Sealed]:
        """The encrypted credentials of a provider by their key's name."""
        rows = self._db.all("SELECT * FROM credentials WHERE provider = ? ORDER BY key", name)
        return {row["key"]: Sealed(row["key_id"], row["value"]) for row in rows}

    def remove(self, name: str, *, force: bool = False) -> tuple[InferenceRoute, ...]:
        """Forget a provider and its credentials.

        Returns:
            the routes that went with it.

        Raises:
            NotFound: there is no such provider.
            Conflict: inference routes lead to it and `force` is not set.
        """
        with self._db.transaction():
            self.get(name)
            routes = _routes(self._db, "WHERE provider = ?", name)
            if routes and not force:
                raise Conflict(
                    f"provider {name!r} answers {len(routes)} inference routes; "
                    "delete them first, or force",
                    scopes=[route.scope for route in routes],
                )
            self._db.execute("DELETE FROM inference WHERE provider = ?", name)
            self._db.execute("DELETE FROM providers WHERE name = ?", name)
        return routes

    def _provider(self, row: sqlite3.Row) -> Provider:
        keys = self._db.all(
            "SELECT key, expires FROM credentials WHERE provider = ? ORDER BY key", row["name"]
        )
        return Provider(
            name=row["name"],
            type=row["type"],
            config=json.loads(row["config"]),
            created=row["created"],
            updated=row["updated"],
            credentials=tuple(key["key"] for key in keys),
            expires={key["key"]: key["expires"] for key in keys if key["expires"] is not None},
        )

    def _put_credentials(self, name: str, credentials: Mapping[str, Sealed | None]) -> None:
        for key, sealed in credentials.items():
            self._db.execute("DELETE FROM credentials WHERE provider = ? AND key = ?", name, key)
            if sealed is not None:
                self._db.execute(
                    "INSERT INTO credentials VALUES (?, ?, ?, ?, NULL)",
                    name,
                    key,
                    sealed.key_id,
                    sealed.blob,
                )

    def _put_expiries(self, name: str, expires: Mapping[str, float | None]) -> None:
        for key, moment in expires.items():
            self._db.execute(
                "UPDATE credentials SET expires = ? WHERE provider = ? AND key = ?",
                moment,
                name,
                key,
            )


class Inference:
    """Which provider and model answer, by sandbox, and for all others (scope None)."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put(self, route: InferenceRoute, *, if_version: int | None = None) -> InferenceRoute:
        """Set a scope's route. Its `version` is given by the store.

        Args:
            if_version: the version that it must have now, 0 where there must be none.

        Raises:
            NotFound: there is no such provider.
            Conflict: it has another version.
        """
        with self._db.transaction():
            Providers(self._db).get(route.provider)
            self._check_version(route, if_version)
            version = self._db.count(f"{route.scope or 0}:{route.label or ''}:inference")
            self.remove(route.scope, route.label)
            self._db.execute(
                "INSERT INTO inference VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                route.scope,
                route.provider,
                route.model,
                route.timeout_s,
                route.total_timeout_s,
                version,
                route.updated,
                route.label,
                json.dumps(dict(route.aliases)),
                json.dumps(dict(route.rules), sort_keys=True),
                route.verified,
            )
        stored = self.find(route.scope, route.label)
        assert stored is not None
        return stored

    def note_verified(self, route: InferenceRoute, at: float) -> None:
        """A probe saw this version of a route answer; a later version knows nothing of it."""
        self._db.execute(
            "UPDATE inference SET verified = ? "
            "WHERE sandbox_id IS ? AND label IS ? AND version = ?",
            at,
            route.scope,
            route.label,
            route.version,
        )

    def find(self, scope: int | None, label: str | None = None) -> InferenceRoute | None:
        """The route of exactly this scope; the caller falls back to None by itself."""
        where = "WHERE sandbox_id IS ? AND label IS ?"
        return next(iter(_routes(self._db, where, scope, label)), None)

    def all(self) -> tuple[InferenceRoute, ...]:
        """Every route, the default first, then labels, then sandboxes."""
        return _routes(self._db, "ORDER BY sandbox_id, label")

    def remove(self, scope: int | None, label: str | None = None) -> bool:
        """Forget a scope's route; whether there was one."""
        with self._db.transaction():
            where = "WHERE sandbox_id IS ? AND label IS ?"
            cursor = self._db.execute(f"DELETE FROM inference {where}", scope, label)
            return cursor.rowcount > 0

    def _check_version(self, route: InferenceRoute, wanted: int | None) -> None:
        if wanted is None:
            return
        now = self.find(route.scope, route.label)
        version = now.version if now else 0
        if version != wanted:
            raise Conflict(
                f"the route has version {version}, not {wanted}: it was changed meanwhile",
                version=version,
            )


def _config(config: Mapping[str, str]) -> str:
    return json.dumps(dict(config), sort_keys=True)


def _routes(database: Database, where: str, *values: object) -> tuple[InferenceRoute, ...]:
    rows = database.all(f"SELECT * FROM inference {where}", *values)
    return tuple(
        InferenceRoute(
            scope=row["sandbox_id"],
            provider=row["provider"],
            model=row["model"],
            timeout_s=row["timeout_s"],
            total_timeout_s=row["total_timeout_s"],
            version=row["version"],
            updated=row["updated"],
            label=row["label"],
            aliases=json.loads(row["aliases"]),
            rules=json.loads(row["rules"]),
            verified=row["verified"],
        )
        for row in rows
    )
