"""The ambiguity check names both endpoints, finds every pair, and leaves harmless ones alone."""

import pytest

from netmgr.policy.decision import Request, Target, Treatment
from netmgr.policy.overlap import MAX_WILDCARDS
from netmgr.policy.owner import Owner, Program
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import MAX_SHOWN, PolicyError

AUTO, SKIP, TCP, SQL = "", "tls: skip", "protocol: tcp", "protocol: sql"
REST, AUDIT = "protocol: rest, access: full", "protocol: rest, access: full, enforcement: audit"


def pair(one: tuple[str, str], other: tuple[str, str], ports: tuple[int, int] = (443, 443)) -> str:
    lines = ["version: 1", "network_policies:"]
    for key, (host, traits), port in zip("ab", (one, other), ports, strict=True):
        lines += [
            f"  {key}:",
            "    binaries: [{path: /**}]",
            f"    endpoints: [{{host: '{host}', port: {port}{traits and ', ' + traits}}}]",
        ]
    return "\n".join(lines)


CONTRADICTIONS = [
    (AUTO, SKIP, "tls 'auto' against 'skip'"),
    (REST, SKIP, "tls 'auto' against 'skip'"),
    (AUTO, TCP, "protocol '' against 'tcp'"),
    (REST, TCP, "protocol 'rest' against 'tcp'"),
    (AUTO, SQL, "protocol '' against 'sql'"),
    (REST, AUDIT, "enforcement 'enforce' against 'audit'"),
]
HOSTS = [
    ("a.x.test", "a.x.test"),
    ("a.x.test", "*.x.test"),
    ("a.b.x.test", "**.x.test"),
    ("*.x.test", "**.x.test"),
    ("*.b.x.test", "**.x.test"),
    ("a*.x.test", "*b.x.test"),
    ("**.x.test", "*.s3.*.x.test"),
    ("203.0.113.9", "203.0.113.9"),
]


CASES = [
    (hosts, contradiction)
    for hosts in HOSTS
    for contradiction in CONTRADICTIONS
    # protocol tcp and sql need a name
    if "203" not in hosts[0] or not {TCP, SQL} & set(contradiction)
]


@pytest.mark.parametrize(("hosts", "contradiction"), CASES)
def test_a_contradiction_names_both(
    hosts: tuple[str, str], contradiction: tuple[str, str, str]
) -> None:
    one, other, what = contradiction
    with pytest.raises(PolicyError) as caught:
        parse_policy(pair((hosts[0], one), (hosts[1], other)), "x.yaml")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("x.yaml:")
    assert line.split(":")[1] in ("5", "8")
    assert "a.endpoints[0]" in line
    assert "b.endpoints[0]" in line
    words = what.partition(" against ")
    assert what in line or f"{words[0].split(' ')[0]} {words[2]} against" in line


@pytest.mark.parametrize(
    "hosts",
    [("a.x.test", "b.x.test"), ("*.x.test", "x.test"), ("*.x.test", "a.b.x.test"),
     ("a*.x.test", "b*.x.test"), ("*.x.test", "*.y.x.test"), ("*.a.x.test", "**.b.x.test"),
     ("*.docker.internal", "host.docker.internal")],
    ids="/".join,
)  # fmt: skip
def test_hosts_that_never_meet_may_differ(hosts: tuple[str, str]) -> None:
    parse_policy(pair((hosts[0], AUTO), (hosts[1], SKIP)), "x")


def test_ports_that_never_meet_may_differ() -> None:
    parse_policy(pair(("a.x.test", AUTO), ("a.x.test", SKIP), (443, 8443)), "x")


@pytest.mark.parametrize(
    ("one", "other"),
    [(AUTO, REST), (AUTO, AUDIT), (REST, REST), (TCP, SQL), (SKIP, SKIP)],
)
def test_what_agrees_may_overlap(one: str, other: str) -> None:
    parse_policy(pair(("a.x.test", one), ("*.x.test", other)), "x")


def test_crowded_wildcards_are_refused() -> None:
    crowd = [{"host": f"a{n}-*.x.test", "port": 443} for n in range(MAX_WILDCARDS + 1)]
    entry = {"endpoints": crowd, "binaries": [{"path": "/**"}]}
    with pytest.raises(PolicyError, match="more than 256 different wildcards under"):
        Policy.from_doc({"version": 1, "network_policies": {"a": entry}})
    entry["endpoints"] = crowd[1:]
    Policy.from_doc({"version": 1, "network_policies": {"a": entry}})


def test_a_crowd_that_would_take_long_to_compare_is_refused() -> None:
    ports = list(range(1, 101))
    crowd = [{"host": f"*{n}*.x.test", "ports": ports} for n in range(MAX_WILDCARDS)]
    entry = {"endpoints": crowd, "binaries": [{"path": "/**"}]}
    with pytest.raises(PolicyError, match="too many endpoints overlap to compare them"):
        Policy.from_doc({"version": 1, "network_policies": {"a": entry}})


def test_only_so_many_contradictions_are_told() -> None:
    endpoints = [
        {"host": "a.test", "port": port, **traits}
        for port in range(1, 101)
        for traits in ({}, {"tls": "skip"})
    ]
    entry = {"endpoints": endpoints, "binaries": [{"path": "/**"}]}
    with pytest.raises(PolicyError) as caught:
        Policy.from_doc({"version": 1, "network_policies": {"a": entry}})
    assert len(caught.value.problems) == MAX_SHOWN


def test_ten_thousand_paths_on_one_host_are_checked_without_comparing_all_pairs() -> None:
    endpoints = [
        {
            "host": "a.test",
            "port": 443,
            "protocol": "rest",
            "access": "full",
            "path": f"/service-{number:05}/**",
        }
        for number in range(10_000)
    ]
    doc = {
        "version": 1,
        "network_policies": {"web": {"endpoints": endpoints, "binaries": [{"path": "/**"}]}},
    }
    policy = Policy.from_doc(doc)
    assert len(policy.entries[0].endpoints) == 10_000
    endpoints.append({**endpoints[7], "enforcement": "audit"})
    with pytest.raises(PolicyError) as caught:
        Policy.from_doc(doc)
    (problem,) = caught.value.problems
    assert problem.key == "network_policies.web.endpoints[10000]"
    assert "contradicts web.endpoints[7] (a.test)" in problem.message
    assert "enforcement 'enforce' against 'audit'" in problem.message


def for_programs(one: str, other: str, *traits: str) -> Policy:
    text = "version: 1\nnetwork_policies:"
    for key, binary, said in zip("ab", (one, other), traits, strict=True):
        text += f"""
  {key}:
    endpoints: [{{host: x.test, port: 443, {said}}}]
    binaries: [{{path: {binary}}}]"""
    return parse_policy(text, "x.yaml")


GIT, CURL = "/usr/bin/git", "/usr/bin/curl"
BY_GIT, BY_CURL, BY_BOTH = (
    Owner((tuple(map(Program, paths)),)) for paths in ((GIT,), (CURL,), (GIT, CURL))
)


def test_endpoints_of_different_programs_need_not_agree_and_the_stricter_holds_for_both() -> None:
    policy = for_programs(GIT, CURL, "tls: skip", "protocol: rest, access: read-only")
    target = Target("x.test", None, 443)
    assert policy.judge_connection(target, BY_GIT).treatment is Treatment.SPLICE
    assert policy.judge_connection(target, BY_CURL).treatment is Treatment.TERMINATE
    assert policy.judge_connection(target, BY_BOTH).treatment is Treatment.TERMINATE
    policy = for_programs(
        GIT,
        CURL,
        "protocol: rest, access: read-only, enforcement: audit, allow_encoded_slash: true",
        "protocol: rest, access: read-only",
    )
    post, slash = Request("POST", "/"), Request("GET", "/a%2Fb")
    verdicts = [
        [policy.judge_request(target, request, owner).permits for request in (post, slash)]
        for owner in (BY_GIT, BY_CURL, BY_BOTH)
    ]
    assert verdicts == [[True, True], [False, False], [False, False]]


@pytest.mark.parametrize("other", [GIT, "/usr/bin/*", "/**"])
def test_endpoints_that_one_program_may_use_must_agree(other: str) -> None:
    with pytest.raises(PolicyError, match=r"contradicts a\.endpoints"):
        for_programs(GIT, other, "tls: skip", "protocol: rest, access: full")
