"""Queries as rules see them: decoded one way, or `MalformedTarget`."""

from urllib.parse import parse_qsl

from netmgr.policy.path import MalformedTarget, canonical_path
from netmgr.policy.query import MAX_PAIRS, parse_query

WORDS = tuple(rb"& = + ; % %00 %3B %26 %3D %2B %c3%a9 %ff %c0%af a=1 &&a a%5B%5D=".split())


def fuzz(data: bytes) -> None:
    """What passes is what the standard library's form parser reads, and nothing is sent changed."""
    try:
        _, query = canonical_path(b"/?" + data)
    except MalformedTarget:
        return
    assert query.encode() == data
    try:
        found = parse_query(query)
    except MalformedTarget:
        return
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PAIRS)
    wanted: dict[str, list[str]] = {}
    for key, value in pairs:
        wanted.setdefault(key, []).append(value)
    assert found == wanted
    assert "\0" not in "".join(found)
