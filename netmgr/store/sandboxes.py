"""Owns: the tables of sandboxes, their leases, private names, certificate authorities, and the
programs that were trusted on first use."""
# ruff: noqa: S608 - what is put into the SQL text are constants of this file

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from netmgr.addresses import NameAddress
from netmgr.errors import Conflict, NotFound, did_you_mean
from netmgr.keys.vault import Sealed
from netmgr.model import SandboxName
from netmgr.store.database import Database
from netmgr.store.rows import LeaseRow, Sandbox, SandboxState

_COLUMNS = (
    "id, name, created, address, link, netns, netns_dev, netns_ino, attached, tenant, labels, "
    "revision, digest, state, parameters"
)


class Sandboxes:
    """Sandboxes and the addresses that they hold."""

    def __init__(self, database: Database) -> None:
        self._db = database
        row = database.one("SELECT seq FROM sqlite_sequence WHERE name = 'sandboxes'")
        self._last_id = int(row["seq"]) if row else 0

    def next_id(self) -> int:
        """An id for a sandbox that is about to be made; no other call gets the same."""
        self._last_id += 1
        return self._last_id

    def add(self, sandbox: Sandbox) -> None:
        """Store a new sandbox; its address is leased to it in the same change.

        Raises:
            Conflict: the name is taken.
        """
        with self._db.transaction():
            try:
                self._db.execute(
                    f"INSERT INTO sandboxes ({_COLUMNS}) VALUES ({', '.join('?' * 15)})",
                    *_values(sandbox),
                )
            except sqlite3.IntegrityError as problem:
                if "sandboxes.name" not in str(problem):
                    raise
                raise Conflict(f"sandbox {sandbox.name!r} exists") from problem
            self._db.execute(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, NULL)",
                str(sandbox.address),
                sandbox.id,
            )

    def find(self, name: str) -> Sandbox | None:
        """The sandbox of that name, or None."""
        row = self._db.one(f"SELECT {_COLUMNS} FROM sandboxes WHERE name = ?", name)
        return _sandbox(row) if row else None

    def get(self, name: str) -> Sandbox:
        """The sandbox of that name.

        Raises:
            NotFound: names the nearest one.
        """
        sandbox = self.find(name)
        if sandbox is None:
            names = [row["name"] for row in self._db.all("SELECT name FROM sandboxes")]
            raise NotFound(f"there is no sandbox {name!r}{did_you_mean(name, names)}")
        return sandbox

    def all(self) -> tuple[Sandbox, ...]:
        """Every sandbox, oldest first."""
        rows = self._db.all(f"SELECT {_COLUMNS} FROM sandboxes ORDER BY id")
        return tuple(map(_sandbox, rows))

    def update(self, sandbox: Sandbox, **changes: Any) -> Sandbox:
        """Store a changed sandbox; id, name and address stay as they are."""
        changed = replace(sandbox, **changes)
        with self._db.transaction():
            self._db.execute(
                "UPDATE sandboxes SET netns = ?, netns_dev = ?, netns_ino = ?, labels = ?, "
                "tenant = ?, revision = ?, digest = ?, state = ? WHERE id = ?",
                changed.netns,
                *_stored_inode(changed),
                json.dumps(dict(changed.labels), sort_keys=True),
                changed.tenant,
                changed.revision,
                changed.digest,
                changed.state.value,
                changed.id,
            )
        return changed

    def remove(self, sandbox_id: int, now: float) -> None:
        """Forget a sandbox with its names, policies, routes and authority. Its address rests from
        now on. Removing one that is not there does nothing."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE leases SET sandbox_id = NULL, freed_at = ? WHERE sandbox_id = ?",
                now,
                sandbox_id,
            )
            for counter in ("policy", "inference"):
                self._db.execute("DELETE FROM counters WHERE name = ?", f"{sandbox_id}:{counter}")
            self._db.execute("DELETE FROM sandboxes WHERE id = ?", sandbox_id)

    def leases(self) -> tuple[LeaseRow, ...]:
        """Every address that is in use or was."""
        rows = self._db.all("SELECT address, sandbox_id, freed_at FROM leases")
        return tuple(
            LeaseRow(IPv4Address(row["address"]), row["sandbox_id"], row["freed_at"])
            for row in rows
        )


class Names:
    """The private addresses of each sandbox (netmgr.addresses.NamePool decides them)."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def of(self, sandbox_id: int) -> tuple[NameAddress, ...]:
        """Those of one sandbox, resting ones included."""
        rows = self._db.all(
            "SELECT name, ip, wildcard, released_at FROM names WHERE sandbox_id = ?", sandbox_id
        )
        return tuple(
            NameAddress(r["name"], IPv4Address(r["ip"]), bool(r["wildcard"]), r["released_at"])
            for r in rows
        )

    def put(self, sandbox_id: int, rows: Iterable[NameAddress]) -> None:
        """Store new or changed ones. What rested at one of the addresses is forgotten."""
        with self._db.transaction():
            self._db.execute_each(
                "INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?, ?)",
                [(sandbox_id, r.name, str(r.ip), r.wildcard, r.released_at) for r in rows],
            )


class TrustedPrograms:
    """What the programs that a sandbox's policy names were, when they first ran in it."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def of(self, sandbox_id: int) -> dict[str, str]:
        """SHA-256 of their content (hex) by path."""
        rows = self._db.all(
            "SELECT path, sha256 FROM trusted_programs WHERE sandbox_id = ?", sandbox_id
        )
        return {row["path"]: row["sha256"] for row in rows}

    def add(self, sandbox_id: int, path: str, sha256: str) -> None:
        """Trust a program of a sandbox. What a path stood for first it stands for always; of a
        sandbox that is gone nothing is kept."""
        with self._db.transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO trusted_programs "
                "SELECT ?, ?, ? WHERE EXISTS (SELECT 1 FROM sandboxes WHERE id = ?)",
                sandbox_id,
                path,
                sha256,
                sandbox_id,
            )


class Authorities:
    """The certificate authority of each sandbox; keys are encrypted."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put(self, sandbox_id: int, certificate: str, key: Sealed) -> None:
        """Store a sandbox's authority."""
        with self._db.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO authorities VALUES (?, ?, ?, ?)",
                sandbox_id,
                certificate,
                key.key_id,
                key.blob,
            )

    def get(self, sandbox_id: int) -> tuple[str, Sealed] | None:
        """(certificate PEM, encrypted key), or None."""
        row = self._db.one("SELECT * FROM authorities WHERE sandbox_id = ?", sandbox_id)
        return (row["certificate"], Sealed(row["key_id"], row["key"])) if row else None


# st_dev and st_ino are unsigned 64-bit numbers, SQLite's integers are signed ones.
_SIGN = 1 << 63


def _signed(number: int) -> int:
    return number - 2 * _SIGN if number >= _SIGN else number


def _unsigned(number: int) -> int:
    return number + 2 * _SIGN if number < 0 else number


def _stored_inode(sandbox: Sandbox) -> tuple[int, int]:
    return _signed(sandbox.netns_dev), _signed(sandbox.netns_ino)


def _values(sandbox: Sandbox) -> tuple[Any, ...]:
    return (
        sandbox.id,
        sandbox.name,
        sandbox.created,
        str(sandbox.address),
        sandbox.link,
        sandbox.netns,
        *_stored_inode(sandbox),
        sandbox.attached,
        sandbox.tenant,
        json.dumps(dict(sandbox.labels), sort_keys=True),
        sandbox.revision,
        sandbox.digest,
        sandbox.state.value,
        sandbox.parameters,
    )


def _sandbox(row: sqlite3.Row) -> Sandbox:
    fields: dict[str, Any] = dict(row)
    fields |= {
        "name": SandboxName(row["name"]),
        "address": IPv4Address(row["address"]),
        "netns_dev": _unsigned(row["netns_dev"]),
        "netns_ino": _unsigned(row["netns_ino"]),
        "attached": bool(row["attached"]),
        "labels": json.loads(row["labels"]),
        "state": SandboxState(row["state"]),
    }
    return Sandbox(**fields)
