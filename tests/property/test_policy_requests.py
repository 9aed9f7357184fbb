"""Requests against a slow judge that reads the document itself and tries everything."""

from contextlib import suppress
from functools import cache
from itertools import combinations
from typing import Any
from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from netmgr.policy.decision import Request, Target
from netmgr.policy.match import BadPattern, parse_path_glob
from netmgr.policy.path import MalformedTarget
from netmgr.policy.path_table import PathTable
from netmgr.policy.policy import Policy
from netmgr.policy.problems import PolicyError
from netmgr.policy.query import parse_query, parse_text_glob
from netmgr.reasons import Reason, Verdict

HERE = Target("a.test", None, 443)
WORD = st.sampled_from(["a", "b", "ab"])
SEGMENT = st.sampled_from(["a", "b", "ab", "a*", "*b", "*", "**"])
GLOB = st.lists(SEGMENT, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
PATH = st.lists(WORD, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
METHOD = st.sampled_from(["GET", "HEAD", "POST", "*"])
VALUE_GLOB = st.sampled_from(["", "1", "x*", "*", "*y", "x y"])
MATCHER = st.one_of(
    VALUE_GLOB,
    st.fixed_dictionaries({"glob": VALUE_GLOB}),
    st.fixed_dictionaries({"any": st.lists(VALUE_GLOB, min_size=1, max_size=2)}),
)
RULE = st.fixed_dictionaries(
    {"method": METHOD, "path": GLOB},
    optional={"query": st.dictionaries(st.sampled_from(["k", "l"]), MATCHER, max_size=2)},
)
ENDPOINT = st.fixed_dictionaries(
    {
        "host": st.just("a.test"),
        "port": st.just(443),
        "protocol": st.just("rest"),
        "rules": st.lists(RULE.map(lambda rule: {"allow": rule}), min_size=1, max_size=3),
    },
    optional={
        "path": GLOB,
        "enforcement": st.sampled_from(["audit", "enforce"]),
        "deny_rules": st.lists(RULE, min_size=1, max_size=2),
    },
)
ASKED = st.sampled_from(["GET", "HEAD", "POST"])
PAIR = st.tuples(
    st.sampled_from(["k", "l", "%6B", "K"]),
    st.sampled_from(["", "=", "=1", "=x", "=xy", "=x+y", "=x%20y", "=%31"]),
).map("".join)
QUERY = st.lists(PAIR, max_size=3).map("&".join)


def naive_text(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(naive_text(pattern[1:], text[n:]) for n in range(len(text) + 1))
    return text[:1] == pattern[0] and naive_text(pattern[1:], text[1:])


def naive_glob(pattern: str, path: str) -> bool:
    @cache
    def fits(want: tuple[str, ...], have: tuple[str, ...]) -> bool:
        if not want:
            return not have
        if want[0] == "**":
            return any(fits(want[1:], have[n:]) for n in range(len(have) + 1))
        return bool(have) and naive_text(want[0], have[0]) and fits(want[1:], have[1:])

    return fits(tuple(pattern[1:].split("/")), tuple(path[1:].split("/")))


def narrowness(endpoint: Any) -> int:
    path = endpoint.get("path", "/**")
    return 0 if path == "/**" else len(path.replace("*", ""))


def crosses(pattern: str, path: str) -> bool:
    """As where the files come from: `*` crosses `/`."""
    segments = pattern.split("/")
    return any("*" in s and s != "**" for s in segments) and naive_text(
        pattern.replace("**", "*"), path
    )


def globs_of(matcher: Any) -> list[str]:
    if isinstance(matcher, str):
        return [matcher]
    return list(matcher["any"]) if "any" in matcher else [matcher["glob"]]


def fits(rule: Any, method: str, path: str, query: str, quantifier: Any) -> bool:
    if rule["method"] not in ("*", method) and (rule["method"], method) != ("GET", "HEAD"):
        return False
    if not naive_glob(rule["path"], path):
        return False
    pairs = parse_qsl(query, keep_blank_values=True)
    for key, matcher in rule.get("query", {}).items():
        values = [v for k, v in pairs if k == key]
        verdicts = [any(naive_text(g, v) for g in globs_of(matcher)) for v in values]
        if not values or not quantifier(verdicts):
            return False
    return True


def naive_verdict(endpoints: list[Any], method: str, path: str, query: str) -> str:
    having = [e for e in endpoints if naive_glob(e.get("path", "/**"), path)]
    if not having:
        return "denied"
    narrowest = max(having, key=narrowness)
    audits = narrowest.get("enforcement") == "audit"
    denying = [
        e
        for e in having
        if any(fits(rule, method, path, query, any) for rule in e.get("deny_rules", ()))
    ]
    if any(not audits or e.get("enforcement") != "audit" for e in denying):
        return "denied"
    if denying:
        return "audited"
    for e in endpoints:
        if narrowness(e) > narrowness(narrowest) and crosses(e.get("path", "/**"), path):
            return "denied"
    rules = [rule["allow"] for e in having for rule in e["rules"]]
    if any(fits(rule, method, path, query, all) for rule in rules):
        return "allowed"
    return "audited" if audits else "denied"


def load(endpoints: list[Any]) -> Policy | None:
    entry = {"endpoints": endpoints, "binaries": [{"path": "/**"}]}
    try:
        return Policy.from_doc({"version": 1, "network_policies": {"web": entry}})
    except PolicyError as error:
        if "contradicts" not in error.message:
            raise
        return None


@given(
    st.lists(ENDPOINT, min_size=1, max_size=3),
    st.sampled_from(["GET", "HEAD", "POST"]),
    PATH,
    QUERY,
)
def test_a_request_is_judged_as_the_slow_judge_does(
    endpoints: list[Any], method: str, path: str, query: str
) -> None:
    policy = load(endpoints)
    if policy is None:
        return
    decision = policy.judge_request(HERE, Request(method, path, query))
    assert decision.verdict.value == naive_verdict(endpoints, method, path, query)
    if decision.verdict is Verdict.ALLOWED:
        assert decision.reason is Reason.ALLOWED


@given(st.lists(ENDPOINT, min_size=2, max_size=3))
def test_only_equally_narrow_paths_that_may_meet_contradict(endpoints: list[Any]) -> None:
    expected = any(
        narrowness(one) == narrowness(other)
        and parse_path_glob(one.get("path", "/**")).meets(parse_path_glob(other.get("path", "/**")))
        and one.get("enforcement", "enforce") != other.get("enforcement", "enforce")
        for one, other in combinations(endpoints, 2)
    )
    assert (load(endpoints) is None) == expected


@given(st.lists(st.tuples(GLOB, st.integers()), max_size=8), PATH)
def test_a_table_finds_what_trying_all_finds(things: list[tuple[str, int]], path: str) -> None:
    table = PathTable((parse_path_glob(glob), thing) for glob, thing in things)
    assert table.covering(path) == [thing for glob, thing in things if naive_glob(glob, path)]


@given(GLOB, GLOB, PATH)
def test_globs_that_share_a_path_are_said_to_meet(one: str, other: str, path: str) -> None:
    first, second = parse_path_glob(one), parse_path_glob(other)
    assert first.meets(second) == second.meets(first)
    if naive_glob(one, path) and naive_glob(other, path):
        assert first.meets(second)


@given(st.lists(WORD | st.just("**"), max_size=4), st.lists(WORD | st.just("**"), max_size=4))
def test_whether_globs_without_stars_in_segments_meet_is_exact(
    one: list[str], other: list[str]
) -> None:
    def common(want: list[str], facing: list[str]) -> bool:
        if not want or not facing:
            return all(part == "**" for part in (*want, *facing))
        if want[0] == "**":
            return common(want[1:], facing) or common(want, facing[1:])
        if facing[0] == "**":
            return common(want, facing[1:]) or common(want[1:], facing)
        return want[0] == facing[0] and common(want[1:], facing[1:])

    if one and other:
        first, second = (parse_path_glob("/" + "/".join(parts)) for parts in (one, other))
        assert first.meets(second) == common(one, other)


@given(st.text("ab*", max_size=6), st.text("ab", max_size=6))
def test_patterns_of_values(pattern: str, value: str) -> None:
    assert parse_text_glob(pattern).matches(value) == naive_text(pattern, value)


@given(st.text(max_size=20))
def test_only_its_own_error_escapes_a_value_pattern(text: str) -> None:
    with suppress(BadPattern):
        assert parse_text_glob(text).text == text


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_only_its_own_error_escapes_a_query(text: str) -> None:
    with suppress(MalformedTarget):
        found = parse_query(text)
        assert sum(map(len, found.values())) <= text.count("&") + 1


@given(QUERY)
def test_a_query_is_read_as_forms_are(query: str) -> None:
    wanted: dict[str, list[str]] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        wanted.setdefault(key, []).append(value)
    assert parse_query(query) == wanted
