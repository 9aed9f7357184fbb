"""`limits` of an entry: what is read, how it comes back, and its messages."""

import pytest

from netmgr.policy.limits import EntryLimits
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError


def policy(limits: str) -> Policy:
    return parse_policy(
        "version: 1\nnetwork_policies:\n  web:\n"
        "    endpoints: [{host: a.test, port: 443}]\n    binaries: [{path: /**}]\n"
        f"    limits: {limits}\n",
        "web.yaml",
    )


SIZES = {
    "64KiB": (65536, "64KiB"),
    "64 KiB": (65536, "64KiB"),
    "1000": (1000, 1000),
    "1000B": (1000, 1000),
    "2048": (2048, "2KiB"),
    "200MiB": (200 << 20, "200MiB"),
    "1024GiB": (1 << 40, "1TiB"),
}


@pytest.mark.parametrize("text", SIZES)
def test_sizes_are_read_and_come_back(text: str) -> None:
    given = policy(f"{{bytes_per_hour: {text}}}")
    size, spelling = SIZES[text]
    assert given.limits_of("web.endpoints[0]") == EntryLimits(bytes_per_hour=size)
    assert given.to_doc()["network_policies"]["web"]["limits"] == {"bytes_per_hour": spelling}
    assert Policy.from_doc(given.to_doc()) == given


def test_no_limits_are_none() -> None:
    for text in ("", "{}"):
        assert policy(text).limits_of("web.endpoints[0]") is None
    limited = policy("{request_bytes: 1}")
    assert limited.limits_of("other.endpoints[0].access") is None
    assert limited.limits_of(None) is None


FORM = "expected bytes: a whole number, or one with KiB, MiB, GiB or TiB"
PROBLEMS = {
    "3": ": expected keys and values, got 3",
    "{request_byte: 3}": ".request_byte: unknown key; did you mean 'request_bytes'?",
    "{request_bytes: 0}": ".request_bytes: expected 1 byte to 1024TiB, got 0",
    "{request_bytes: 1025TiB}": ".request_bytes: expected 1 byte to 1024TiB, got '1025TiB'",
    "{request_bytes: -1}": f".request_bytes: {FORM}, got -1",
    "{request_bytes: much}": f".request_bytes: {FORM}, got 'much'",
    "{request_bytes: true}": f".request_bytes: {FORM}, got true",
    "{request_bytes: [1]}": f".request_bytes: {FORM}, got a list",
    "{request_bytes: 64kib}": f".request_bytes: {FORM}, got the unit 'kib'; did you mean 'KiB'?",
    "{request_bytes: 64MB}": f".request_bytes: {FORM}, got the unit 'MB'",
}


@pytest.mark.parametrize("text", PROBLEMS)
def test_bad_limits_are_refused_with_their_message(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(text)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"web.yaml:6: network_policies.web.limits{PROBLEMS[text]}")
