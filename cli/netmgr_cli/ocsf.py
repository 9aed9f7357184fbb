"""Owns: decision records as OCSF 1.8 events, one for each.

Knows nothing of where records come from and where events go. Source of every number:
https://schema.ocsf.io/1.8.0 (classes, and the profiles security_control and ai_operation).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import PurePosixPath
from typing import Any, Final

from netmgr.reasons import Kind, Verdict

VERSION: Final = "1.8.0"
VENDOR: Final = "netmgr"
OTHER: Final = 99  # of every enumeration in the schema
_TCP, _UDP, _ICMP = 6, 17, 1  # IANA protocol numbers
_OUTBOUND: Final = 2
_SHA256: Final = 3
_REGULAR_FILE: Final = 1
_UNKNOWN_DEVICE: Final = 0


class EventClass(IntEnum):
    """`class_uid`; its thousands are `category_uid`."""

    DETECTION_FINDING = 2004
    NETWORK_ACTIVITY = 4001
    HTTP_ACTIVITY = 4002
    DNS_ACTIVITY = 4003
    DEVICE_CONFIG_STATE_CHANGE = 5019
    APPLICATION_LIFECYCLE = 6002
    API_ACTIVITY = 6003

    @property
    def caption(self) -> str:
        """`class_name`."""
        words = (word.upper() if word in _INITIALS else word.title() for word in self._words)
        return " ".join(words)

    @property
    def _words(self) -> list[str]:
        return self.name.lower().split("_")


_INITIALS: Final = frozenset({"http", "dns", "api"})
_CLASSES: Final = {
    Kind.DNS: EventClass.DNS_ACTIVITY,
    Kind.CONNECTION: EventClass.NETWORK_ACTIVITY,
    Kind.HTTP: EventClass.HTTP_ACTIVITY,
    Kind.INFERENCE: EventClass.API_ACTIVITY,
    Kind.FINDING: EventClass.DETECTION_FINDING,
    Kind.CONFIG: EventClass.DEVICE_CONFIG_STATE_CHANGE,
    Kind.LIFECYCLE: EventClass.APPLICATION_LIFECYCLE,
}
_METHODS: Final = {
    "CONNECT": 1, "DELETE": 2, "GET": 3, "HEAD": 4, "OPTIONS": 5, "POST": 6, "PUT": 7, "TRACE": 8,
    "PATCH": 9,
}  # fmt: skip
_CRUD: Final = {"POST": (1, "Create"), "GET": (2, "Read"), "DELETE": (4, "Delete")}
# By the last word of what lifecycle records say.
_LIFE: Final = {
    "created": (1, "Install"), "deleted": (2, "Remove"), "started": (3, "Start"),
    "stopped": (4, "Stop"), "start": (5, "Restart"),
}  # fmt: skip
_PROTOCOLS: Final = {"tcp": _TCP, "udp": _UDP, "icmp": _ICMP}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a verdict is in the profile security_control."""

    severity_id: int
    severity: str
    status_id: int
    status: str
    action_id: int
    action: str
    disposition_id: int
    disposition: str


_OUTCOMES: Final = {
    Verdict.ALLOWED: Outcome(1, "Informational", 1, "Success", 1, "Allowed", 1, "Allowed"),
    Verdict.AUDITED: Outcome(2, "Low", 1, "Success", 1, "Allowed", 17, "Logged"),
    Verdict.FAILED: Outcome(2, "Low", 2, "Failure", 1, "Allowed", 27, "Error"),
    Verdict.DENIED: Outcome(3, "Medium", 2, "Failure", 2, "Denied", 2, "Blocked"),
}


def event_of(record: Mapping[str, Any], *, product_version: str, host: str) -> dict[str, Any]:
    """One record of the contract as one OCSF event.

    Args:
        product_version: of netmgr.
        host: the name of the host that the record comes from.
    """
    kind = Kind(record["kind"])
    outcome = _OUTCOMES[Verdict(record["verdict"])]
    what = _CLASSES[kind]
    activity_id, activity = _activity(kind, record)
    event: dict[str, Any] = {
        "class_uid": int(what),
        "class_name": what.caption,
        "category_uid": what // 1000,
        "activity_id": activity_id,
        "activity_name": activity,
        "type_uid": what * 100 + activity_id,
        "time": _milliseconds(str(record["time"])),
        "severity_id": outcome.severity_id,
        "severity": outcome.severity,
        "status_id": outcome.status_id,
        "status": outcome.status,
        "status_code": record["reason"],
        "status_detail": record.get("message"),
        "message": record.get("message") or record["reason"],
        "count": record.get("count", 1),
        "duration": _whole(record.get("duration_ms")),
        "metadata": _metadata(record, kind, product_version),
        **_control(record, outcome),
        **_PARTS[kind](record, host),
        "unmapped": _unmapped(record),
    }
    return _part(event)


# -- what every event has ----------------------------------------------------------------------


def _metadata(record: Mapping[str, Any], kind: Kind, version: str) -> dict[str, Any]:
    profiles = ["security_control"]
    if kind is Kind.INFERENCE:
        profiles.append("ai_operation")
    return {
        "version": VERSION,
        "product": {"name": "netmgr", "vendor_name": VENDOR, "version": version},
        "profiles": profiles,
        "uid": str(record["seq"]),
        "sequence": record["seq"],
        "tenant_uid": record.get("tenant"),
        "original_time": record["time"],
    }


def _control(record: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    revision = record.get("policy_revision")
    return {
        "action_id": outcome.action_id,
        "action": outcome.action,
        "disposition_id": outcome.disposition_id,
        "disposition": outcome.disposition,
        "firewall_rule": {"name": record.get("rule")},
        "policy": None if revision is None else {
            "name": record.get("sandbox"),
            "version": str(revision),
        },
    }  # fmt: skip


def _activity(kind: Kind, record: Mapping[str, Any]) -> tuple[int, str]:
    http = record.get("http") or {}
    method = str(http.get("method") or "")
    match kind:
        case Kind.DNS:
            return 6, "Traffic"  # the question with its answer
        case Kind.CONNECTION:
            return _connection_activity(record)
        case Kind.HTTP:
            return _METHODS.get(method.upper(), OTHER), method.title() or "Other"
        case Kind.INFERENCE:
            return _CRUD.get(method.upper(), (OTHER, "Other"))
        case Kind.FINDING:
            return 1, "Create"
        case Kind.CONFIG:
            return 1, "Log"
        case Kind.LIFECYCLE:
            last = str(record.get("message") or "").rpartition(" ")[2]
            return _LIFE.get(last, (OTHER, "Other"))


def _connection_activity(record: Mapping[str, Any]) -> tuple[int, str]:
    match Verdict(record["verdict"]):
        case Verdict.DENIED:
            return 5, "Refuse"
        case Verdict.FAILED:
            return 4, "Fail"
        case _ if record.get("duration_ms") is None:
            return 1, "Open"
        case _:
            return 2, "Close"


# -- what the class of an event adds -----------------------------------------------------------


def _network(record: Mapping[str, Any], _: str) -> dict[str, Any]:
    target = record.get("destination") or {}
    protocol = target.get("protocol")
    return {
        "src_endpoint": {"name": record.get("sandbox")},
        "dst_endpoint": {
            "hostname": target.get("name"),
            "ip": target.get("ip"),
            "port": target.get("port"),
        },
        "connection_info": {
            "direction_id": _OUTBOUND,
            "direction": "Outbound",
            "protocol_name": protocol,
            "protocol_num": _PROTOCOLS.get(str(protocol)),
        },
        # Seen from the sandbox, as in the record: what came in and what went out.
        "traffic": {"bytes_in": record.get("bytes_in"), "bytes_out": record.get("bytes_out")},
        "actor": _actor(record),
    }


def _dns(record: Mapping[str, Any], host: str) -> dict[str, Any]:
    target = record.get("destination") or {}
    ip = target.get("ip")
    parts = _network(record, host)
    del parts["dst_endpoint"], parts["traffic"]  # a question went to the resolver, to nothing else
    return {
        **parts,
        "query": {"hostname": target.get("name")},
        "answers": [{"type": "A", "rdata": ip}] if ip else None,
    }


def _http(record: Mapping[str, Any], host: str) -> dict[str, Any]:
    target, http = record.get("destination") or {}, record.get("http") or {}
    url = {"hostname": target.get("name"), "port": target.get("port"), "path": http.get("path")}
    return {
        **_network(record, host),
        "http_request": {"http_method": http.get("method"), "url": url},
        "http_response": {"code": http.get("status")},
    }


def _inference(record: Mapping[str, Any], host: str) -> dict[str, Any]:
    model, http = record.get("inference") or {}, record.get("http") or {}
    tokens = [model.get("tokens_in"), model.get("tokens_out")]
    known = [count for count in tokens if count is not None]
    operation = model.get("protocol") or f"{http.get('method') or ''} {http.get('path') or ''}"
    return {
        **_http(record, host),
        "api": {
            "operation": str(operation).strip() or "unknown",
            "service": {"name": (record.get("destination") or {}).get("name")},
        },
        "ai_model": {
            "name": model.get("model"),
            "ai_provider": model.get("provider") if model.get("model") else None,
        },
        "message_context": {
            "service": {"name": "inference.local"},
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "total_tokens": sum(known) if known else None,
        },
    }


def _finding(record: Mapping[str, Any], host: str) -> dict[str, Any]:
    title = record.get("message") or record["reason"]
    info = {"title": title, "uid": str(record["seq"]), "types": [record["reason"]]}
    return {"finding_info": info, "device": _device(host), "actor": _actor(record)}


def _config(_: Mapping[str, Any], host: str) -> dict[str, Any]:
    return {"device": _device(host)}


def _lifecycle(record: Mapping[str, Any], host: str) -> dict[str, Any]:
    name = record.get("sandbox") or "netmgr"
    return {"app": {"name": name, "vendor_name": VENDOR}, "device": _device(host)}


_PARTS: Final = {
    Kind.DNS: _dns,
    Kind.CONNECTION: _network,
    Kind.HTTP: _http,
    Kind.INFERENCE: _inference,
    Kind.FINDING: _finding,
    Kind.CONFIG: _config,
    Kind.LIFECYCLE: _lifecycle,
}


def _device(host: str) -> dict[str, Any]:
    return {"hostname": host, "type_id": _UNKNOWN_DEVICE, "type": "Unknown"}


def _actor(record: Mapping[str, Any]) -> dict[str, Any]:
    """Which program it was; the sandbox where that could not be found any more."""
    process = record.get("process")
    if not process:
        return {"app_name": record.get("sandbox")}
    path, digest = str(process.get("exe") or ""), process.get("sha256")
    file = {
        "name": PurePosixPath(path).name,
        "path": path,
        "type_id": _REGULAR_FILE,
        "hashes": [{"algorithm_id": _SHA256, "algorithm": "SHA-256", "value": digest}]
        if digest
        else None,
    }
    above = [
        {"name": PurePosixPath(str(exe)).name, "path": str(exe)}
        for exe in process.get("ancestors") or ()
    ]
    return {
        "app_name": record.get("sandbox"),
        "process": {
            "pid": process.get("pid"),
            "name": file["name"],
            "path": path,
            "file": file if path else None,
            "ancestry": above or None,
        },
    }


def _unmapped(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the schema has no place for."""
    model = record.get("inference") or {}
    rest = ("requested_model", "route", "attempts", "ttfb_ms")
    return {
        "sandbox": record.get("sandbox"),
        "remedy": record.get("remedy"),
        **{key: model.get(key) for key in rest},
    }


# -- values ------------------------------------------------------------------------------------


def _milliseconds(time: str) -> int:
    """The schema's timestamp_t of an RFC 3339 time."""
    return int(datetime.fromisoformat(time).timestamp() * 1000)


def _whole(number: object) -> int | None:
    return round(number) if isinstance(number, int | float) else None


def _part(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known: the schema has no null. Objects that are left empty go, too."""
    kept = {key: _value(value) for key, value in whole.items()}
    return {key: value for key, value in kept.items() if value not in (None, "", {}, [])}


def _value(value: object) -> object:
    if isinstance(value, dict):
        return _part(value)
    return [_value(item) for item in value] if isinstance(value, list) else value
