"""Owns: the history of the routing file, and which revisions are in force and on trial.

Knows nothing of what a file says.
"""

import sqlite3
from dataclasses import dataclass

from netmgr.errors import Conflict, NotFound
from netmgr.store.database import Database

_COUNTER = "routing"
_LIVE, _SHADOW = "live", "shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingRevision:
    """One revision of the routing file.

    Attributes:
        source: what the file was called.
        state: `live`, `shadow`, or `kept`.
    """

    revision: int
    digest: str
    text: str
    source: str
    created: float
    state: str = "kept"


class RoutingFiles:
    """Revisions are numbered from 1; at most one is live, at most one on trial."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put(
        self,
        candidate: RoutingRevision,
        *,
        shadow: bool,
        keep: int,
        if_revision: int | None = None,
    ) -> tuple[RoutingRevision, bool]:
        """Put a file in force (which ends a trial), or on trial.

        Args:
            candidate: its `revision` and `state` are ignored.
            keep: how many revisions stay.
            if_revision: the revision that the caller believes to be live (0: none).

        Returns:
            (the revision, whether it is new). What means the same as the one in that place
            (equal digest) changes nothing there.

        Raises:
            Conflict: another revision than `if_revision` is live.
        """
        place = _SHADOW if shadow else _LIVE
        with self._db.transaction():
            self.require(if_revision)
            now = self.at(place)
            if now is not None and now.digest == candidate.digest:
                if not shadow:
                    self._leave(_SHADOW)
                return now, False
            number = self._db.count(_COUNTER)
            self._leave(place)
            if not shadow:
                self._leave(_SHADOW)
            self._db.execute(
                "INSERT INTO routing_files VALUES (?, ?, ?, ?, ?, ?)",
                number,
                candidate.digest,
                candidate.text,
                candidate.source,
                candidate.created,
                place,
            )
            self._db.execute(
                "DELETE FROM routing_files WHERE state = 'kept' AND revision <= ?", number - keep
            )
        return self.get(number), True

    def require(self, revision: int | None) -> None:
        """Go on where that revision is live; None: whatever is.

        Raises:
            Conflict: another one is.
        """
        live = self.at(_LIVE)
        current = live.revision if live else 0
        if revision is not None and revision != current:
            what = f"routing revision {current}" if current else "no routing file"
            raise Conflict(f"{what} is in force, not {revision}", revision=current)

    def at(self, place: str) -> RoutingRevision | None:
        """The `live` or the `shadow` one."""
        row = self._db.one("SELECT * FROM routing_files WHERE state = ?", place)
        return _revision(row) if row else None

    def get(self, revision: int) -> RoutingRevision:
        """One revision.

        Raises:
            NotFound: there is none of that number, or it is no longer kept.
        """
        row = self._db.one("SELECT * FROM routing_files WHERE revision = ?", revision)
        if row is None:
            raise NotFound(f"there is no routing revision {revision}")
        return _revision(row)

    def history(self) -> tuple[RoutingRevision, ...]:
        """Every kept revision, newest first."""
        rows = self._db.all("SELECT * FROM routing_files ORDER BY revision DESC")
        return tuple(map(_revision, rows))

    def remove(self, *, shadow_only: bool = False) -> bool:
        """Leave no file on trial, and none in force either; whether there was one. The history
        and the numbering stay."""
        with self._db.transaction():
            gone = self._leave(_SHADOW)
            return gone if shadow_only else self._leave(_LIVE) or gone

    # -- labels that do not fall -------------------------------------------------------------

    def labels(self) -> dict[int, dict[str, str]]:
        """Sandbox id -> conversation -> label."""
        found: dict[int, dict[str, str]] = {}
        for row in self._db.all("SELECT * FROM routing_labels"):
            found.setdefault(row["sandbox_id"], {})[row["conversation"]] = row["label"]
        return found

    def put_label(self, sandbox: int, conversation: str, label: str) -> None:
        """Store the label of one conversation."""
        self._db.execute(
            "INSERT OR REPLACE INTO routing_labels VALUES (?, ?, ?)", sandbox, conversation, label
        )

    def forget_labels(self, sandbox: int | None) -> None:
        """Forget the labels of one sandbox; None: of all."""
        if sandbox is None:
            self._db.execute("DELETE FROM routing_labels")
        else:
            self._db.execute("DELETE FROM routing_labels WHERE sandbox_id = ?", sandbox)

    def _leave(self, place: str) -> bool:
        cursor = self._db.execute("UPDATE routing_files SET state = 'kept' WHERE state = ?", place)
        return cursor.rowcount > 0


def _revision(row: sqlite3.Row) -> RoutingRevision:
    return RoutingRevision(
        revision=row["revision"],
        digest=row["digest"],
        text=row["text"],
        source=row["source"],
        created=row["created"],
        state=row["state"],
    )
