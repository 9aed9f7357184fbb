"""The answer of a token server: nothing but NoToken escapes, and what is found is clean."""

from netmgr_proxy.inference.token_answer import NoToken, parse_token_answer

WORDS = (
    b'{"access_token":"',
    b'"expires_in":',
    b'"error":"',
    b"<Credentials>",
    b"<SessionToken>",
    b"<Expiration>",
    b"<!DOCTYPE a [",
    b"&amp;",
)


def fuzz(data: bytes) -> None:
    """The first byte chooses kind and status."""
    kind = "sts" if data[:1] > b"\x7f" else "oauth"
    status = 400 if data[:1] in (b"\x00", b"\xff") else 200
    try:
        found = parse_token_answer(kind, status, data[1:])
    except NoToken:
        return
    for value in found.values():
        assert isinstance(value, float) or (value and value.isascii() and value.isprintable())
