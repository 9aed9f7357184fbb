"""One spelling per path, and a refusal for what has none."""

import pytest

from netmgr.policy.path import MAX_PATH, MalformedTarget, canonical_path, split_absolute

SPELLINGS = {
    "/": "/",
    "/a/b": "/a/b",
    "/a/b/": "/a/b/",
    "/%61/b": "/a/b",
    "/a%20b": "/a%20b",
    "/a%2db": "/a-b",
    "/%7e": "/~",
    "/a%3ab@c": "/a:b@c",
    "//a///b": "/a/b",
    "/./a/./b/.": "/a/b/",
    "/a/../b": "/b",
    "/a/b/..": "/a/",
    "/a/..": "/",
    "/%2e%2e%2fetc": None,
    "/a/%2e%2e/b": "/b",
    "/a/%2E/b": "/a/b",
    "/...": "/...",
    "/.well-known/x": "/.well-known/x",
    "/a%c3%a9": "/a%C3%A9",
    "/a{b}": "/a%7Bb%7D",
    '/a"b': "/a%22b",
    "/%3b": "/%3B",
    "/a%25b": "/a%25b",
    "/%252e%252e/": "/%252e%252e/",
    "/*": "/*",
    "/%2a": "/*",
}


@pytest.mark.parametrize("target", [t for t, path in SPELLINGS.items() if path])
def test_spelling(target: str) -> None:
    assert canonical_path(target) == (SPELLINGS[target], "")
    assert canonical_path(target.encode()) == (SPELLINGS[target], "")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("", "begins with '/'"),
        ("*", "'*' as a target"),
        ("a/b", "begins with '/'"),
        ("http://a.test/", "absolute form"),
        ("/..", "above the root"),
        ("/a/../../b", "above the root"),
        ("/%2e%2e", "above the root"),
        ("/a%00", "control character %00"),
        ("/a%0d%0a", "control character %0D"),
        ("/a%09", "control character %09"),
        ("/a%7f", "control character %7F"),
        ("/a%2fb", "escaped separator %2F"),
        ("/a%5cb", "escaped separator %5C"),
        ("/a\\b", "read differently"),
        ("/a;b=c", "read differently"),
        ("/..;/admin", "read differently"),
        ("/a%", "hexadecimal"),
        ("/a%4", "hexadecimal"),
        ("/a%zz", "hexadecimal"),
        ("/a%u0041", "hexadecimal"),
        ("/a b", "byte 0x20"),
        ("/a\tb", "byte 0x09"),
        ("/a#b", "byte 0x23"),
        ("/a?b#c", "byte 0x23"),
        ("/a?b c", "byte 0x20"),
        ("/\x80", "non-ASCII"),
        (b"/\x80", "byte 0x80"),
        (b"/a?\xff", "byte 0xff"),
        ("/%c0%af", "no UTF-8"),
        ("/%ff", "no UTF-8"),
        ("/" + "a" * MAX_PATH, "4096 are allowed"),
        ("/" + "^" * 2000, "longer than 4096"),
    ],
)
def test_refusal(target: str | bytes, why: str) -> None:
    with pytest.raises(MalformedTarget, match=why.replace("*", r"\*")):
        canonical_path(target)


def test_the_query_is_kept_byte_for_byte() -> None:
    assert canonical_path("/a/../b?x=%2e%2E&y=/../;?") == ("/b", "x=%2e%2E&y=/../;?")
    assert canonical_path("/b?") == ("/b", "")


def test_an_encoded_slash_is_kept_where_it_is_allowed() -> None:
    assert canonical_path("/@s%2fpkg", allow_encoded_slash=True) == ("/@s%2Fpkg", "")
    for hidden in ("/a%2F..%2Fb", "/..%2fb", "/a%2f.", "/a%2F%2e%2e"):
        with pytest.raises(MalformedTarget, match="dot segment"):
            canonical_path(hidden, allow_encoded_slash=True)


def test_the_longest_path_passes() -> None:
    longest = "/" + "a" * (MAX_PATH - 1)
    assert canonical_path(longest + "?" + "q" * 9000)[0] == longest


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"http://a.test/x?y", (b"a.test", b"/x?y")),
        (b"HTTPS://a.test:8443/", (b"a.test:8443", b"/")),
        (b"http://a.test", (b"a.test", b"/")),
        (b"http://a.test?q", (b"a.test", b"/?q")),
        (b"/http://a.test/", None),
        (b"ftp://a.test/", None),
        (b"*", None),
    ],
)
def test_absolute_form(target: bytes, parts: tuple[bytes, bytes] | None) -> None:
    assert split_absolute(target) == parts
