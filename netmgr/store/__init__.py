"""Owns: what netmgrd remembers across restarts. One `Store`, one database file, one writer.

    store = Store(settings.database_path)
    with store.transaction():          # all or nothing, durable when the block ends
        store.sandboxes.add(sandbox)
        store.policies.put(candidate, keep=settings.policy_history)
        number = store.next_change()

Each writing method is a transaction of its own where the caller opened none. All calls are
synchronous and come from one thread at a time. Knows nothing of the kernel and of processes.
"""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from netmgr.errors import Conflict
from netmgr.store.accounts import Accounts
from netmgr.store.database import Database
from netmgr.store.policies import Policies
from netmgr.store.provider_objects import ProviderObjects
from netmgr.store.providers import Inference, Providers
from netmgr.store.refreshes import Refreshes
from netmgr.store.routing import RoutingFiles, RoutingRevision
from netmgr.store.rows import (
    InferenceRoute,
    LeaseRow,
    PolicyRevision,
    PolicyStatus,
    Provider,
    Refresh,
    Sandbox,
    SandboxState,
)
from netmgr.store.sandboxes import Authorities, Names, Sandboxes, TrustedPrograms
from netmgr.store.sealed import SealedValues

__all__ = [
    "InferenceRoute",
    "LeaseRow",
    "PolicyRevision",
    "PolicyStatus",
    "Provider",
    "Refresh",
    "RoutingRevision",
    "Sandbox",
    "SandboxState",
    "Store",
]

IDEMPOTENCY_S: Final = 86400.0  # a runtime that repeats a request does so within a day
MAX_IDEMPOTENCY: Final = 10_000  # keys that are kept; the oldest go first
_CHANGE: Final = "change"


class Store:
    """The state of one daemon.

    Raises:
        HostFailed: the file cannot be opened, is damaged, or is newer than this program.
    """

    def __init__(self, path: Path) -> None:
        self._db = Database(path)
        self.sandboxes = Sandboxes(self._db)
        self.names = Names(self._db)
        self.programs = TrustedPrograms(self._db)
        self.authorities = Authorities(self._db)
        self.policies = Policies(self._db)
        self.providers = Providers(self._db)
        self.refreshes = Refreshes(self._db)
        self.sealed = SealedValues(self._db)
        self.inference = Inference(self._db)
        self.accounts = Accounts(self._db)
        self.objects = ProviderObjects(self._db)
        self.routing = RoutingFiles(self._db)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def transaction(self) -> AbstractContextManager[None]:
        """One change: all of it or nothing, durable when the block ends.

        Raises:
            HostFailed: the disk is full, read-only or failing. Nothing was changed.
            TryLater: another program holds the database. Nothing was changed.
        """
        return self._db.transaction()

    @property
    def state_id(self) -> str:
        """Tells this state from every other; made when the database was."""
        return self._db.meta("state_id") or ""

    @property
    def last_change(self) -> int:
        """The number of the last change."""
        return self._db.counted(_CHANGE)

    def next_change(self) -> int:
        """The number of a new change."""
        return self._db.count(_CHANGE)

    def holds_sealed(self) -> bool:
        """Whether anything is stored that only the vault's key can open."""
        return self.sealed.count() > 0

    def recall(self, key: str, request: str, now: float) -> dict[str, Any] | None:
        """What was answered to the request of this idempotency key; None where it is new.

        Raises:
            Conflict: the key came with another request before.
        """
        row = self._db.one(
            "SELECT request, response FROM idempotency WHERE key = ? AND created > ?",
            key,
            now - IDEMPOTENCY_S,
        )
        if row is None:
            return None
        if row["request"] != request:
            raise Conflict(f"idempotency key {key!r} was used for another request")
        answer: dict[str, Any] = json.loads(row["response"])
        return answer

    def remember(self, key: str, request: str, response: dict[str, Any], now: float) -> None:
        """Keep an answer for repeats; older ones than IDEMPOTENCY_S go, and the oldest of more than
        MAX_IDEMPOTENCY."""
        with self.transaction():
            self._db.execute("DELETE FROM idempotency WHERE created <= ?", now - IDEMPOTENCY_S)
            self._db.execute(
                "DELETE FROM idempotency WHERE created <= "
                "(SELECT created FROM idempotency ORDER BY created DESC LIMIT 1 OFFSET ?)",
                MAX_IDEMPOTENCY - 1,
            )
            self._db.execute(
                "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?)",
                key,
                request,
                json.dumps(response),
                now,
            )
