"""Owns: signing a JSON Web Token with RSA (RS256, RFC 7515, RFC 7518 §3.3). Knows nothing of what
its claims mean."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from netmgr.errors import BadInput
from netmgr.secret import Secret


def sign_jwt(claims: Mapping[str, Any], key_id: str, private_key: Secret) -> str:
    """A compact JWT.

    Args:
        key_id: the header's `kid`; '' for none.
        private_key: RSA, PEM, without a passphrase.

    Raises:
        BadInput: it is no such key.
    """
    try:
        key = load_pem_private_key(private_key.reveal().encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise BadInput("material private_key: expected an RSA key in PEM, without a passphrase")
    header = {"alg": "RS256", "typ": "JWT"} | ({"kid": key_id} if key_id else {})
    text = f"{_part(header)}.{_part(claims)}"
    signature = key.sign(text.encode(), padding.PKCS1v15(), SHA256())
    return f"{text}.{_base64url(signature)}"


def _part(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
