"""Owns: the history of policies: revisions of each sandbox's and of the global one (scope None)."""
# ruff: noqa: S608 - what is put into the SQL text are constants of this file

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from netmgr.errors import Conflict, NotFound
from netmgr.store.database import Database
from netmgr.store.rows import PolicyRevision, PolicyStatus

_NEWEST = "WHERE sandbox_id IS ? AND status = 'active' ORDER BY revision DESC LIMIT 1"


class Policies:
    """Revisions are numbered from 1 in each scope; one of them at most is active."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put(
        self,
        candidate: PolicyRevision,
        *,
        keep: int,
        if_revision: int | None = None,
    ) -> tuple[PolicyRevision, bool]:
        """Make a policy the active one.

        Args:
            candidate: its `revision` and `status` are ignored.
            keep: how many revisions of the scope stay.
            if_revision: the revision that the caller believes to be active (0: none).

        Returns:
            (the active revision, whether it is new). A policy that means the same as the
            active one (equal digest) changes nothing.

        Raises:
            Conflict: another revision than `if_revision` is active.
        """
        scope = candidate.scope
        with self._db.transaction():
            active = self.active(scope)
            current = active.revision if active else 0
            if if_revision is not None and if_revision != current:
                raise Conflict(
                    f"policy revision {current} is in force, not {if_revision}", revision=current
                )
            if active is not None and active.digest == candidate.digest:
                return active, False
            number = self._insert(candidate)
            self._db.execute(
                "DELETE FROM policies WHERE sandbox_id IS ? AND revision <= ?", scope, number - keep
            )
        return self.get(scope, number), True

    def put_first(self, candidate: PolicyRevision) -> None:
        """The first policy of a sandbox that is being stored: `put`, without asking for what cannot
        be there. Every statement costs a creation; its `revision` is 1."""
        scope = candidate.scope
        with self._db.transaction():
            self._db.execute("INSERT INTO counters VALUES (?, 1)", _counter(scope))
            self._add(candidate, 1)

    def active(self, scope: int | None) -> PolicyRevision | None:
        """The revision in force."""
        row = self._db.one(f"SELECT * FROM policies {_NEWEST}", scope)
        return _revision(row) if row else None

    def get(self, scope: int | None, revision: int) -> PolicyRevision:
        """One revision.

        Raises:
            NotFound: there is none of that number, or it is no longer kept.
        """
        row = self._db.one(
            "SELECT * FROM policies WHERE sandbox_id IS ? AND revision = ?", scope, revision
        )
        if row is None:
            raise NotFound(f"there is no policy revision {revision}")
        return _revision(row)

    def history(self, scope: int | None) -> tuple[PolicyRevision, ...]:
        """Every kept revision, newest first."""
        rows = self._db.all(
            "SELECT * FROM policies WHERE sandbox_id IS ? ORDER BY revision DESC", scope
        )
        return tuple(map(_revision, rows))

    def fail(
        self, scope: int | None, revision: int, message: str, restore: int
    ) -> PolicyRevision | None:
        """Take a revision back that could not be put in force.

        Args:
            restore: the revision that was active before it; 0 where none was.

        Returns:
            the revision that is active again, or None.
        """
        with self._db.transaction():
            self._mark(scope, revision, PolicyStatus.FAILED, message)
            if restore:
                self._mark(scope, restore, PolicyStatus.ACTIVE, "")
        return self.active(scope)

    def remove(self, scope: int | None) -> bool:
        """Leave the scope without an active policy; its history and numbering stay."""
        with self._db.transaction():
            cursor = self._db.execute(
                "UPDATE policies SET status = 'superseded' "
                "WHERE sandbox_id IS ? AND status = 'active'",
                scope,
            )
            return cursor.rowcount > 0

    def _insert(self, candidate: PolicyRevision) -> int:
        number = self._db.count(_counter(candidate.scope))
        self.remove(candidate.scope)
        self._add(candidate, number)
        return number

    def _add(self, candidate: PolicyRevision, number: int) -> None:
        self._db.execute(
            "INSERT INTO policies VALUES (?, ?, ?, ?, ?, ?, ?, 'active', ?)",
            candidate.scope,
            number,
            candidate.digest,
            candidate.text,
            candidate.source,
            json.dumps(dict(candidate.doc), sort_keys=True, separators=(",", ":")),
            candidate.created,
            candidate.message,
        )

    def _mark(self, scope: int | None, revision: int, status: PolicyStatus, message: str) -> None:
        self._db.execute(
            "UPDATE policies SET status = ?, message = ? WHERE sandbox_id IS ? AND revision = ?",
            status.value,
            message,
            scope,
            revision,
        )


def _counter(scope: int | None) -> str:
    return f"{scope or 0}:policy"


def _revision(row: sqlite3.Row) -> PolicyRevision:
    doc: Mapping[str, Any] = json.loads(row["doc"])
    return PolicyRevision(
        scope=row["sandbox_id"],
        revision=row["revision"],
        digest=row["digest"],
        text=row["text"],
        source=row["source"],
        doc=doc,
        created=row["created"],
        status=PolicyStatus(row["status"]),
        message=row["message"],
    )
