"""Owns: how a denial or a failure looks to an HTTP client. Pure; knows nothing of connections."""

import json
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from netmgr.policy.decision import Decision
from netmgr.reasons import Reason, Verdict

# Reasons that are no policy denial; all others are 403 (the contract's table).
_STATUS: Final = {
    Reason.MALFORMED_REQUEST: 400,
    Reason.AUTHORITY_MISMATCH: 421,
    Reason.LIMIT_EXCEEDED: 503,
    Reason.NAME_NOT_RESOLVED: 502,
    Reason.UPSTREAM_UNREACHABLE: 502,
    Reason.UPSTREAM_TLS: 502,
    Reason.UPSTREAM_AUTH: 502,
    Reason.UPSTREAM_TIMEOUT: 504,
    Reason.POLICY_STALE: 503,
    Reason.JOURNAL_UNAVAILABLE: 503,
    Reason.NOT_CONFIGURED: 503,
    Reason.CREDENTIAL_EXPIRED: 503,
    Reason.NO_AVAILABLE_ENDPOINT: 503,
}
# What failed although it was allowed; everything else was denied.
_FAILURES: Final = frozenset(
    (
        Reason.NAME_NOT_RESOLVED,
        Reason.UPSTREAM_UNREACHABLE,
        Reason.UPSTREAM_TLS,
        Reason.UPSTREAM_TIMEOUT,
        Reason.UPSTREAM_AUTH,
        Reason.POLICY_STALE,
        Reason.CREDENTIAL_EXPIRED,
        Reason.NO_AVAILABLE_ENDPOINT,
    )
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something does not go on, as every face and the record show it.

    Attributes:
        reason: the code.
        message: one sentence for a person.
        rule: policy key and place, or None.
        remedy: the command line that would allow it, or None.
        status: HTTP status where it differs from the reason's own; 0 means the reason's.
        details: further keys of the error's body.
    """

    reason: Reason
    message: str
    rule: str | None = None
    remedy: str | None = None
    status: int = 0
    details: tuple[tuple[str, str], ...] = ()

    @property
    def http_status(self) -> int:
        return self.status or _STATUS.get(self.reason, 403)

    @property
    def verdict(self) -> Verdict:
        return Verdict.FAILED if self.reason in _FAILURES else Verdict.DENIED


class Refused(Exception):
    """Carries a Refusal to where it gets its face."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refusal_of(decision: Decision, scope: str) -> Refusal:
    """The refusal that a denying decision means; `scope` is that of its remedy."""
    remedy = decision.remedy(scope)
    return Refusal(decision.reason, decision.message, decision.rule, remedy)


def render_error(refusal: Refusal, request_id: str, hint: str | None = None) -> bytes:
    """The JSON body of the contract.

    Args:
        hint: what the policy tells whoever is denied.
    """
    error: dict[str, Any] = {
        "code": refusal.reason.value,
        "message": refusal.message,
        "rule": refusal.rule,
        "remedy": refusal.remedy,
        "request_id": request_id,
        **dict(refusal.details),
    }
    if hint is not None and refusal.verdict is Verdict.DENIED:
        error["hint"] = hint
    return json.dumps({"error": error}, ensure_ascii=False).encode() + b"\n"


def render_response(
    refusal: Refusal, request_id: str, *, bodyless: bool, close: bool, hint: str | None = None
) -> bytes:
    """A whole HTTP/1.1 response.

    Args:
        hint: see `render_error`.
        bodyless: the request was a HEAD: the length is said, the body is not sent.
        close: no further request is taken on this connection.
    """
    body = render_error(refusal, request_id, hint)
    extra = [(b"content-type", b"application/json")]
    extra.append((b"x-netmgr-reason", refusal.reason.value.encode()))
    extra.append((b"x-netmgr-request-id", request_id.encode()))
    head = render_head(refusal.http_status, extra, len(body), close=close)
    return head if bodyless else head + body


@lru_cache(maxsize=1024)  # there are 999
def render_status_line(status: int) -> bytes:
    """`HTTP/1.1 403 Forbidden`, without the line's end."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Status"
    return f"HTTP/1.1 {status} {phrase}".encode()


def render_head(
    status: int, fields: list[tuple[bytes, bytes]], length: int, *, close: bool
) -> bytes:
    """A response head of ours with a Content-Length."""
    lines = [render_status_line(status)]
    lines += [name + b": " + value for name, value in fields]
    lines.append(b"content-length: %d" % length)
    lines.append(b"cache-control: no-store")
    if close:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"
