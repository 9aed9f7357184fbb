"""Owns: the comparison of what a provider received and a client got with what a case wants.

Strict both ways: a header that neither the case nor the lists below name is a failure.
"""

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final
from unittest import mock

from acceptance.inference.talk import Answer, Said
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer

Words = dict[str, Any]

CLOCKS_S: Final = 5.0  # between the signature and its arrival

# What a provider may see of any request, besides the headers that a case names.
SENT: Final = {
    "host",
    "content-type",
    "content-length",
    "accept",
    "accept-encoding",
    "user-agent",
}
# What a client may see of any answer, besides the headers that a case names.
RETURNED: Final = {
    "x-netmgr-request-id",
    "x-netmgr-model",
    "x-netmgr-requested-model",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
}
# And of an answer that is ours.
OURS: Final = {"x-netmgr-reason", "x-request-id", "cache-control"}
CREDENTIAL: Final = {
    "openai": ("authorization", "Bearer "),
    "nvidia": ("authorization", "Bearer "),
    "deepinfra": ("authorization", "Bearer "),
    "anthropic": ("x-api-key", ""),
    "azure-openai": ("api-key", ""),
    "google-vertex-ai": ("authorization", "Bearer "),
    "ollama": (None, ""),
}
SIGNED: Final = {"authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}


# -- at the provider -----------------------------------------------------------------------


def check_sent(event: Words, route: Words, client: bytes, want: Words) -> None:
    """One request at the provider.

    Args:
        event: as netmgr.testing.model_server records it.
        client: the body that the client sent.
    """
    raw = base64.b64decode(event["raw_base64"])
    body = base64.b64decode(event["body_base64"])
    pairs = [(name, value) for name, value in event["headers"]]
    names = [name for name, _ in pairs]
    fields = dict(pairs)
    head = [f"{event['method']} {event['target']} HTTP/1.1", *(f"{k}: {v}" for k, v in pairs)]
    assert raw == "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body, raw
    wanted = want.get("headers", {})
    credential, prefix = CREDENTIAL.get(route["type"], (None, ""))
    allowed = SENT | {credential} | set(wanted)
    if route["type"] == "aws-bedrock" and route.get("credentials"):
        check_signature(event, fields, body, route)
        allowed |= SIGNED
    if route["type"] == "anthropic":
        allowed |= {"anthropic-version"}
    assert set(names) <= allowed, f"{set(names) - allowed} crossed: {raw!r}"
    assert len(names) == len(set(names)), f"a header twice: {raw!r}"
    assert fields["host"] == route["origin"].partition("://")[2], raw
    if credential is not None:
        assert fields[credential] == prefix + route["key"], raw
    assert wanted.items() <= fields.items(), raw
    assert not set(want.get("lacks", [])) & set(names), raw
    assert event["method"] == want.get("method", event["method"]), raw
    assert event["target"] == want.get("target", event["target"]), raw
    check_body(body, fields, route["model"], client, want)


def check_signature(event: Words, fields: Words, body: bytes, route: Words) -> None:
    """The signature is the one that botocore makes for the same request at the same moment."""
    given = route["credentials"]
    keys = Credentials(
        given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"], given.get("AWS_SESSION_TOKEN")
    )
    url = f"https://{fields['host']}{event['target']}"
    again = AWSRequest(event["method"], url, data=body)
    again.headers["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
    moment = datetime.strptime(fields["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs(moment.timestamp() - event["time"]) < CLOCKS_S, fields
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        SigV4Auth(keys, "bedrock", "us-east-1").add_auth(again)
    assert fields["authorization"] == again.headers["Authorization"], fields


def check_body(body: bytes, fields: Words, model: str, client: bytes, want: Words) -> None:
    """The body as the provider got it, byte for byte."""
    if body or client:
        assert fields["content-length"] == str(len(body)), fields
    expected = want["body"].encode() if "body" in want else pinned(client, model)
    if "json" in want:
        assert json.loads(body) == want["json"], body
    if "json" not in want or client:
        assert body == expected, f"{body!r} is not {expected!r}"


def pinned(body: bytes, model: str) -> bytes:
    """`body` with the route's model, by the simplest way that the table's bodies allow."""
    value = json.dumps(model).encode()
    if not body:
        return body
    for named in (b'"model":"x"', b'"model":"c"'):
        if named in body:
            return body.replace(named, b'"model":' + value)
    assert b'"model"' not in body, "a case with such a body says what the provider gets"
    rest = body[1:]
    return b'{"model":' + value + (b"," if rest != b"}" else b"") + rest


# -- at the client -------------------------------------------------------------------------


def check_answer(answer: Answer, want: Words) -> None:
    """One response at the client."""
    statuses = want.get("status", answer.status)
    assert answer.status in (statuses if isinstance(statuses, list) else [statuses]), answer
    names = {name for name, _ in answer.headers}
    assert len(names) == len(answer.headers), f"a header twice: {answer}"
    ours = answer.header("x-netmgr-reason") is not None
    allowed = RETURNED | set(want.get("headers", {})) | (OURS if ours else set())
    assert names <= allowed, f"{names - allowed} crossed: {answer}"
    assert want.get("headers", {}).items() <= dict(answer.headers).items(), answer
    assert not set(want.get("lacks", [])) & names, answer
    if ours:
        check_refusal(answer)
    if "reason" in want:
        assert answer.header("x-netmgr-reason") == want["reason"], answer
    if "interim" in want:
        assert answer.interim == [want["interim"]], answer
    if "json" in want:
        assert answer.json == want["json"], answer
    if "frames" in want:
        assert frame_kinds(answer.body) == want["frames"], answer
    if "json_at" in want:
        assert contains(answer.json, want["json_at"]), answer
    if "json_ids" in want:
        assert [entry["id"] for entry in answer.json["data"]] == want["json_ids"], answer
    if "body" in want:
        assert answer.body == want["body"].encode(), answer
    assert set(want.get("has", [])) <= (set(answer.json) if "has" in want else set()), answer
    check_stream(answer, want)


def frame_kinds(body: bytes) -> list[str]:
    """The kinds of the frames of Amazon's event stream, as botocore reads it."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    heads = [event.headers for event in buffer]
    return [head.get(":event-type") or head[":exception-type"] for head in heads]


def check_refusal(answer: Answer) -> None:
    """Ours speaks the protocol's words: SDKs read message, type and code."""
    error = answer.json["error"]
    assert error["code"] == answer.header("x-netmgr-reason"), answer
    assert error["message"], answer
    assert error["type"], answer
    assert error["request_id"] == answer.header("x-request-id"), answer
    assert answer.header("content-type") == "application/json", answer


def check_stream(answer: Answer, want: Words) -> None:
    """Events, and how the answer ended."""
    assert answer.whole or "terminated" in want or "leaves" in want, f"broke off: {answer}"
    if "events" in want:
        assert len(answer.events) == want["events"], answer.events
    if "terminated" in want and answer.status == 200:
        assert answer.whole is want["terminated"], answer
    if "last_event" in want:
        assert contains(json.loads(answer.events[-1]), want["last_event"]), answer.events
    if "first_events" in want:
        assert answer.events[: len(want["first_events"])] == want["first_events"], answer.events
    if "not_contains" in want:
        assert want["not_contains"].encode() not in answer.body, answer


def contains(value: Any, part: Any) -> bool:
    """Whether `part` is in `value`, in any depth."""
    if not isinstance(part, dict):
        return bool(value == part)
    return isinstance(value, dict) and all(contains(value.get(k), v) for k, v in part.items())


def check_conversation(said: Said, want: Words) -> None:
    """How long it took and how the connection ended."""
    assert said.fails is None, said
    if "within" in want:
        assert said.seconds <= want["within"], said
    if "spread" in want:
        assert said.pieces[-1][0] - said.pieces[0][0] >= want["spread"], said.pieces
    if "close" in want:
        last = said.answers[-1]
        assert (last.header("connection") == "close") is want["close"], said
        assert (said.end != "open") is want["close"], said
