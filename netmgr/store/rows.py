"""Owns: the values that the store keeps and gives back. Frozen; times are epoch seconds.

Knows nothing of SQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any

from netmgr.model import SandboxName


class SandboxState(StrEnum):
    """How far a sandbox has come."""

    READY = "ready"
    DELETING = "deleting"  # teardown has begun: it never goes back
    BROKEN = "broken"  # the kernel no longer has what the record says; the fence stands


class PolicyStatus(StrEnum):
    """What became of a revision."""

    ACTIVE = "active"
    SUPERSEDED = "superseded"
    FAILED = "failed"  # the workers could not take it up; the one before it is active again


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One sandbox.

    Attributes:
        id: never used again, not even after deletion.
        address: its /32 in the hub.
        link: the hub's end of its veth pair.
        netns: path of its namespace.
        netns_dev: device of the namespace's inode, netns_ino its number: they identify it.
        attached: the namespace is the caller's; it is not removed with the sandbox.
        revision: the policy revision in force; 0 where there is none.
        digest: digest of that policy; '' where there is none.
        parameters: digest of what it was created with, to tell a repeated create.
    """

    id: int
    name: SandboxName
    created: float
    address: IPv4Address
    link: str
    netns: str
    netns_dev: int
    netns_ino: int
    attached: bool = False
    tenant: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    digest: str = ""
    state: SandboxState = SandboxState.READY
    parameters: str = ""


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """An address of the pool that is or was in use.

    Attributes:
        sandbox_id: whose it is; None while it rests.
        freed_at: since when it rests; None while it is in use.
    """

    address: IPv4Address
    sandbox_id: int | None
    freed_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRevision:
    """One revision of a sandbox's policy, or of the global one (scope None)."""

    scope: int | None
    revision: int
    digest: str
    text: str
    source: str
    doc: Mapping[str, Any]
    created: float
    status: PolicyStatus = PolicyStatus.ACTIVE
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An inference provider. `credentials` are the names of its keys, never values; `expires`
    tells of those that end when."""

    name: str
    type: str
    config: Mapping[str, str]
    created: float
    updated: float
    credentials: tuple[str, ...] = ()
    expires: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """How a credential is renewed by itself.

    Attributes:
        key: the credential's name.
        strategy: name of a netmgr.inference.refresh strategy.
        material: what the strategy needs and anyone may read.
        secrets: names of what it needs besides; the values are encrypted.
        renewed: when it last succeeded; None is never yet.
        failed: why the last attempt failed; '' where it did not.
    """

    provider: str
    key: str
    strategy: str
    material: Mapping[str, str]
    updated: float
    secrets: tuple[str, ...] = ()
    renewed: float | None = None
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRoute:
    """Which provider and model answer inference.local.

    Attributes:
        scope: sandbox id; None is the default for all, or for all that have the label.
        label: `K=V`; None where the route is not for a label.
        aliases: further models by the name that clients ask for.
        rules: as netmgr.inference.rules writes them.
        timeout_s: None means the setting inference_timeout_s.
        total_timeout_s: None means no bound.
        version: counts the changes of this scope; it never goes back.
        verified: when a probe last saw it answer as it stands now; None: never.
    """

    scope: int | None
    provider: str
    model: str
    timeout_s: float | None
    total_timeout_s: float | None
    version: int
    updated: float
    label: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)
    verified: float | None = None
