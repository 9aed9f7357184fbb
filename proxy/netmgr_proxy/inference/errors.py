"""Owns: how a refusal looks to a client of a model API, so that its SDK raises what it should.

Knows nothing of why something was refused. Shapes: OpenAI's and Anthropic's API references,
"Errors"; their SDKs read `error.message`, `error.type` and the status.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from netmgr.inference.protocols import Shape
from netmgr.reasons import Reason

MAX_TOKEN: Final = 256  # characters of a header value of ours
_TOKEN: Final = re.compile("[!-~]*")
MAX_MESSAGE: Final = 2000  # characters; a client may log the whole of it

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that we make ourselves.

    Attributes:
        status: HTTP status.
        message: one sentence for a person; no key, no internal host name.
        remedy: what would change it, mostly a command; None where nothing would.
        close: whether the client's connection ends with it.
        retry_after_s: when it may go better, in whole seconds; None where that is not known.
        final: whether SDKs, which repeat a 429 by themselves, shall not.
        rule: what stands against it, by id, where that is a rule.
        codings: what a body may be coded in, where that was the fault (RFC 9110 §12.5.3).
    """

    status: int
    reason: Reason
    message: str
    remedy: str | None = None
    close: bool = True
    shape: Shape = Shape.OPENAI
    retry_after_s: int | None = None
    final: bool = False
    codings: str | None = None
    rule: str | None = None


# Where the provider is, is the operator's to know: the record has the whole story.
_OUTWARD: Final = {
    Reason.UPSTREAM_UNREACHABLE: "the model provider cannot be reached",
    Reason.UPSTREAM_TLS: "the model provider's certificate could not be verified",
    Reason.NAME_NOT_RESOLVED: "the model provider's name does not resolve",
    Reason.ADDRESS_BLOCKED: "the model provider is at an address that is not dialled",
}
_BROKE_OFF: Final = "the model provider broke its answer off"

_OPENAI_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES: Final = _OPENAI_TYPES | {
    413: "request_too_large",
    504: "timeout_error",
    529: "overloaded_error",
}
# botocore makes its exception's code of this header.
_BEDROCK_TYPES: Final = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    413: "ValidationException",
    415: "ValidationException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}


def outward_message(reason: Reason, message: str, *, begun: bool = False) -> str:
    """What a client inside may read of a failure: nothing of the provider's host or address.

    Args:
        begun: whether the answer had begun.
    """
    general = _OUTWARD.get(reason)
    if begun and reason is Reason.UPSTREAM_UNREACHABLE:
        general = _BROKE_OFF
    return f"{general}; `netmgr observe` tells the operator why" if general else message


def render_error(refusal: Refusal, request_id: str) -> tuple[Headers, bytes]:
    """The headers (but for framing and caching, which every head of ours has) and the body."""
    body = _body(refusal, request_id)
    headers = [
        (b"content-type", b"application/json"),
        (b"x-netmgr-reason", refusal.reason.value.encode()),
        (b"x-request-id", token(request_id)),
    ]
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % refusal.retry_after_s))
    if refusal.codings is not None:
        headers.append((b"accept-encoding", refusal.codings.encode()))
    if refusal.final:
        # Read by the SDKs of OpenAI and Anthropic alike.
        headers.append((b"x-should-retry", b"false"))
    if refusal.shape is Shape.BEDROCK:
        kind = _BEDROCK_TYPES.get(refusal.status, "InternalServerException")
        headers.append((b"x-amzn-errortype", kind.encode()))
    return headers, json.dumps(body).encode()


def _body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    message = refusal.message
    if refusal.remedy is not None:
        message = f"{message}; to change that: {refusal.remedy}"
    error: dict[str, Any] = {"message": message[:MAX_MESSAGE]}
    extra = {"rule": refusal.rule, "remedy": refusal.remedy, "request_id": request_id}
    if refusal.shape is Shape.ANTHROPIC:
        error["type"] = _type_of(refusal.status, _ANTHROPIC_TYPES, "api_error")
        error["code"] = refusal.reason.value
        body: dict[str, Any] = {"type": "error", "error": error | extra, "request_id": request_id}
    else:
        error["type"] = _type_of(refusal.status, _OPENAI_TYPES, "server_error")
        error["param"] = None
        error["code"] = refusal.reason.value
        body = {"error": error | extra}
        if refusal.shape is Shape.BEDROCK:
            body["message"] = error["message"]
    if refusal.remedy is not None:
        body["hint"] = refusal.remedy
    return body


def _type_of(status: int, special: dict[int, str], broken: str) -> str:
    if status in special:
        return special[status]
    return broken if status >= 500 else "invalid_request_error"


def token(text: str) -> bytes:
    """`text` as a header value: visible ASCII only, so that it can break nothing."""
    text = text[:MAX_TOKEN]
    if _TOKEN.fullmatch(text):
        return text.encode("ascii")
    return bytes(c for c in text.encode("ascii", "replace") if 0x21 <= c <= 0x7E)
