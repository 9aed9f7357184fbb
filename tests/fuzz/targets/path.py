"""Request targets: one spelling, which reads the same everywhere, or `MalformedTarget`."""

import re
from urllib.parse import unquote_to_bytes

from netmgr.policy.path import MAX_PATH, MalformedTarget, canonical_path, split_absolute

WORDS = tuple(
    rb"/ // /. /.. /../ %2e %2E%2e %2f ; %3B %5c \ %00 %25 %252e % %41 %c3%a9 ? ?q= # http://".split()
)
CANONICAL = re.compile(r"(?:/(?:[A-Za-z0-9\-._~!$&'()*+,=:@]|%[0-9A-F]{2})*)+")


def fuzz(data: bytes) -> None:
    """Idempotent, without dots, controls or doubled slashes; encoded slashes only where allowed."""
    for target in (data, b"/" + data):
        strict = _canonical(target, slash=False)
        lax = _canonical(target, slash=True)
        assert strict is None or strict == lax
    parts = split_absolute(data)
    if parts is not None:
        assert parts[1].startswith(b"/")
        assert parts[0] + parts[1].lstrip(b"/") in data or parts[0] in data


def _canonical(target: bytes, *, slash: bool) -> tuple[str, str] | None:
    try:
        path, query = canonical_path(target, slash)
    except MalformedTarget:
        return None
    assert canonical_path(f"{path}?{query}", slash) == (path, query)
    assert CANONICAL.fullmatch(path)
    assert len(path) <= MAX_PATH
    assert "//" not in path
    decoded = unquote_to_bytes(path).decode()
    for text in (path, decoded):
        assert not {".", ".."} & set(text.split("/"))
    assert not re.search(r"[\x00-\x1f\x7f\\]", decoded)
    assert slash or decoded.count("/") == path.count("/")
    return path, query
