"""Where an added endpoint goes: nobody gets a (program, endpoint, port) that was not asked for."""

import copy
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.policy.merge import Wanted, fold, paths_of, ports_of, widening
from netmgr.policy.operations import AddEndpoint
from netmgr.policy.programs import ANY_BINARY

CURL, GIT = "/usr/bin/curl", "/usr/bin/git"
Doc = dict[str, Any]


def entry(*paths: str, ports: tuple[int, ...] = (443,), others: int = 0, **more: Any) -> Doc:
    endpoints: list[Doc] = [{"host": "a.test", "ports": list(ports)}]
    endpoints += [{"host": f"o{number}.test", "port": 443} for number in range(others)]
    return {**more, "endpoints": endpoints, "binaries": [{"path": path} for path in paths]}


def wanted(*paths: str, expires: str | None = None, **more: Any) -> Wanted:
    return Wanted(AddEndpoint("a.test", 443, **more), paths or (ANY_BINARY,), expires)


@pytest.mark.parametrize(
    ("stands", "asked", "obstacle"),
    [
        (entry(CURL), wanted(CURL), None),
        (entry(CURL, others=1), wanted(CURL), None),
        (entry(ANY_BINARY, others=1), wanted(GIT), None),
        (entry(CURL), wanted(GIT), None),
        (entry(CURL, others=1), wanted(GIT), "/usr/bin/git would inherit the other endpoints"),
        (entry(CURL, ports=(443, 22)), wanted(GIT), "/usr/bin/git would inherit the other"),
        (entry(CURL, others=1), wanted(), "/** would inherit the other endpoints"),
        (entry(CURL, expires="2030-01-01"), wanted(CURL), "ends 2030-01-01"),
        (entry(CURL, expires="2030-01-01"), wanted(CURL, expires="2030-01-01"), None),
        (entry(CURL), wanted(CURL, expires="2030-01-01"), None),
        (entry(CURL, GIT), wanted(CURL, options=("allow_encoded_slash",)), "/usr/bin/git would"),
        (entry(CURL), wanted(CURL, options=("allow_encoded_slash",)), None),
        (
            entry(CURL, ports=(443, 80)),
            wanted(CURL, options=("allow_encoded_slash",)),
            "allow_encoded_slash would change its other ports",
        ),
    ],
)
def test_folding_stops_where_it_would_grant_more(
    stands: Doc, asked: Wanted, obstacle: str | None
) -> None:
    before = copy.deepcopy(stands)
    folded = fold(stands, "web.endpoints[0]", stands["endpoints"][0], asked)
    if obstacle is None:
        assert folded.obstacle is None
    else:
        assert obstacle in (folded.obstacle or "")
        assert stands == before


def test_folding_keeps_what_stands_and_says_so() -> None:
    stands = entry(CURL)
    endpoint = stands["endpoints"][0] | {"protocol": "rest", "access": "read-only"}
    asked = wanted(CURL, access="full", protocol="rest", enforcement="audit")
    folded = fold(stands, "web.endpoints[0]", endpoint, asked)
    assert endpoint["access"] == "read-only"
    assert [note.split(",")[0] for note in folded.notes] == [
        "web.endpoints[0] keeps its access 'read-only'",
        "web.endpoints[0] keeps its enforcement 'enforce'",
    ]


@pytest.mark.parametrize(
    ("stands", "asked", "obstacle"),
    [
        (entry(CURL), wanted(CURL), None),
        (entry(CURL, GIT), wanted(CURL), "programs of entry 'web' would inherit a.test:443"),
        (entry(CURL), wanted(CURL, GIT), "/usr/bin/git would inherit the other endpoints of entry"),
        (entry(CURL), wanted(), "programs of entry 'web' would inherit"),
        (entry(CURL), wanted(CURL, expires="2030-01-01"), "entry 'web' ends never"),
        (entry(CURL, expires="2030-01-01"), wanted(CURL), "a.test:443 would end with it"),
    ],
)
def test_a_named_entry_takes_only_what_widens_nothing(
    stands: Doc, asked: Wanted, obstacle: str | None
) -> None:
    told = widening(stands, "web", asked)
    assert told is None if obstacle is None else obstacle in (told or "")


PATHS = st.lists(st.sampled_from([CURL, GIT, "/bin/sh", ANY_BINARY]), min_size=1, max_size=3)
STANDS = st.builds(
    lambda paths, ports, others: entry(*dict.fromkeys(paths), ports=tuple(ports), others=others),
    PATHS,
    st.lists(st.sampled_from([443, 80, 22]), min_size=1, max_size=3, unique=True).map(
        lambda ports: [443, *(port for port in ports if port != 443)]
    ),
    st.integers(0, 2),
)


def pairs(doc: Doc) -> set[tuple[str, str, int]]:
    everybody = (CURL, GIT, "/bin/sh", "/bin/other")
    allowed = everybody if ANY_BINARY in paths_of(doc) else paths_of(doc)
    hosts = [(e["host"], port) for e in doc["endpoints"] for port in ports_of(e)]
    return {(path, host, port) for path, (host, port) in product(allowed, hosts)}


@given(STANDS, PATHS)
def test_no_fold_grants_an_undeclared_pair(stands: Doc, paths: list[str]) -> None:
    asked = wanted(*dict.fromkeys(paths))
    before = pairs(stands)
    declared = pairs(asked.entry_doc())
    folded = fold(stands, "web.endpoints[0]", stands["endpoints"][0], asked)
    granted = pairs(stands) - before
    assert granted <= declared
    if folded.obstacle is None:
        assert declared <= pairs(stands)
