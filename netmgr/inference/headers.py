"""Owns: which header names an operator may let through or set, and what a value may be.

Knows nothing of requests. The names of credentials and of the connection are never the operator's
to pass on: a sandbox's own key must not reach a provider, and framing is the proxy's.
"""

import re
from typing import Final

MAX_HEADER_VALUE: Final = 4096  # characters; a quarter of what most servers take as a whole head

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110 §5.6.2
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")  # RFC 9110 §5.5, ASCII only

_CREDENTIALS: Final = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-auth-token",
        "ocp-apim-subscription-key",
        "cookie",
        "set-cookie",
    }
)
_CONNECTION: Final = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "content-type",
        "content-encoding",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# What gateways call theirs: cf-aig-authorization, helicone-auth, x-portkey-api-key, private-token.
_LIKE_A_CREDENTIAL: Final = re.compile(
    r"(?:.*[-_])?(?:auth|authorization|authentication|token|secret|password|signature"
    r"|(?:access|api|auth|subscription)[-_]?key)"
)
_SIGNATURE: Final = ("x-amz-", "x-goog-iam-")  # what AWS and Google read as parts of a signature


def judge_header_name(name: str) -> str | None:
    """Why a header of that name is not the operator's to forward or set; None where it is."""
    plain = name.lower()
    if not _NAME.fullmatch(plain):
        return f"{name!r} is no header name"
    if plain in _CREDENTIALS or plain.startswith(_SIGNATURE) or _LIKE_A_CREDENTIAL.fullmatch(plain):
        return f"{plain} carries a credential; those are never forwarded or set by configuration"
    if plain in _CONNECTION:
        return f"{plain} belongs to the connection and the body, which are netmgr's"
    return None


def judge_header_value(value: str) -> str | None:
    """Why that cannot be a header's value; None where it can."""
    if len(value) > MAX_HEADER_VALUE or not _VALUE.fullmatch(value):
        return f"expected 1 to {MAX_HEADER_VALUE} visible ASCII characters, no blanks around them"
    return None
