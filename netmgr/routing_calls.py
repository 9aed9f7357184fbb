"""Owns: the calls of the control API about the routing file, as values; the rest is netmgr.calls.

Knows nothing of sending them (netmgr.client).
"""

from collections.abc import Mapping
from typing import Any

from netmgr.calls import CHANGE_S, Call, Json, PolicyFile, given, path_part


def routing_get(revision: int | None = None) -> Call[Json]:
    """One revision: the one in force where none is named."""
    return Call("GET", "/v1/routing", query=given(revision=revision))


def routing_history() -> Call[Json]:
    """`{"revisions": [...]}`, newest first."""
    return Call("GET", "/v1/routing/history")


def routing_set(
    file: PolicyFile, *, if_revision: int | None, dry_run: bool, accept_widening: bool
) -> Call[Json]:
    """Put a file in force, or on trial."""
    body = {
        **file,
        "if_revision": if_revision,
        "dry_run": dry_run,
        "accept_widening": accept_widening,
    }
    return Call("PUT", "/v1/routing", body=body, deadline_s=CHANGE_S)


def routing_rollback(
    revision: int, *, if_revision: int | None, dry_run: bool, accept_widening: bool
) -> Call[Json]:
    """Make an earlier revision the newest."""
    body = {
        "revision": revision,
        "if_revision": if_revision,
        "dry_run": dry_run,
        "accept_widening": accept_widening,
    }
    return Call("POST", "/v1/routing/rollback", body=body, deadline_s=CHANGE_S)


def routing_delete(*, shadow: bool, if_revision: int | None) -> Call[Json]:
    """End a trial, or routing by file."""
    query = given(if_revision=if_revision) | ({"shadow": "true"} if shadow else {})
    return Call("DELETE", "/v1/routing", query=query, deadline_s=CHANGE_S)


def routing_reset(sandbox: str | None) -> Call[Json]:
    """Let the labels of a sandbox, or of all, fall again."""
    return Call("DELETE", "/v1/routing/labels", query=given(sandbox=sandbox))


def routing_explain(asked: Mapping[str, Any]) -> Call[Json]:
    """What would become of a call."""
    return Call("POST", "/v1/routing/explain", body=dict(asked))


def routing_why(request_id: str) -> Call[Json]:
    """The stored decision on one request."""
    return Call("GET", f"/v1/routing/why/{path_part(request_id)}")


def routing_replay(file: PolicyFile, since: float) -> Call[Json]:
    """Stored decisions, decided anew by another file."""
    return Call("POST", "/v1/routing/replay", body={**file, "since": since}, deadline_s=CHANGE_S)


def audit_verify() -> Call[Json]:
    """Whether the records are those that were written."""
    return Call("GET", "/v1/audit/verify", deadline_s=CHANGE_S)


def audit_prove(
    label: str, operated_by: str | None, residency: str | None, since: float
) -> Call[Json]:
    """That no call of a label was sent to such an endpoint."""
    query = given(label=label, operated_by=operated_by, residency=residency, since=since)
    return Call("GET", "/v1/audit/prove", query=query, deadline_s=CHANGE_S)
