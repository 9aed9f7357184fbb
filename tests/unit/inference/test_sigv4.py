"""Our AWS signature against botocore's own, request by request."""

import hashlib
from datetime import UTC, datetime
from unittest import mock

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.inference.sigv4 import Signer

NOW = 1_790_000_000.0
HOST = "bedrock-runtime.us-east-1.amazonaws.com"
KEY_ID, SECRET_KEY, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "tok/en+=="


def theirs(method: str, target: str, body: bytes, token: str | None) -> str:
    """The Authorization header that botocore makes for the same request."""
    keys = botocore.credentials.Credentials(KEY_ID, SECRET_KEY, token)
    request = botocore.awsrequest.AWSRequest(method, f"https://{HOST}{target}", data=body)
    request.headers["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
    moment = datetime.fromtimestamp(NOW, UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        botocore.auth.SigV4Auth(keys, "bedrock", "us-east-1").add_auth(request)
    return str(request.headers["Authorization"])


def ours(method: str, target: str, body: bytes, token: str | None) -> dict[str, str]:
    signer = Signer(KEY_ID, SECRET_KEY, token, "us-east-1", "bedrock")
    fields = signer.sign(method, target, HOST, body, now=NOW)
    return {name.decode(): value.decode() for name, value in fields}


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize(
    "target",
    [
        "/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/invoke",
        "/model/m/converse-stream",
        "/model/a~b_c.d-e@1/invoke",
        "/",
        "/model/m/invoke?b=2&a=1&a=0",
    ],
)
def test_the_signature_is_botocore_s(target: str, token: str | None) -> None:
    fields = ours("POST", target, b'{"a":1}', token)
    assert fields["authorization"] == theirs("POST", target, b'{"a":1}', token)
    assert fields.get("x-amz-security-token") == token


@given(
    st.text("abcXYZ019-._~@", min_size=1, max_size=20).filter(lambda t: t.strip(".")),
    st.binary(max_size=64),
)
def test_any_model_and_any_body(model: str, body: bytes) -> None:
    target = f"/model/{model}/converse"
    assert ours("POST", target, body, None)["authorization"] == theirs("POST", target, body, None)


def test_another_byte_is_another_signature() -> None:
    one, other = (ours("POST", "/", body, None)["authorization"] for body in (b"a", b"b"))
    assert one != other


def test_a_signer_tells_nothing() -> None:
    shown = repr(Signer(KEY_ID, SECRET_KEY, TOKEN, "us-east-1", "bedrock"))
    assert shown == "Signer(us-east-1/bedrock)"
