"""Strategies: what each needs, the request it makes, when it is due, what an answer is worth."""

import base64
import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import BadInput
from netmgr.inference.refresh import (
    MAX_LIFETIME_S,
    MAX_RETRY_S,
    STRATEGIES,
    Material,
    make_material,
    renewal_due,
    retry_delay,
    scrub,
    strategy_of,
    take_answer,
)
from netmgr.inference.refresh_requests import Means, TokenRequest, make_request
from netmgr.keys.assertion import sign_jwt
from netmgr.secret import Secret

NOW = 1_700_000_000.0
URL = "https://id.test/oauth/token/?tenant=a"
KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def material(name: str, public: dict[str, str], **secret: str) -> Material:
    return make_material(strategy_of(name), public, {k: Secret(v) for k, v in secret.items()})


def request(made: Material, svid: str | None = None) -> tuple[TokenRequest, dict[str, str]]:
    """The request and its form."""
    means = Means(NOW, sign_jwt, Secret(svid) if svid else None)
    sent = make_request(made, means)
    return sent, {k: v[0] for k, v in parse_qs(sent.body).items()}


def refresh_token(**more: str) -> Material:
    public = {"token_url": URL, "client_id": "id", **more}
    return material("oauth2-refresh-token", public, refresh_token="rt-1", client_secret="c s/1")


def test_a_refresh_token_goes_to_its_server_with_the_client_s_secret() -> None:
    sent, form = request(refresh_token(scope="a b"))
    assert (sent.origin.origin, sent.target) == ("https://id.test", "/oauth/token/?tenant=a")
    assert form == {
        "grant_type": "refresh_token",
        "refresh_token": "rt-1",
        "client_id": "id",
        "client_secret": "c s/1",
        "scope": "a b",
    }
    assert "authorization" not in sent.headers
    assert {s.reveal() for s in sent.secrets} == {"rt-1", "c s/1"}
    assert "rt-1" not in repr(sent)


def test_a_client_may_show_itself_by_basic_authentication() -> None:
    sent, form = request(refresh_token(client_auth="basic"))
    pair = base64.b64decode(sent.headers["authorization"].removeprefix("Basic "))
    assert pair == b"id:c%20s%2F1", "RFC 6749 2.3.1: each part is escaped first"
    assert "client_secret" not in form


def test_client_credentials() -> None:
    made = material(
        "oauth2-client-credentials",
        {"token_url": URL, "client_id": "id", "audience": "models"},
        client_secret="cs",
    )
    _, form = request(made)
    assert (form["grant_type"], form["audience"]) == ("client_credentials", "models")


def test_a_service_account_signs_its_own_assertion() -> None:
    file = {
        "type": "service_account",
        "client_email": "sa@p.test",
        "private_key_id": "k1",
        "private_key": PEM,
        "token_uri": URL,
    }
    made = material("google-service-account-jwt", {}, key_file=json.dumps(file))
    assert "private_key" not in made.public
    assert PEM not in repr(made)
    _, form = request(made)
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    head, claims, signature = form["assertion"].split(".")
    KEY.public_key().verify(
        _decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), SHA256()
    )
    assert json.loads(_decoded(head)) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    said = json.loads(_decoded(claims))
    assert (said["iss"], said["aud"], said["iat"]) == ("sa@p.test", URL, int(NOW))
    assert said["exp"] - said["iat"] == 3600
    assert "sub" not in said


def test_a_host_shows_its_svid() -> None:
    public = {"token_url": URL, "resource": "r"}
    _, form = request(material("spiffe-token-grant", public), "a.b.c")
    assert form["client_assertion"] == "a.b.c"
    assert form["grant_type"] == "client_credentials"
    _, form = request(
        material("spiffe-token-grant", {**public, "grant": "token_exchange"}), "a.b.c"
    )
    assert form["subject_token"] == "a.b.c"
    assert form["grant_type"].endswith(":token-exchange")


def test_assuming_a_role_is_signed_for_its_region() -> None:
    made = material(
        "aws-sts-assume-role",
        {"role_arn": "arn:aws:iam::1:role/m", "region": "eu-west-1"},
        access_key_id="AKIA1",
        secret_access_key="sak",
        external_id="x1",
    )
    sent, form = request(made)
    assert sent.origin.host == "sts.eu-west-1.amazonaws.com"
    assert (form["Action"], form["DurationSeconds"], form["ExternalId"]) == (
        "AssumeRole",
        "3600",
        "x1",
    )
    assert "Credential=AKIA1/20231114/eu-west-1/sts/aws4_request" in sent.headers["authorization"]
    assert "sak" not in sent.body + str(sent.headers)


@pytest.mark.parametrize(
    ("name", "public", "secret", "hint"),
    [
        ("oauth2-refresh-tokn", {}, {}, "did you mean 'oauth2-refresh-token'"),
        (
            "oauth2-refresh-token",
            {"token_url": URL},
            {"refresh_token": "r"},
            "needs material client_id",
        ),
        ("oauth2-refresh-token", {"token_urll": URL}, {}, "did you mean 'token_url'"),
        ("oauth2-refresh-token", {"refresh_token": "r"}, {}, "is secret: --secret-material-env"),
        (
            "oauth2-client-credentials",
            {"token_url": "http://192.168.1.1/t", "client_id": "i"},
            {"client_secret": "s"},
            "loopback only",
        ),
        (
            "oauth2-client-credentials",
            {"token_url": "https://169.254.169.254/t", "client_id": "i"},
            {"client_secret": "s"},
            "metadata",
        ),
        (
            "oauth2-client-credentials",
            {"token_url": URL, "client_id": "i", "client_auth": "mtls"},
            {"client_secret": "s"},
            "expected post or basic",
        ),
        (
            "aws-sts-assume-role",
            {"role_arn": "a", "duration_s": "86400"},
            {"access_key_id": "a", "secret_access_key": "b"},
            "900 to 3600",
        ),
        ("google-service-account-jwt", {}, {"key_file": "{}"}, "key of a service account"),
        ("google-service-account-jwt", {"client_email": "e"}, {"private_key": ""}, "expected 1 to"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    name: str, public: dict[str, str], secret: dict[str, str], hint: str
) -> None:
    with pytest.raises(BadInput, match=hint):
        material(name, public, **secret)


def test_a_key_that_is_none_is_told_without_it() -> None:
    made = material("google-service-account-jwt", {"client_email": "e"}, private_key="sekret")
    with pytest.raises(BadInput, match="RSA key in PEM") as told:
        request(made)
    assert "sekret" not in told.value.message


def test_material_that_may_be_read_may_be_kept_secret() -> None:
    made = material(
        "oauth2-client-credentials", {"token_url": URL}, client_id="hidden", client_secret="cs"
    )
    assert "client_id" not in made.public
    assert request(made)[1]["client_id"] == "hidden"


@pytest.mark.parametrize(
    ("wire", "lifetime"),
    [
        ({"access_token": "t", "expires_in": 60.0}, 60.0),
        ({"access_token": "t"}, 300.0),
        ({"access_token": "t", "expires_in": 1e9}, MAX_LIFETIME_S),
    ],
)
def test_a_token_lives_as_told_and_an_hour_at_most(wire: dict[str, Any], lifetime: float) -> None:
    minted = take_answer(refresh_token(), "K", wire, NOW)
    assert minted.expires - NOW == lifetime
    assert minted.values["K"].reveal() == "t"
    assert minted.replaced == {}


def test_a_refresh_token_that_was_replaced_is_kept() -> None:
    wire = {"access_token": "t", "expires_in": 60, "refresh_token": "rt-2"}
    assert take_answer(refresh_token(), "K", wire, NOW).replaced["refresh_token"].reveal() == "rt-2"


@pytest.mark.parametrize(
    "wire", [{"access_token": "a b"}, {"access_token": "t", "expires_in": -1.0}]
)
def test_what_cannot_be_a_credential_is_refused(wire: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        take_answer(refresh_token(), "K", wire, NOW)


@given(st.floats(1, 1e6), st.floats(0, 1))
def test_a_renewal_is_due_within_the_token_s_life_and_300_s_before_its_end(
    lifetime: float, chance: float
) -> None:
    due = renewal_due(NOW, NOW + lifetime, chance)
    assert NOW < due < NOW + lifetime
    if lifetime > 700:
        assert 300 <= NOW + lifetime - due <= 330.1


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_up_to_a_minute(failures: int, chance: float) -> None:
    assert 4 <= retry_delay(failures, chance) <= MAX_RETRY_S
    assert retry_delay(failures + 1, 1) >= retry_delay(failures, 1)


def test_a_message_never_repeats_a_secret() -> None:
    assert scrub("no rt-1 for you", [Secret("rt-1")]) == "no [secret] for you"


def test_each_strategy_says_what_it_may_show() -> None:
    for strategy in STRATEGIES.values():
        assert not set(strategy.public_names) & set(strategy.secret_names)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
