"""canonical_path on any bytes: only its own error, idempotent, no dots, nothing to re-read."""

import re
from contextlib import suppress
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from netmgr.policy.path import MAX_PATH, MalformedTarget, canonical_path

WORDS = r"/ // a b.c . .. %2e %2E%2e %2f %2F ; ;x=1 %3B %5c \ %00 %25 %252e % %4 %41 %c3%a9 %ff"
PIECES = st.sampled_from((*WORDS.split(), "?", "?q=/..", "*", "{", "~"))
HOSTILE = st.lists(PIECES, max_size=14).map(lambda parts: "/" + "".join(parts))
CANONICAL = re.compile(r"(?:/(?:[A-Za-z0-9\-._~!$&'()*+,=:@]|%[0-9A-F]{2})*)+")


def canonical(target: str | bytes, slash: bool) -> tuple[str, str]:
    try:
        return canonical_path(target, slash)
    except MalformedTarget:
        assume(False)
        raise


@given(st.binary(max_size=200), st.booleans())
def test_only_its_own_error_escapes(target: bytes, slash: bool) -> None:
    for candidate in (target, b"/" + target):
        with suppress(MalformedTarget):
            canonical_path(candidate, slash)


@given(st.text(st.characters(exclude_categories=()), max_size=100))
def test_only_its_own_error_escapes_text(target: str) -> None:
    with suppress(MalformedTarget):
        canonical_path("/" + target)


@given(HOSTILE, st.booleans())
def test_it_is_idempotent(target: str, slash: bool) -> None:
    path, query = canonical(target, slash)
    assert canonical_path(path, slash) == (path, "")
    assert canonical_path(f"{path}?{query}", slash) == (path, query)


@given(HOSTILE, st.booleans())
def test_what_comes_out_can_be_read_in_one_way_only(target: str, slash: bool) -> None:
    path, _ = canonical(target, slash)
    assert CANONICAL.fullmatch(path)
    assert len(path) <= MAX_PATH
    assert "//" not in path
    decoded = unquote_to_bytes(path)
    decoded.decode("utf-8")
    for text in (path, decoded.decode("utf-8")):
        assert not {".", ".."} & set(text.split("/"))
    assert b"\\" not in decoded
    assert not re.search(rb"[\x00-\x1f\x7f]", decoded)
    assert slash or decoded.count(b"/") == path.count("/")


@given(HOSTILE)
def test_allowing_encoded_slashes_changes_nothing_else(target: str) -> None:
    path, query = canonical(target, False)
    assert canonical_path(target, True) == (path, query)


@given(st.lists(st.sampled_from(["a", "b", ".", "..", ""]), min_size=1, max_size=12))
def test_dots_resolve_as_in_rfc_3986(segments: list[str]) -> None:
    target = "/" + "/".join(segments)
    kept: list[str] = []
    for segment in segments:
        if segment == ".." and not kept:
            with pytest.raises(MalformedTarget):
                canonical_path(target)
            return
        if segment == "..":
            kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    expected = "/" + "/".join(kept)
    if kept and segments[-1] in ("", ".", ".."):
        expected += "/"
    assert canonical_path(target) == (expected, "")
