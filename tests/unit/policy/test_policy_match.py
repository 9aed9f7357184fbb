"""Host patterns, path globs and methods, form by form."""

import pytest

from netmgr.policy.hosts import ExactHost, LiteralHost, WildcardHost, may_overlap, parse_host
from netmgr.policy.match import BadPattern, method_matches, parse_path_glob

HOSTS = [
    ("*.w.test", "x.w.test", True),
    ("*.w.test", "w.test", False),
    ("*.w.test", "a.b.w.test", False),
    ("**.w.test", "a.b.w.test", True),
    ("**.w.test", "w.test", False),
    ("*-x.w.test", "eu-x.w.test", True),
    ("*-x.w.test", "eu-y.w.test", False),
    ("a*b*c.w.test", "a1b2c.w.test", True),
    ("a*b*c.w.test", "a12c.w.test", False),
    ("a*a.w.test", "a.w.test", False),
    ("*.s3.*.w.test", "k.s3.eu.w.test", True),
    ("*.s3.*.w.test", "k.s4.eu.w.test", False),
    ("foo.*.w.test", "foo.a.w.test", True),
    ("foo.*.w.test", "bar.a.w.test", False),
    ("**.s3.*.w.test", "a.b.s3.eu.w.test", True),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), HOSTS)
def test_host_patterns(pattern: str, name: str, expected: bool) -> None:
    host = parse_host(pattern)
    assert isinstance(host, WildcardHost)
    assert host.matches(name) is expected


def test_kinds_of_hosts() -> None:
    assert parse_host("A.Test.") == ExactHost("a.test")
    assert isinstance(parse_host("203.0.113.9"), LiteralHost)
    assert parse_host("*.A.Test.") == parse_host("*.a.test")
    assert parse_host("1password.com") == ExactHost("1password.com")
    assert parse_host("*.web.de").text == "*.web.de"


@pytest.mark.parametrize("text", ["ü" * 70 + ".test", "a..test", "-a.test", "a_b.*", "a b.test"])
def test_no_hosts(text: str) -> None:
    with pytest.raises(BadPattern):
        parse_host(text)


OVERLAPS = [
    ("*.x.test", "*.x.test", True),
    ("*.x.test", "**.x.test", True),
    ("*.x.test", "*.y.test", False),
    ("*.a.x.test", "*.x.test", False),
    ("*.a.x.test", "**.x.test", True),
    ("**.a.x.test", "**.x.test", True),
    ("a*.x.test", "b*.x.test", False),
    ("a*.x.test", "*b.x.test", True),
    ("*a.x.test", "*b.x.test", False),
    ("foo.*.x.test", "f*.*.x.test", True),
    ("foo.*.x.test", "b*.*.x.test", False),
    ("foo.*.x.test", "bar.*.x.test", False),
    ("*.s3.*.x.test", "*.eu.x.test", False),
    ("*.s3.*.x.test", "*.*.eu.x.test", True),
    ("*.s3.*.x.test", "*.s4.eu.x.test", False),
]


@pytest.mark.parametrize(("one", "other", "expected"), OVERLAPS)
def test_overlaps(one: str, other: str, expected: bool) -> None:
    first, second = parse_host(one), parse_host(other)
    assert isinstance(first, WildcardHost)
    assert isinstance(second, WildcardHost)
    assert may_overlap(first, second) is may_overlap(second, first) is expected


GLOBS = [
    ("**", "/anything/at/all", True),
    ("/**", "/", True),
    ("/x/**", "/x", True),
    ("/x/**", "/x/", True),
    ("/x/**", "/x/y/z", True),
    ("/x/**", "/xy", False),
    ("/a/**/b", "/a/b", True),
    ("/a/**/b", "/a/x/y/b", True),
    ("/a/**/b", "/a/x/y/c", False),
    ("/**/b/**/c", "/a/b/x/c", True),
    ("/**/b/**/c", "/a/x/c", False),
    ("/**/b/c/**/d", "/b/x/b/c/d", True),
    ("/v1/*", "/v1/a", True),
    ("/v1/*", "/v1/", True),
    ("/v1/*", "/v1", False),
    ("/v1/*", "/v1/a/b", False),
    ("/v1/a*z", "/v1/a-z", True),
    ("/v1/a*z", "/v1/a-y", False),
    ("/a", "/A", False),
    ("/a", "/a/", False),
    ("/%61%20b", "/a%20b", True),
    ("/a b", "/a%20b", True),
    ("/ü", "/%C3%BC", True),
    ("/%2A", "/*", True),
    ("/%2A", "/x", False),
    ("/%2A*", "/*x", True),
    ("**/x", "/a/b/x", True),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), GLOBS)
def test_path_globs(pattern: str, path: str, expected: bool) -> None:
    assert parse_path_glob(pattern).matches(path) is expected


@pytest.mark.parametrize(
    "text", ["", "a", "*", "/a//b", "/./a", "/a/..", "/%2e", "/a?b", "/a#b", "/a;b", "/a%2fb",
             "/a%zz", "/***", "/a**b", "/[a]", "/a\\b", "/a\tb", "/\ud800", "/a" * 65],
)  # fmt: skip
def test_no_path_globs(text: str) -> None:
    with pytest.raises(BadPattern):
        parse_path_glob(text)


@pytest.mark.parametrize(
    ("rule", "method", "expected"),
    [("GET", "GET", True), ("GET", "HEAD", True), ("HEAD", "GET", False), ("*", "BREW", True),
     ("POST", "GET", False), ("POST", "HEAD", False)],
)  # fmt: skip
def test_methods(rule: str, method: str, expected: bool) -> None:
    assert method_matches(rule, method) is expected
