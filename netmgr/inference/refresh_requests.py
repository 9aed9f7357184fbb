"""Owns: the one HTTP request by which each strategy asks for a token.

Pure: clock, signer and SVID are given. Sources: RFC 6749 (OAuth 2.0) §4.4, §6; RFC 7523 (JWT
assertions); RFC 8693 (token exchange); AWS STS AssumeRole, version 2011-06-15.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from netmgr.inference.base_url import BaseUrl
from netmgr.inference.refresh import MAX_LIFETIME_S, Answers, Material, token_origin
from netmgr.inference.sigv4 import Signer
from netmgr.secret import Secret

SignJwt = Callable[[Mapping[str, Any], str, Secret], str]  # claims, key id, private key (PEM)

_FORM: Final = "application/x-www-form-urlencoded"
_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_SECRET_FIELDS: Final = (
    "refresh_token",
    "client_secret",
    "assertion",
    "client_assertion",
    "subject_token",
    "ExternalId",
)
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A POST. Headers and body hold secrets: they are not printed.

    Attributes:
        origin: where it goes.
        target: path and query.
        headers: all but Content-Length.
        answers: how the answer is to be read.
        ca_pem: certificates to trust for this origin instead of the system's.
    """

    origin: BaseUrl
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: str = field(repr=False)
    answers: Answers = Answers.OAUTH
    ca_pem: str | None = None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What no message may repeat of an answer that repeats it."""
        fields = dict(parse_qsl(self.body))
        return tuple(Secret(fields[name]) for name in _SECRET_FIELDS if name in fields)


@dataclass(frozen=True, slots=True)
class Means:
    """What a request is made with besides its material.

    Attributes:
        now: epoch seconds.
        sign_jwt: signs claims with RS256.
        svid: this host's JWT-SVID; None where the strategy shows none.
    """

    now: float
    sign_jwt: SignJwt
    svid: Secret | None = None


def make_request(material: Material, means: Means) -> TokenRequest:
    """The request that renews.

    Raises:
        BadInput: a private key that is none.
    """
    match material.strategy.name:
        case "oauth2-refresh-token":
            fields = {
                "grant_type": "refresh_token",
                "refresh_token": material.secret["refresh_token"].reveal(),
            }
            return _as_client(material, fields)
        case "oauth2-client-credentials":
            return _as_client(material, {"grant_type": "client_credentials"})
        case "google-service-account-jwt":
            return _google(material, means)
        case "spiffe-token-grant":
            return _spiffe(material, means)
        case "aws-sts-assume-role":
            return _sts(material, means)
        case other:
            raise AssertionError(other)


def _as_client(material: Material, fields: dict[str, str]) -> TokenRequest:
    """A grant of a client that shows who it is (RFC 6749 §2.3.1)."""
    word, headers = material.word, {}
    secret = material.secret.get("client_secret")
    if secret is not None and word("client_auth") == "basic":
        pair = f"{quote(word('client_id'), safe='')}:{quote(secret.reveal(), safe='')}"
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    else:
        fields["client_id"] = word("client_id")
        if secret is not None:
            fields["client_secret"] = secret.reveal()
    return _form(material, fields | _given(material, "scope", "audience"), headers)


def _google(material: Material, means: Means) -> TokenRequest:
    word = material.word
    claims: dict[str, Any] = {
        "iss": word("client_email"),
        "scope": word("scope"),
        "aud": word("token_url"),
        "iat": int(means.now),
        "exp": int(means.now + MAX_LIFETIME_S),
    }
    if word("subject"):
        claims["sub"] = word("subject")
    signed = means.sign_jwt(claims, word("private_key_id"), material.secret["private_key"])
    return _form(material, {"grant_type": _JWT_BEARER, "assertion": signed})


def _spiffe(material: Material, means: Means) -> TokenRequest:
    assert means.svid is not None, "the caller fetches the SVID first"
    more = _given(material, "client_id", "scope", "audience", "resource")
    if material.word("grant") == "token_exchange":
        fields = {
            "grant_type": _EXCHANGE,
            "subject_token": means.svid.reveal(),
            "subject_token_type": _JWT,
        }
    else:
        fields = {
            "grant_type": "client_credentials",
            "client_assertion_type": _ASSERTION,
            "client_assertion": means.svid.reveal(),
        }
    return _form(material, fields | more)


def _sts(material: Material, means: Means) -> TokenRequest:
    word, secret = material.word, material.secret
    fields = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": word("role_arn"),
        "RoleSessionName": word("session_name"),
        "DurationSeconds": word("duration_s"),
    }
    if "external_id" in secret:
        fields["ExternalId"] = secret["external_id"].reveal()
    plain = _form(material, fields)
    token = secret.get("session_token")
    signer = Signer(
        secret["access_key_id"].reveal(),
        secret["secret_access_key"].reveal(),
        token.reveal() if token is not None else None,
        word("region"),
        "sts",
    )
    host, body = plain.headers["host"], plain.body.encode()
    signed = signer.sign("POST", plain.target, host, body, now=means.now)
    headers = {**plain.headers, **{name.decode(): value.decode() for name, value in signed}}
    return TokenRequest(plain.origin, plain.target, headers, plain.body, Answers.STS, plain.ca_pem)


def _given(material: Material, *names: str) -> dict[str, str]:
    return {name: text for name in names if (text := material.word(name))}


def _form(
    material: Material, fields: Mapping[str, str], more: Mapping[str, str] | None = None
) -> TokenRequest:
    origin = token_origin(material)
    parts = urlsplit(material.url)  # a trailing slash is part of the path here
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {
        "host": origin.authority,
        "content-type": _FORM,
        "accept": "application/json",
        **(more or {}),
    }
    body = urlencode(fields, quote_via=quote)
    return TokenRequest(origin, target, headers, body, ca_pem=material.word("ca_pem") or None)
