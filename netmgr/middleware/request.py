"""Owns: what a stage is told of a request: who asks, where it goes, its head and its body.

No credential is in it: the operator's is added after the last stage, and the sandbox's own header
fields that carry one are not shown. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from netmgr.errors import BadInput
from netmgr.middleware.bounds import (
    MAX_CONTEXT,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_PAYLOAD,
    MAX_TARGET,
)
from netmgr.middleware.contract import WRITABLE, Existing, HeaderChange

Fields = tuple[tuple[str, str], ...]

# Framing, routing and what carries a credential: neither shown nor taken away.
PROTECTED: Final = frozenset(
    (
        "api-key",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
        "x-goog-api-key",
    )
)


class Phase(StrEnum):
    """What kind of request it is."""

    HTTP = "http"
    INFERENCE = "inference"
    WEBSOCKET = "websocket"  # one message of a client


@dataclass(frozen=True, slots=True)
class StageRequest:
    """One request, or one message.

    Attributes:
        sandbox: its name; `tenant` and `labels` are its owner's words.
        host: the name that it goes to, or an address.
        target: path and query, as they are sent.
        headers: names in lower case, without what `PROTECTED` names.
    """

    phase: Phase
    sandbox: str
    tenant: str | None
    labels: Mapping[str, str]
    host: str
    port: int
    method: str
    target: str
    headers: Fields = ()
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str:
        """The first field of that name, or ''."""
        return next((value for key, value in self.headers if key == name), "")

    def with_body(self, body: bytes) -> "StageRequest":
        """The same with another body."""
        return replace(self, body=body)

    def to_doc(self) -> dict[str, Any]:
        """As JSON values, without the body."""
        return {
            "phase": self.phase.value,
            "sandbox": self.sandbox,
            "tenant": self.tenant,
            "labels": dict(self.labels),
            "host": self.host,
            "port": self.port,
            "method": self.method,
            "target": self.target,
            "headers": [list(pair) for pair in self.headers],
        }

    def excess(self) -> str | None:
        """Which bound it breaks; None where it may be shown."""
        context = len(self.sandbox) + len(self.tenant or "")
        context += sum(len(key) + len(value) for key, value in self.labels.items())
        size = sum(len(name) + len(value) for name, value in self.headers)
        if len(self.body) > MAX_PAYLOAD:
            return f"its body is larger than {MAX_PAYLOAD} bytes"
        if len(self.target) > MAX_TARGET:
            return f"its target is longer than {MAX_TARGET} bytes"
        if len(self.headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
            return f"it has more than {MAX_HEADERS} header fields or {MAX_HEADER_BYTES} bytes"
        return f"its labels take more than {MAX_CONTEXT} bytes" if context > MAX_CONTEXT else None


def parse_request(doc: dict[str, Any], body: bytes) -> StageRequest:
    """As `StageRequest.to_doc` wrote it.

    Raises:
        BadInput: it has another shape.
    """
    try:
        headers = tuple((str(name), str(value)) for name, value in doc["headers"])
        request = StageRequest(
            phase=Phase(doc["phase"]),
            sandbox=str(doc["sandbox"]),
            tenant=None if doc["tenant"] is None else str(doc["tenant"]),
            labels={str(key): str(value) for key, value in doc["labels"].items()},
            host=str(doc["host"]),
            port=int(doc["port"]),
            method=str(doc["method"]),
            target=str(doc["target"]),
            headers=headers,
            body=body,
        )
    except (KeyError, ValueError, TypeError, AttributeError) as fault:
        raise BadInput(f"no request for a stage: {type(fault).__name__}") from None
    if excess := request.excess():
        raise BadInput(f"no request for a stage: {excess}")
    return request


def visible(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The header fields that stages are shown. What a client calls as stages' own fields are called
    is not among them: it is never sent on."""
    shown = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in fields)
    return tuple(
        (name, value)
        for name, value in shown
        if name not in PROTECTED and not name.startswith(WRITABLE)
    )


def changed(
    fields: Iterable[tuple[bytes, bytes]], changes: Iterable[HeaderChange]
) -> tuple[tuple[bytes, bytes], ...]:
    """A request's header fields after every change of a chain."""
    kept = [
        (name, value)
        for name, value in fields
        if not name.decode("latin-1").lower().startswith(WRITABLE)
    ]
    for change in changes:
        if change.name in PROTECTED:
            continue
        name = change.name.encode("ascii")
        there = any(known.lower() == name for known, _ in kept)
        if change.existing is Existing.SKIP and there and change.value is not None:
            continue
        if change.value is None or change.existing is Existing.OVERWRITE:
            kept = [pair for pair in kept if pair[0].lower() != name]
        if change.value is not None:
            kept.append((name, change.value.encode("ascii")))
    return tuple(kept)
