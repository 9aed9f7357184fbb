"""A provider's base URL: one canonical spelling that leads nowhere inwards, or `BadInput`."""

from contextlib import suppress
from ipaddress import IPv4Address, ip_address

from netmgr.errors import BadInput
from netmgr.inference.base_url import BaseUrl, parse_base_url

WORDS = (
    b"https://",
    b"http://",
    b"mock://",
    b"[::1]",
    b"[::ffff:169.254.169.254]",
    b"0x7f.1",
    b"169.254.169.254",
    b"inference.local",
    b"metadata.google.internal",
    b"user:key@",
    b":443",
    b"/v1",
    b"/../",
    b"?api-version=1",
    b"#",
    b"%2e",
)
METADATA = IPv4Address("169.254.169.254")


def fuzz(data: bytes) -> None:
    """Idempotent, printable, and never a metadata service."""
    text = data.decode("utf-8", "surrogateescape")
    for query_allowed in (False, True):
        try:
            url = parse_base_url(text, "here", query_allowed=query_allowed)
        except BadInput as problem:
            message = problem.message
        else:
            _check(url, query_allowed=query_allowed)
            continue
        assert message.startswith("here: ")


def _check(url: BaseUrl, *, query_allowed: bool) -> None:
    shown = str(url)
    assert parse_base_url(shown, "here", query_allowed=query_allowed) == url
    assert shown.isascii()
    assert shown.isprintable()
    assert not set(shown) & {" ", "\\", "#", "@"} or "@" in url.path + url.query
    assert 1 <= url.port <= 0xFFFF
    assert ".." not in url.path.split("/")
    with suppress(ValueError):
        assert not ip_address(url.host).is_link_local
