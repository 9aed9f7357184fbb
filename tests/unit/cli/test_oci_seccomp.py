"""What a container's seccomp profile lets through, without what no network namespace holds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr_cli.shim.oci.seccomp import FAMILIES, PASSES, PERMISSIVE, without_vsock

ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


def rule(*names: str, action: str = ALLOW, **first: Any) -> dict[str, Any]:
    args = [{"index": 0, "op": f"SCMP_CMP_{op}", "value": value} for op, value in first.items()]
    return {"names": list(names), "action": action, "args": args}


def verdict(profile: dict[str, Any], family: int) -> str:
    """What a runtime makes of socket(family, ...): a rule of one condition before one without."""
    matching = [
        (len(one.get("args") or ()), one["action"])
        for one in profile["syscalls"]
        if "socket" in one["names"]
        if all(
            PASSES[arg["op"]](family, arg.get("value", 0), arg.get("valueTwo", 0))
            for arg in one.get("args") or ()
        )
    ]
    return str(max(matching, default=(0, profile["defaultAction"]))[1])


@pytest.mark.parametrize(
    "profile",
    [
        None,
        {"defaultAction": ALLOW},
        {"defaultAction": "SCMP_ACT_LOG", "syscalls": [rule("socket", "bind")]},
        {"defaultAction": ERRNO, "syscalls": [rule("socket", "connect", "io_uring_setup")]},
        {"defaultAction": ERRNO, "syscalls": [rule("socket", NE=16), rule("socket", EQ=16)]},
        {"defaultAction": ERRNO, "syscalls": [rule("socket", GE=2)]},
        {"defaultAction": ERRNO, "syscalls": [{"names": ["socket"], "action": ALLOW}]},
    ],
)
def test_the_family_is_closed_and_the_usual_ones_are_not(profile: dict[str, Any] | None) -> None:
    found = without_vsock(profile)
    for family in (*range(3, 10), 31, 39, 40, 41, 1000):
        assert verdict(found, family) not in PERMISSIVE, family
    for family in (2, 10, 16):
        assert verdict(found, family) in PERMISSIVE
    uring = [one["action"] for one in found["syscalls"] if "io_uring_setup" in one["names"]]
    assert set(uring) <= {ERRNO}
    assert without_vsock(found) == found


def test_other_calls_and_conditions_stay() -> None:
    audit = {"index": 2, "op": "SCMP_CMP_NE", "value": 9}
    given_rules = [rule("read", "socket"), rule("openat"), rule("socket", action=ERRNO, EQ=16)]
    given_rules[0]["args"].append(audit)
    found = without_vsock({"defaultAction": ERRNO, "syscalls": given_rules})["syscalls"]
    assert found[0] == given_rules[0] | {"names": ["read"]}
    assert given_rules[1] in found
    assert given_rules[2] in found
    sockets = [one for one in found if one["names"] == ["socket"] and one["action"] == ALLOW]
    assert len(sockets) == len(FAMILIES)
    assert all(audit in one["args"] for one in sockets)


def test_a_call_has_one_answer() -> None:
    """Two rules that say different things of one call are an error to libseccomp."""
    theirs = rule("socket", action=ERRNO, EQ=40) | {"errnoRet": 1}
    found = without_vsock({"defaultAction": ALLOW, "syscalls": [theirs]})["syscalls"]
    assert [one for one in found if one.get("args") == theirs["args"]] == [theirs]
    every = rule("socket", action=ERRNO)
    found = without_vsock({"defaultAction": ALLOW, "syscalls": [every]})["syscalls"]
    assert [one for one in found if "socket" in one["names"]] == [every]


def test_the_entrance_that_hides_the_family_goes() -> None:
    machines = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    found = without_vsock({"defaultAction": ERRNO, "architectures": machines})
    assert found["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]


conditions = st.lists(
    st.fixed_dictionaries(
        {
            "index": st.integers(0, 2),
            "op": st.sampled_from([*PASSES, "SCMP_CMP_NEW"]),
            "value": st.integers(0, 60),
        },
        optional={"valueTwo": st.integers(0, 60)},
    ),
    max_size=3,
)
rules = st.lists(
    st.fixed_dictionaries(
        {
            "names": st.lists(st.sampled_from(["socket", "read", "io_uring_setup"]), max_size=3),
            "action": st.sampled_from([ALLOW, ERRNO, "SCMP_ACT_KILL", "SCMP_ACT_LOG"]),
        },
        optional={"args": st.none() | conditions},
    ),
    max_size=4,
)


@given(rules, st.sampled_from([ALLOW, ERRNO, "SCMP_ACT_LOG", "SCMP_ACT_KILL_PROCESS"]))
def test_no_rule_lets_the_family_through(syscalls: list[dict[str, Any]], default: str) -> None:
    found = without_vsock({"defaultAction": default, "syscalls": syscalls})
    for one in found["syscalls"]:
        if "socket" in one["names"] and one["action"] in PERMISSIVE:
            first = [arg for arg in one["args"] if arg["index"] == 0]
            assert [arg["op"] for arg in first] == ["SCMP_CMP_EQ"]
            assert first[0]["value"] in FAMILIES
    assert without_vsock(found) == found
