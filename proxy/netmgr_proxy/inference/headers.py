"""Owns: which headers cross, in both directions, and which are added.

Knows nothing of sockets. Two allow-lists: what is not named here does not cross. The sandbox's own
credentials, cookies and fingerprints stay inside; the operator's key is added last; the provider's
cookies, organisation names and server banners stay outside.
"""

import functools
import re
from collections.abc import Collection
from typing import Final

from netmgr.inference.dialect import AuthStyle
from netmgr.inference.protocols import Shape
from netmgr.inference.route import InferenceRoute
from netmgr.reasons import Reason
from netmgr_proxy.inference.coding import ACCEPTED, is_read
from netmgr_proxy.inference.errors import Refusal

Headers = list[tuple[bytes, bytes]]
RawHeaders = Collection[tuple[bytes, bytes]]

MAX_CONNECTION_TOKENS: Final = 32  # names in Connection; browsers send one or two

_FORWARDED: Final = frozenset({b"accept", b"user-agent"})
# What may stand in several fields: lists (RFC 9110 §5.3; W3C Trace Context §3.3, Baggage §3).
# Of anything else each reader takes the field that it likes: the first, the last, both in one.
_LISTS: Final = re.compile(rb"accept(?:-[a-z]+)?|[a-z0-9-]+-beta|tracestate|baggage")
# Answers are read as they pass: tokens, ids of stored objects, where a stream stands.
_PLAIN: Final = (b"accept-encoding", b"identity")

_RETURNED: Final = frozenset(
    {
        b"content-type",
        b"content-encoding",
        b"content-language",
        b"cache-control",
        b"date",
        b"vary",
        b"retry-after",
        b"retry-after-ms",  # read by both vendors' SDKs
        b"x-should-retry",  # read by both vendors' SDKs
        b"x-request-id",
        b"request-id",
        b"openai-processing-ms",
        b"openai-version",
        b"x-accel-buffering",
        b"x-amzn-requestid",
        b"x-amzn-errortype",  # botocore makes its exception's code of it
    }
)
_RETURNED_PREFIXES: Final = (b"x-ratelimit-", b"anthropic-ratelimit-", b"x-amzn-bedrock-")

_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")  # RFC 9110 §5.6.2, lower-cased
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 §5.5
_UTF8_NAMES: Final = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
_CHARSET: Final = re.compile(rb";\s*charset\s*=\s*\"?([^\";\s]*)", re.IGNORECASE)
_JSON: Final = b"application/json"
_JSON_TYPE: Final = re.compile(
    rb"application/(?:[a-z0-9.+-]+\+)?json(?:\s*;\s*charset=\"?[a-z0-9-]+\"?)?", re.IGNORECASE
)


def judge_request_headers(
    client: RawHeaders, shape: Shape, route: InferenceRoute
) -> Refusal | None:
    """Refuse what would make the provider read another body than the one that is judged, or a
    header that says two things.

    A body in a coding that is not read here could not be looked into; a charset other than UTF-8
    could turn other bytes into quotes.
    """
    coding = body_coding(client)
    if coding and not is_read(coding):
        what = f"content-encoding {_shown(coding)} is not accepted; expected one of {ACCEPTED}"
        return Refusal(
            415, Reason.MALFORMED_REQUEST, what, close=False, shape=shape, codings=ACCEPTED
        )
    for name, value in client:
        if name.lower() == b"content-type" and not _is_utf8(value):
            what = f"content-type {_shown(value)}: expected JSON in UTF-8"
            return Refusal(415, Reason.MALFORMED_REQUEST, what, close=False, shape=shape)
    twice = _said_in_two_ways(_crossing(client, route))
    if twice is not None:
        what = f"header {_shown(twice)} is there twice with different values; expected one"
        return Refusal(400, Reason.MALFORMED_REQUEST, what, close=False, shape=shape)
    return None


def body_coding(client: RawHeaders) -> bytes:
    """The coding of a request's body, lower case; b'' where it is plain. Several are one text, as
    if they stood in one header (RFC 9110 §5.3)."""
    found = [value for name, value in client if name.lower() == b"content-encoding"]
    words = [word.strip().lower() for value in found for word in value.split(b",")]
    return b", ".join(word for word in words if word not in (b"", b"identity"))


def request_headers(
    client: RawHeaders, route: InferenceRoute, content_length: int | None
) -> Headers:
    """The whole header block of the request to the provider; names in lower case.

    Args:
        client: the sandbox's headers as they were parsed.
        content_length: bytes of the body; None where there is none.
    """
    dialect = route.dialect
    _, added, fixed = _own_headers(
        dialect.forward_headers, dialect.add_headers, dialect.set_headers
    )
    out: Headers = [(b"host", route.base.authority.encode())]
    for name, value in _crossing(client, route):
        if _is_list(name) or (name, value) not in out:
            out.append((name, value))
    present = {name for name, _ in out}
    out += [(name, value) for name, value in added if name not in present]
    out += fixed
    if all(name != _PLAIN[0] for name, _ in out):
        out.append(_PLAIN)
    if content_length is not None:
        out.append((b"content-type", _json_type(client)))
        out.append((b"content-length", str(content_length).encode()))
    out += _auth(route)
    return out


def response_headers(upstream: RawHeaders) -> Headers:
    """The headers of an answer that may reach the sandbox; framing is the caller's."""
    fields = [(name.lower(), value) for name, value in upstream]
    nominated = _nominated(fields)
    return [
        (name, value)
        for name, value in fields
        if (name in _RETURNED or name.startswith(_RETURNED_PREFIXES))
        and name not in nominated
        and _NAME.fullmatch(name)
        and _VALUE.fullmatch(value)
    ]


@functools.lru_cache(maxsize=1024)  # one entry per set of lists that some provider has
def _own_headers(
    forward: frozenset[str], add: tuple[tuple[str, str], ...], fixed: tuple[tuple[str, str], ...]
) -> tuple[frozenset[bytes], Headers, Headers]:
    """The client's names that go on, what is added where they lack it, and what is always so."""
    mine = {name.encode() for name, _ in fixed}
    names = {name.encode() for name in forward} | {name.encode() for name, _ in add}
    added = [(n.encode(), v.encode()) for n, v in add if n.encode() not in mine]
    return (
        (_FORWARDED | names) - mine,
        added,
        [(name.encode(), value.encode()) for name, value in fixed],
    )


def _nominated(fields: Headers) -> frozenset[bytes]:
    """Names that Connection declares to be meant for this hop only (RFC 9110 §7.6.1)."""
    tokens: list[bytes] = []
    for name, value in fields:
        if name == b"connection":
            tokens += value.split(b",", MAX_CONNECTION_TOKENS)
    return frozenset(token.strip().lower() for token in tokens)


def _crossing(client: RawHeaders, route: InferenceRoute) -> Headers:
    """The client's fields that go on, names in lower case."""
    dialect = route.dialect
    allowed, _, _ = _own_headers(dialect.forward_headers, dialect.add_headers, dialect.set_headers)
    fields = [(name.lower(), value) for name, value in client]
    nominated = _nominated(fields)
    return [
        (name, value)
        for name, value in fields
        if name in allowed and name not in nominated and _VALUE.fullmatch(value)
    ]


def _is_list(name: bytes) -> bool:
    return _LISTS.fullmatch(name) is not None


def _said_in_two_ways(fields: Headers) -> bytes | None:
    """A name that may stand once and has two values; None where there is none."""
    said: dict[bytes, bytes] = {}
    for name, value in fields:
        if said.setdefault(name, value) != value and not _is_list(name):
            return name
    return None


def _json_type(fields: RawHeaders) -> bytes:
    """The type of a body that was read as JSON: the client's word where it says just that.

    A form's type over the same bytes could name another model (`{"a":"&model=other&"}`); `curl -d`
    sends one without meaning it.
    """
    types = [value for name, value in fields if name.lower() == b"content-type"]
    return types[0] if len(types) == 1 and _JSON_TYPE.fullmatch(types[0]) else _JSON


def _auth(route: InferenceRoute) -> Headers:
    """The header with the credential; none where each request is signed (sigv4), or none is due."""
    auth = route.dialect.auth
    if auth.style in (AuthStyle.NONE, AuthStyle.SIGV4):
        return []
    secret = route.credentials.get(auth.credentials[0])
    if secret is None:
        return []  # the dialer's copy of a route
    # validate_credential let visible ASCII through only: no line end can be in here.
    key = secret.reveal().encode("ascii")
    if auth.style is AuthStyle.BEARER:
        return [(b"authorization", b"Bearer " + key)]
    return [(auth.header.encode(), key)]


def _is_utf8(content_type: bytes) -> bool:
    names = _CHARSET.findall(content_type)
    return all(name.lower() in _UTF8_NAMES for name in names)


def _shown(value: bytes) -> str:
    return repr(value[:60].decode("ascii", "replace"))
