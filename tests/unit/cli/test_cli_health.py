"""Health, hub and a sandbox's kernel side: what stands first, and that all fits 80 columns."""

from typing import Any

import pytest

from netmgr_cli import health, render, render_routes, screen
from netmgr_cli.render import Fields, Grid, Title

WELL = {
    "ok": True, "version": "9.9", "uptime_s": 7300.5, "sandboxes": 2,
    "workers": [{"name": "dns-0", "state": "ready", "pid": 7, "restarts": 0}],
    "firewall": {"ok": True, "differences": []}, "journal": {"available": True, "last_seq": 15},
}  # fmt: skip
LINK = {"name": "nm1", "kind": "veth", "up": True, "carrier": True, "mtu": 1500, "rx_packets": 4,
        "tx_packets": 5, "mac": "02:00:00:00:00:01", "index": 3, "arp": False}  # fmt: skip
RULE = "-p tcp " + "-m set --match-set a-very-long-name-of-a-set src,dst,dst " * 3 + "-j ACCEPT"
HUB = {
    "instance": "netmgr", "netns": {"path": "/run/netns/netmgr-hub", "links": [LINK]},
    "sets": [{"name": "s", "type": "hash:ip", "max_entries": 64, "entries": [{"entry": "1"}] * 3}],
    "sockets": [], "sysctl_differences": [],
    "rules": {"chains": [
        {"family": "ip", "table": "raw", "chain": "PREROUTING", "policy": "DROP",
         "counters": [0, 0], "rules": [{"rule": RULE, "counters": [12, 700]}]},
    ]},
}  # fmt: skip


def drawn(blocks: list[render.Block], capsys: pytest.CaptureFixture[str]) -> str:
    screen.draw(blocks)
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines())
    return text


def test_status_begins_with_whether_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split(maxsplit=1) for line in drawn(health.status(WELL), capsys).splitlines()]
    assert lines[:4] == [
        ["ok", "yes"],
        ["firewall", "as it should be"],
        ["journal", "available, 15 records so far"],
        ["uptime", "2h"],
    ]


def test_status_says_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    firewall = {"ok": False, "differences": [{"what": "chain INPUT", "found": "ACCEPT"}]}
    text = drawn(health.status(WELL | {"ok": False, "firewall": firewall}), capsys)
    assert text.startswith("ok         no\nfirewall   differs, see below\n")
    assert "chain INPUT" in text


def test_rules_stand_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = health.hub(HUB)
    place = blocks.index(Title("ip raw PREROUTING, else DROP"))
    assert blocks[place + 1] == Grid(("PACKETS", "RULE"), (("12", RULE),))
    assert Grid(("SET", "TYPE", "ENTRIES"), (("s", "hash:ip", "3 of 64"),)) in blocks
    assert "12 " in drawn(blocks, capsys)


def test_the_kernels_part_of_a_sandbox() -> None:
    found = {"differences": [], "counters": {"denied_packets": 3}, "hub_link": LINK, "bound": True}
    blocks = health.kernel({"kernel": found})
    assert blocks[:2] == [
        Title("kernel"),
        Fields((("differences", "none"), ("denied_packets", "3"), ("bound", "yes"))),
    ]
    assert health.kernel({}) == []


@pytest.mark.parametrize(
    ("route", "pairs"),
    [
        (
            {"health": {"verified": True, "at": 0.5}, "provider": "p", "model": "m"},
            (("model", "m"), ("provider", "p"), ("verified", "1970-01-01 00:00:00Z")),
        ),
        (
            {"health": {"verified": False, "at": None}},
            (("verified", "no: `netmgr inference test` does it"),),
        ),
        ({"timeout_s": 60, "total_timeout_s": 0}, (("timeout", "60 s"), ("total timeout", "none"))),
    ],
)
def test_a_route_for_people(route: dict[str, Any], pairs: tuple[tuple[str, str], ...]) -> None:
    title, fields = render_routes.route_blocks({"scope": "all", **route})
    assert title == Title("inference.local (every sandbox)")
    assert fields == Fields(pairs)


def test_doctor_begins_with_what_fails() -> None:
    from netmgr_cli.doctor import _blocks
    from netmgr_cli.hostchecks import Check, State

    checks = [
        Check("a", State.OK, "x"),
        Check("b", State.FAIL, "y", "do"),
        Check("c", State.WARN, ""),
    ]
    grid = _blocks(checks)[0]
    assert isinstance(grid, Grid)
    assert [row[:2] for row in grid.rows] == [("fail", "b"), ("warn", "c"), ("ok", "a")]
