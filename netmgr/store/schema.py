"""Owns: the tables, as the list of steps from an empty database to today's.

A step that was released is never edited: a change is a new step. Knows nothing of what rows mean.
"""

from typing import Final

_FIRST: Final = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (            -- numbers that never go back
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sandboxes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    address TEXT NOT NULL UNIQUE,
    link TEXT NOT NULL UNIQUE,
    netns TEXT NOT NULL,
    netns_dev INTEGER NOT NULL,
    netns_ino INTEGER NOT NULL,
    attached INTEGER NOT NULL,
    tenant TEXT,
    labels TEXT NOT NULL,
    revision INTEGER NOT NULL,
    digest TEXT NOT NULL,
    state TEXT NOT NULL,
    parameters TEXT NOT NULL
) STRICT;

CREATE TABLE leases (
    address TEXT PRIMARY KEY,
    sandbox_id INTEGER UNIQUE REFERENCES sandboxes (id),
    freed_at REAL,
    CHECK ((sandbox_id IS NULL) = (freed_at IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE names (
    sandbox_id INTEGER NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    ip TEXT NOT NULL,
    wildcard INTEGER NOT NULL,
    released_at REAL,
    PRIMARY KEY (sandbox_id, name),
    UNIQUE (sandbox_id, ip)
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (            -- sandbox_id NULL is the global policy
    sandbox_id INTEGER REFERENCES sandboxes (id) ON DELETE CASCADE,
    revision INTEGER NOT NULL,
    digest TEXT NOT NULL,
    text TEXT NOT NULL,
    source TEXT NOT NULL,
    doc TEXT NOT NULL,
    created REAL NOT NULL,
    status TEXT NOT NULL,
    message TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX policies_revision ON policies (ifnull(sandbox_id, 0), revision);
CREATE INDEX policies_sandbox ON policies (sandbox_id);

CREATE TABLE authorities (
    sandbox_id INTEGER PRIMARY KEY REFERENCES sandboxes (id) ON DELETE CASCADE,
    certificate TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key BLOB NOT NULL
) STRICT;

CREATE TABLE providers (
    name TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    config TEXT NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE credentials (
    provider TEXT NOT NULL REFERENCES providers (name) ON DELETE CASCADE,
    key TEXT NOT NULL,
    key_id TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (provider, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE inference (           -- sandbox_id NULL is the default for all
    sandbox_id INTEGER REFERENCES sandboxes (id) ON DELETE CASCADE,
    provider TEXT NOT NULL REFERENCES providers (name),
    model TEXT NOT NULL,
    timeout_s REAL,
    total_timeout_s REAL,
    version INTEGER NOT NULL,
    updated REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX inference_scope ON inference (ifnull(sandbox_id, 0));
CREATE INDEX inference_sandbox ON inference (sandbox_id);
CREATE INDEX inference_provider ON inference (provider);

CREATE TABLE idempotency (
    key TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    response TEXT NOT NULL,
    created REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_created ON idempotency (created);
"""

# A route is also for a label, and may know further models by name. Both unique parts of a scope
# are never null at the same time in two rows.
_SCOPES: Final = """
ALTER TABLE inference ADD COLUMN label TEXT;
ALTER TABLE inference ADD COLUMN aliases TEXT NOT NULL DEFAULT '{}';
DROP INDEX inference_scope;
CREATE UNIQUE INDEX inference_scope ON inference (ifnull(sandbox_id, 0), ifnull(label, ''));
"""

# When a credential stops being accepted; NULL is never. And what renews one by itself.
_CREDENTIAL_LIVES: Final = """
ALTER TABLE credentials ADD COLUMN expires REAL;

CREATE TABLE refreshes (           -- `key` is the credential that is kept fresh
    provider TEXT NOT NULL REFERENCES providers (name) ON DELETE CASCADE,
    key TEXT NOT NULL,
    strategy TEXT NOT NULL,
    material TEXT NOT NULL,
    updated REAL NOT NULL,
    renewed REAL,
    failed TEXT NOT NULL,
    PRIMARY KEY (provider, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE refresh_secrets (
    provider TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    key_id TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (provider, key, name),
    FOREIGN KEY (provider, key) REFERENCES refreshes (provider, key) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
"""

_ACCOUNTS: Final = """
CREATE TABLE limits (              -- both NULL: what sandboxes have that have no own
    sandbox_id INTEGER REFERENCES sandboxes (id) ON DELETE CASCADE,
    tenant TEXT,
    doc TEXT NOT NULL,
    CHECK (sandbox_id IS NULL OR tenant IS NULL)
) STRICT;
CREATE UNIQUE INDEX limits_subject ON limits (ifnull(sandbox_id, 0), ifnull(tenant, ''));
CREATE INDEX limits_sandbox ON limits (sandbox_id);

CREATE TABLE prices (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    text TEXT NOT NULL,
    source TEXT NOT NULL
) STRICT;

CREATE TABLE spent (               -- what is used of limits: netmgr.accounts.ledger
    subject TEXT NOT NULL,
    measure TEXT NOT NULL,
    slot INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (subject, measure, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage (               -- sums of model calls: netmgr.accounts.usage
    hour INTEGER NOT NULL,
    sandbox TEXT NOT NULL,
    tenant TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    calls INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    uncounted INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (hour, sandbox, tenant, provider, model)
) STRICT, WITHOUT ROWID;
"""

# What calls over a route may be, as JSON; see netmgr.inference.rules.
_CALL_RULES: Final = """
ALTER TABLE inference ADD COLUMN rules TEXT NOT NULL DEFAULT '{}';
"""

# What providers store under the operator's key, and for which sandbox: netmgr.daemon.object_owners.
_PROVIDER_OBJECTS: Final = """
CREATE TABLE provider_objects (
    sandbox_id INTEGER NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    id TEXT NOT NULL,
    made REAL NOT NULL,
    PRIMARY KEY (provider, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX provider_objects_sandbox ON provider_objects (sandbox_id);
"""

# Revisions of the routing file: netmgr.store.routing.
_ROUTING_FILES: Final = """
CREATE TABLE routing_files (
    revision INTEGER PRIMARY KEY,
    digest TEXT NOT NULL,
    text TEXT NOT NULL,
    source TEXT NOT NULL,
    created REAL NOT NULL,
    state TEXT NOT NULL
) STRICT;
"""

# Labels that do not fall again until the operator says so: netmgr.daemon.affinity_desk.
_ROUTING_LABELS: Final = """
CREATE TABLE routing_labels (
    sandbox_id INTEGER NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    conversation TEXT NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (sandbox_id, conversation)
) STRICT, WITHOUT ROWID;
"""

# What the programs of a sandbox's policy were when they first ran in it: netmgr.daemon.identity.
_TRUSTED_PROGRAMS: Final = """
CREATE TABLE trusted_programs (
    sandbox_id INTEGER NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (sandbox_id, path)
) STRICT, WITHOUT ROWID;
"""

# When a route was last seen to answer (a probe); NULL is never, as it now stands.
_ROUTE_SEEN: Final = """
ALTER TABLE inference ADD COLUMN verified REAL;
"""

MIGRATIONS: Final = (
    _FIRST,
    _SCOPES,
    _CREDENTIAL_LIVES,
    _ACCOUNTS,
    _CALL_RULES,
    _PROVIDER_OBJECTS,
    _ROUTING_FILES,
    _ROUTING_LABELS,
    _TRUSTED_PROGRAMS,
    _ROUTE_SEEN,
)  # step n leads to PRAGMA user_version n
