"""Which capabilities of a process make its namespace one that is not attached."""

import pytest

from netmgr.kernel.powers import judge_powers

NONE, DOCKER, NET, SYS, ALL = "0", "a80425fb", "1000", "200000", "1ffffffffff"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, None),
        ({"CapEff": DOCKER, "CapPrm": DOCKER, "CapBnd": DOCKER}, None),
        ({"CapEff": NET, "NoNewPrivs": "1"}, "CAP_NET_ADMIN"),
        ({"CapPrm": SYS, "NoNewPrivs": "1"}, "CAP_SYS_ADMIN"),
        ({"CapAmb": NET, "NoNewPrivs": "1"}, "CAP_NET_ADMIN"),
        ({"CapInh": SYS, "NoNewPrivs": "1"}, "CAP_SYS_ADMIN"),
        ({"CapEff": NONE, "CapBnd": ALL, "NoNewPrivs": "1"}, None),
        ({"CapEff": NONE, "CapBnd": ALL, "NoNewPrivs": "0"}, "CAP_NET_ADMIN"),
    ],
)
def test_powers(fields: dict[str, str], found: str | None) -> None:
    assert judge_powers(fields) == found
