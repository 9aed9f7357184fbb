"""Owns: what the OpenAPI document says of the routing file: a table and its examples."""

from typing import Any, Final

from netmgr.control.operation import CHANGE, NOT_FOUND, Operation

_TEXT: Final = """\
version: 1
sensitivity: {order: [public, restricted], unlabelled: public, unscanned: restricted}
endpoints:
  near:
    provider: lab
    model: qwen3-32b
    facts: {residency: [eu], operated_by: self, clearance: restricted, context: 131072}
routes:
  default: [near]
"""
_REVISION: Final[dict[str, Any]] = {
    "revision": 2,
    "source": "routing.yaml",
    "created": 1763740800.0,
}

ROUTING: Final = {
    ("GET", "/v1/routing"): Operation(
        "routing_get",
        "The routing file in force, or one revision of it",
        got={**_REVISION, "text": _TEXT},
        errors=NOT_FOUND,
    ),
    ("GET", "/v1/routing/history"): Operation(
        "routing_history", "Every kept revision, newest first", got={"revisions": [_REVISION]}
    ),
    ("PUT", "/v1/routing"): Operation(
        "routing_set",
        "Put a routing file in force, or (`mode: shadow`) on trial",
        sent={"text": _TEXT, "source": "routing.yaml", "if_revision": 1},
        got={"revision": 2, "changed": True},
        errors=CHANGE,
    ),
    ("POST", "/v1/routing/rollback"): Operation(
        "routing_rollback",
        "Make an earlier revision the newest",
        sent={"revision": 1},
        got={"revision": 3, "changed": True},
        errors=CHANGE,
    ),
    ("DELETE", "/v1/routing"): Operation(
        "routing_delete",
        "End a trial (`shadow`), or routing by file",
        got={"deleted": True},
        errors=CHANGE,
    ),
    ("DELETE", "/v1/routing/labels"): Operation(
        "routing_reset",
        "Let the labels of a sandbox's calls, or of all, fall again (`affinity: ratchet`)",
        got={"reset": 1},
        errors=NOT_FOUND,
    ),
    ("POST", "/v1/routing/explain"): Operation(
        "routing_explain",
        "What would become of a model call, and why",
        sent={"request": {"sandbox": "build-17", "model": "fast"}},
        got={"route": "default", "plan": ["openai-small"]},
        errors=NOT_FOUND,
    ),
    ("GET", "/v1/routing/why/{request_id}"): Operation(
        "routing_why",
        "The stored decision on one model call",
        got={"request_id": "8253eece1", "route": "default"},
        errors=NOT_FOUND,
    ),
    ("POST", "/v1/routing/replay"): Operation(
        "routing_replay",
        "Stored decisions, decided anew by another file",
        sent={"text": _TEXT, "source": "next.yaml", "since": 1763740800.0},
        got={"decisions": 120, "different": []},
    ),
    ("GET", "/v1/audit/verify"): Operation(
        "audit_verify",
        "Whether the records are those that were written",
        got={
            "ok": True,
            "records": 1200,
            "first": 1,
            "last": 1200,
            "head": "9f86d081",
            "broken": [],
        },
    ),
    ("GET", "/v1/audit/prove"): Operation(
        "audit_prove",
        "That no model call of a label was sent to such an endpoint",
        got={"checked": 120, "matching": 7, "found": 0, "unknown": 0, "exceptions": []},
    ),
}
