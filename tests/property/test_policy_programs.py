"""Programs: patterns of files against a naive matcher, owners and addresses from anything."""

import re
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import BadInput
from netmgr.policy.hosts import suggest_address
from netmgr.policy.match import BadPattern
from netmgr.policy.owner import UNKNOWN, Fault, Owner, Program, parse_owner
from netmgr.policy.programs import ProgramPattern, Programs, parse_file_glob

COMPONENT = st.sampled_from(["a", "b", "ab", "usr", "x.y"])
PATTERN_PART = COMPONENT | st.sampled_from(["*", "**", "a*", "*b", "u*r"])
PATHS = st.lists(COMPONENT, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
PATTERNS = st.lists(PATTERN_PART, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
PROGRAMS = st.builds(
    Program,
    path=PATHS,
    sha256=st.none() | st.just("a" * 64),
    links=st.lists(PATHS, max_size=2).map(tuple),
    script=st.none() | PATHS,
    fault=st.none() | st.sampled_from(Fault),
)
CHAINS = st.lists(PROGRAMS, min_size=1, max_size=3).map(tuple)
OWNERS = st.lists(CHAINS, max_size=3).map(lambda chains: Owner(tuple(chains)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["path", "sha256", "links", "script", "fault", "x"]), inner
        )
    ),
    max_leaves=10,
)


def naive(pattern: str, path: str) -> bool:
    """What the documents say, as a regular expression."""
    parts = []
    for part in pattern[1:].split("/"):
        parts.append(
            "(?:/[^/]+)*" if part == "**" else "/" + re.escape(part).replace(r"\*", "[^/]*")
        )
    return re.fullmatch("".join(parts), path) is not None


@given(PATTERNS, PATHS)
def test_patterns_mean_what_the_documents_say(pattern: str, path: str) -> None:
    assert parse_file_glob(pattern).matches(path) is naive(pattern, path)


@given(st.text(max_size=40))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        glob = parse_file_glob(text)
    except BadPattern:
        return
    assert not glob.exact or glob.matches(text)


@given(OWNERS)
def test_owners_cross_the_wire(owner: Owner) -> None:
    assert parse_owner(owner.to_doc()) == owner


@given(JSON)
def test_any_json_is_an_owner_or_refused(doc: object) -> None:
    try:
        owner = parse_owner(doc)
    except BadInput:
        return
    assert not owner.anyone


@given(st.lists(PATTERNS, min_size=1, max_size=3), OWNERS, CHAINS)
def test_a_further_holder_never_opens_anything(
    patterns: list[str], owner: Owner, chain: tuple[Program, ...]
) -> None:
    programs = Programs.of(tuple(ProgramPattern(parse_file_glob(p)) for p in patterns))
    more = Owner((*owner.chains, chain))
    if programs.admits(more) and owner.chains:
        assert programs.admits(owner)
    assert programs.any or not programs.admits(UNKNOWN)


@given(st.integers(0, 2**32 - 1))
def test_every_number_is_named_by_its_address(number: int) -> None:
    for text in (str(number), hex(number), f"0{number:o}"):
        assert suggest_address(text).endswith(str(IPv4Address(number)))


@given(st.text(alphabet="0123456789abcdefxX.", max_size=70))
def test_any_spelling_is_read_or_left(text: str) -> None:
    assert isinstance(suggest_address(text), str)
