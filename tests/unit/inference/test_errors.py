"""Refusals and stream errors: the vendor's shape, our reason, nothing that breaks a line."""

import json
from dataclasses import replace

import pytest

from netmgr.inference.protocols import Shape
from netmgr.reasons import Reason
from netmgr_proxy.inference.errors import (
    Refusal,
    outward_message,
    render_error,
)


def rendered(refusal: Refusal) -> tuple[dict[bytes, bytes], dict[str, object]]:
    headers, body = render_error(replace(refusal, rule="web.endpoints[0]"), "req-1")
    return dict(headers), json.loads(body)


def test_openai_s_shape() -> None:
    headers, body = rendered(
        Refusal(503, Reason.NOT_CONFIGURED, "nothing here", remedy="netmgr inference set")
    )
    assert headers == {  # wire.face adds framing and cache-control to every head
        b"content-type": b"application/json",
        b"x-netmgr-reason": b"not_configured",
        b"x-request-id": b"req-1",
    }
    assert body == {
        "error": {
            "message": "nothing here; to change that: netmgr inference set",
            "type": "server_error",
            "param": None,
            "code": "not_configured",
            "rule": "web.endpoints[0]",
            "remedy": "netmgr inference set",
            "request_id": "req-1",
        },
        "hint": "netmgr inference set",
    }


def test_anthropic_s_shape() -> None:
    _, body = rendered(Refusal(504, Reason.UPSTREAM_TIMEOUT, "late", shape=Shape.ANTHROPIC))
    assert body["type"] == "error"
    assert body["request_id"] == "req-1"
    error = body["error"]
    assert isinstance(error, dict)
    assert (error["type"], error["message"]) == ("timeout_error", "late")


@pytest.mark.parametrize(
    ("status", "openai", "anthropic"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (403, "permission_error", "permission_error"),
        (413, "invalid_request_error", "request_too_large"),
        (415, "invalid_request_error", "invalid_request_error"),
        (429, "rate_limit_error", "rate_limit_error"),
        (502, "server_error", "api_error"),
    ],
)
def test_types_follow_the_status(status: int, openai: str, anthropic: str) -> None:
    for shape, wanted in ((Shape.OPENAI, openai), (Shape.ANTHROPIC, anthropic)):
        _, body = rendered(Refusal(status, Reason.MALFORMED_REQUEST, "x", shape=shape))
        error = body["error"]
        assert isinstance(error, dict)
        assert error["type"] == wanted


def test_a_request_id_cannot_end_a_header() -> None:
    headers, _ = render_error(Refusal(400, Reason.MALFORMED_REQUEST, "x"), "a\r\nb: c\u20ac")
    assert dict(headers)[b"x-request-id"] == b"ab:c?"


def test_where_the_provider_is_stays_outside() -> None:
    told = outward_message(Reason.UPSTREAM_UNREACHABLE, "port 443: 10.9.8.7: Connection refused")
    assert "10.9.8.7" not in told
    assert outward_message(Reason.UPSTREAM_TIMEOUT, "60 s have passed") == "60 s have passed"
