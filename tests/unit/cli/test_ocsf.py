"""Records as OCSF events: the schema's numbers, and nothing of a record lost on the way."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.reasons import Kind, Reason, Verdict
from netmgr_cli.ocsf import event_of

DIGEST = "5" * 64
RECORD: dict[str, Any] = {
    "seq": 7, "time": "2026-01-31T12:00:00.123456Z", "sandbox": "demo", "tenant": "t",
    "kind": "connection", "verdict": "denied", "reason": "binary_not_allowed",
    "rule": "web.endpoints[0]", "policy_revision": 3,
    "destination": {"name": "a.example", "ip": "198.18.0.9", "port": 443, "protocol": "tcp"},
    "process": {"exe": "/usr/bin/curl", "pid": 12, "ancestors": ["/bin/sh"], "sha256": DIGEST},
    "http": None, "inference": None, "bytes_in": 5, "bytes_out": 6, "duration_ms": 1.6,
    "count": 2, "message": "why", "remedy": "netmgr policy update demo x",
}  # fmt: skip
MODEL = {
    "protocol": "openai_chat_completions", "requested_model": "gpt", "model": "m", "route": "all",
    "provider": "mine", "attempts": 1, "ttfb_ms": 8, "tokens_in": 3, "tokens_out": 4,
}  # fmt: skip


def event(**more: Any) -> dict[str, Any]:
    return event_of(RECORD | more, product_version="1.2", host="box")


def test_a_denied_connection() -> None:
    assert event() == {
        "class_uid": 4001, "class_name": "Network Activity", "category_uid": 4,
        "activity_id": 5, "activity_name": "Refuse", "type_uid": 400105,
        "time": 1769860800123, "duration": 2, "count": 2,
        "severity_id": 3, "severity": "Medium", "status_id": 2, "status": "Failure",
        "status_code": "binary_not_allowed", "status_detail": "why", "message": "why",
        "action_id": 2, "action": "Denied", "disposition_id": 2, "disposition": "Blocked",
        "firewall_rule": {"name": "web.endpoints[0]"},
        "policy": {"name": "demo", "version": "3"},
        "metadata": {
            "version": "1.8.0", "profiles": ["security_control"], "uid": "7", "sequence": 7,
            "product": {"name": "netmgr", "vendor_name": "netmgr", "version": "1.2"},
            "tenant_uid": "t", "original_time": "2026-01-31T12:00:00.123456Z",
        },
        "src_endpoint": {"name": "demo"},
        "dst_endpoint": {"hostname": "a.example", "ip": "198.18.0.9", "port": 443},
        "connection_info": {
            "direction_id": 2, "direction": "Outbound", "protocol_name": "tcp", "protocol_num": 6,
        },
        "traffic": {"bytes_in": 5, "bytes_out": 6},
        "actor": {
            "app_name": "demo",
            "process": {
                "pid": 12, "name": "curl", "path": "/usr/bin/curl",
                "file": {
                    "name": "curl", "path": "/usr/bin/curl", "type_id": 1,
                    "hashes": [{"algorithm_id": 3, "algorithm": "SHA-256", "value": DIGEST}],
                },
                "ancestry": [{"name": "sh", "path": "/bin/sh"}],
            },
        },
        "unmapped": {"sandbox": "demo", "remedy": "netmgr policy update demo x"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "duration", "activity"),
    [
        ("allowed", None, 1),
        ("allowed", 5, 2),
        ("audited", 5, 2),
        ("failed", 5, 4),
        ("denied", 5, 5),
    ],
)
def test_what_became_of_a_connection(verdict: str, duration: float | None, activity: int) -> None:
    found = event(verdict=verdict, duration_ms=duration)
    assert (found["activity_id"], found["type_uid"]) == (activity, 400100 + activity)


def test_a_name() -> None:
    found = event(kind="dns", process=None)
    assert (found["type_uid"], found["class_name"]) == (400306, "DNS Activity")
    assert found["query"] == {"hostname": "a.example"}
    assert found["answers"] == [{"type": "A", "rdata": "198.18.0.9"}]
    assert "dst_endpoint" not in found


@pytest.mark.parametrize(
    ("method", "activity"), [("GET", 3), ("delete", 2), ("PATCH", 9), ("PROPFIND", 99)]
)
def test_a_request(method: str, activity: int) -> None:
    found = event(kind="http", http={"method": method, "path": "/a", "status": 403})
    assert found["type_uid"] == 400200 + activity
    assert found["http_request"]["http_method"] == method
    assert found["http_request"]["url"]["path"] == "/a"
    assert found["http_response"] == {"code": 403}


def test_a_model_call() -> None:
    http = {"method": "POST", "path": "/v1/chat/completions", "status": 200}
    found = event(kind="inference", verdict="allowed", http=http, inference=MODEL)
    assert found["type_uid"] == 600301
    assert found["metadata"]["profiles"] == ["security_control", "ai_operation"]
    assert found["api"]["operation"] == "openai_chat_completions"
    assert found["ai_model"] == {"name": "m", "ai_provider": "mine"}
    assert found["message_context"]["total_tokens"] == 7
    assert found["unmapped"]["requested_model"] == "gpt"


@pytest.mark.parametrize(
    ("kind", "message", "type_uid"),
    [
        ("finding", "it is spent", 200401),
        ("config", "provider x created", 501901),
        ("lifecycle", "daemon started", 600203),
        ("lifecycle", "sandbox created", 600201),
        ("lifecycle", "sandbox deleted", 600202),
        ("lifecycle", "something new", 600299),
    ],
)
def test_what_netmgr_did_itself(kind: str, message: str, type_uid: int) -> None:
    found = event(kind=kind, verdict="allowed", reason="allowed", message=message, sandbox=None)
    assert (found["type_uid"], found["message"]) == (type_uid, message)
    assert found["device"]["hostname"] == "box"


def _maybe(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | value


@given(
    kind=st.sampled_from([str(kind) for kind in Kind]),
    verdict=st.sampled_from([str(verdict) for verdict in Verdict]),
    reason=st.sampled_from([str(reason) for reason in Reason]),
    absent=st.sets(st.sampled_from(sorted(RECORD.keys() - {"seq", "time", "kind", "verdict"}))),
    inference=_maybe(st.just(MODEL)),
    text=_maybe(st.text()),
)
def test_every_record_is_an_event(
    kind: str, verdict: str, reason: str, absent: set[str], inference: Any, text: str | None
) -> None:
    record = RECORD | dict.fromkeys(absent) | {"count": 1, "inference": inference}
    record |= {"kind": kind, "verdict": verdict, "reason": reason, "message": text}
    found = event_of(record, product_version="1", host="h")
    assert found["type_uid"] == found["class_uid"] * 100 + found["activity_id"]
    assert found["category_uid"] == found["class_uid"] // 1000
    assert found["status_code"] == reason
    assert found["metadata"]["sequence"] == record["seq"]
    assert "null" not in json.dumps({key: found[key] for key in found if key not in _TEXTS})


_TEXTS = frozenset({"message", "status_detail", "finding_info"})  # they may say anything
