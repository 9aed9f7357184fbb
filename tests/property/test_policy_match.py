"""Patterns against naive matchers that try everything."""

import re
from contextlib import suppress
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from netmgr.policy.hosts import WildcardHost, may_overlap, parse_host
from netmgr.policy.match import (
    BadPattern,
    StarText,
    literal_glob,
    method_matches,
    parse_path_glob,
    parse_star_text,
)

ANY = st.characters(exclude_categories=())  # lone surrogates too
LETTERS = st.text("ab", max_size=4)
STARRED = st.text("ab*", max_size=8).filter(lambda text: "*" in text)
SEGMENT = st.text("ab*", max_size=4).filter(lambda text: "**" not in text)
GLOB = st.lists(st.one_of(SEGMENT.filter(bool), st.just("**")), min_size=1, max_size=6).map(
    lambda parts: "/" + "/".join(parts)
)
PATH = st.lists(LETTERS, min_size=1, max_size=7).map(lambda parts: "/" + "/".join(parts))
LABEL = st.text("ab", min_size=1, max_size=3)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join)
PATTERN = st.tuples(
    st.one_of(st.sampled_from(["*", "**"]), st.text("ab*", min_size=1, max_size=3)),
    st.lists(st.one_of(LABEL, st.just("*")), max_size=2),
    st.tuples(LABEL, LABEL),
).map(lambda parts: ".".join((parts[0], *parts[1], *parts[2])))


def naive_star(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(naive_star(pattern[1:], text[n:]) for n in range(len(text) + 1))
    return text[:1] == pattern[0] and naive_star(pattern[1:], text[1:])


def naive_glob(pattern: str, path: str) -> bool:
    @cache
    def fits(want: tuple[str, ...], have: tuple[str, ...]) -> bool:
        if not want:
            return not have
        if want[0] == "**":
            return any(fits(want[1:], have[n:]) for n in range(len(have) + 1))
        return bool(have) and naive_star(want[0], have[0]) and fits(want[1:], have[1:])

    return fits(tuple(pattern[1:].split("/")), tuple(path[1:].split("/")))


def naive_host(pattern: str, name: str) -> bool:
    first, *rest = pattern.split(".")
    head, *labels = name.split(".")
    if first == "**":
        extra = len(labels) - len(rest)
        labels = labels[extra:] if extra >= 0 else []
        first = "*"
    return len(labels) == len(rest) and all(
        naive_star(want, have) for want, have in zip((first, *rest), (head, *labels), strict=True)
    )


def wildcard(text: str) -> WildcardHost | None:
    try:
        host = parse_host(text)
    except BadPattern:
        return None
    return host if isinstance(host, WildcardHost) else None


@given(STARRED, st.text("ab", max_size=10))
def test_stars_in_text(pattern: str, text: str) -> None:
    found: StarText = parse_star_text(pattern.split("*"))
    assert found.matches(text) == naive_star(pattern, text)


@given(GLOB, PATH)
def test_path_globs(pattern: str, path: str) -> None:
    assert parse_path_glob(pattern).matches(path) == naive_glob(pattern, path)


@given(PATH)
def test_a_gap_at_the_end_also_matches_nothing(path: str) -> None:
    prefix = path.rstrip("/") or "/a"
    if "//" not in prefix:
        glob = parse_path_glob(prefix + "/**")
        assert glob.matches(prefix)
        assert glob.matches(prefix + "/")
        assert glob.matches(prefix + "/x/y")
        assert not glob.matches(prefix + "x")


@given(PATTERN, NAME)
def test_host_patterns(pattern: str, name: str) -> None:
    host = wildcard(pattern)
    if host is not None:
        assert host.matches(name) == naive_host(pattern, name)


@given(PATTERN, PATTERN, NAME)
def test_patterns_that_share_a_name_are_said_to_overlap(one: str, other: str, name: str) -> None:
    first, second = wildcard(one), wildcard(other)
    if first and second and first.matches(name) and second.matches(name):
        assert may_overlap(first, second)
        assert may_overlap(second, first)


@given(st.text(ANY, max_size=40))
def test_only_its_own_error_escapes_a_path_pattern(text: str) -> None:
    for candidate in (text, "/" + text):
        with suppress(BadPattern):
            glob = parse_path_glob(candidate)
            assert parse_path_glob(glob.text) == glob


@given(st.one_of(st.text(ANY, max_size=40), st.text("ab*.-0:/[]xX", max_size=30)))
def test_only_its_own_error_escapes_a_host(text: str) -> None:
    with suppress(BadPattern):
        host = parse_host(text)
        assert parse_host(host.text) == host


@given(st.lists(st.text("ab*", min_size=1, max_size=3), min_size=1, max_size=4))
def test_a_literal_pattern_matches_its_path_alone(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    glob = parse_path_glob(literal_glob(path))
    assert glob.matches(path)
    assert not glob.matches(path + "x")
    assert not glob.matches(path.replace("*", "xx")) or "*" not in path


@given(st.sampled_from(["GET", "HEAD", "POST", "*"]), st.sampled_from(["GET", "HEAD", "POST"]))
def test_methods(rule: str, method: str) -> None:
    pattern = {"*": ".*", "GET": "GET|HEAD"}.get(rule, rule)
    assert method_matches(rule, method) == bool(re.fullmatch(pattern, method))
