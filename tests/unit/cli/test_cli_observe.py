"""Records: filters, one line each, and following over a restart of the daemon."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from netmgr.errors import BadInput, NotFound
from netmgr_cli.observe import clock, lines_of, parse_since

Netmgr = Callable[..., Any]


def record(**more: Any) -> dict[str, Any]:
    return {
        "seq": 1, "time": "2026-01-31T12:00:00.123456Z", "sandbox": "demo", "kind": "connection",
        "verdict": "allowed", "reason": "allowed", "rule": "web.endpoints[0]", "count": 1,
        "destination": {"name": "a.example", "ip": "198.18.0.9", "port": 443, "protocol": "tcp"},
        "message": "", "remedy": None, **more,
    }  # fmt: skip


def test_filters_reach_the_daemon(netmgr: Netmgr, daemon: Any) -> None:
    netmgr(
        "observe", "--sandbox", "demo", "--verdict", "denied", "--kind", "dns", "--name", "*.x",
        "--since", "1h", "--limit", "5",
    )  # fmt: skip
    query = daemon.last[2]
    assert float(query.pop("since")) > 1_700_000_000
    assert query == {
        "sandbox": "demo", "verdict": "denied", "kind": "dns", "name": "*.x", "limit": "5",
    }  # fmt: skip


def test_the_latest_hundred_unless_told(netmgr: Netmgr, daemon: Any) -> None:
    netmgr("observe")
    assert daemon.last[2] == {"limit": "100"}


def test_a_denial_shows_what_would_allow_it(netmgr: Netmgr) -> None:
    head, remedy = netmgr("observe").out.splitlines()
    assert head.split()[2:] == ["denied", "dns", "demo", "evil.example", "no_matching_rule", "x3"]
    assert remedy == "    allow it: netmgr policy update demo x"


def test_json_is_one_object_per_line(netmgr: Netmgr, daemon: Any) -> None:
    daemon.answers["GET /v1/records"] = [record(seq=1), record(seq=2)]
    lines = netmgr("observe", "-o", "json").out.splitlines()
    assert len(lines) == 2


def test_yaml_is_one_document_each(netmgr: Netmgr, daemon: Any) -> None:
    daemon.answers["GET /v1/records"] = [record(seq=1), record(seq=2)]
    documents = list(yaml.safe_load_all(netmgr("observe", "-o", "yaml").out))
    assert [document["seq"] for document in documents] == [1, 2]


def test_ocsf_is_one_event_per_line(netmgr: Netmgr, daemon: Any) -> None:
    daemon.answers["GET /v1/records"] = [record(seq=1), record(seq=2, kind="dns")]
    events = [json.loads(line) for line in netmgr("observe", "-o", "ocsf").out.splitlines()]
    assert [event["class_uid"] for event in events] == [4001, 4003]
    assert all(event["metadata"]["version"] == "1.8.0" for event in events)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"http": {"method": "GET", "path": "/v1"}}, "GET a.example:443/v1"),
        ({"inference": {"model": "m"}}, "a.example:443 model=m"),
        ({"destination": {"ip": "192.0.2.1", "port": 53, "protocol": "udp"}}, "192.0.2.1:53/udp"),
        ({"destination": None, "sandbox": None}, "connection - -"),
        ({"rule": "x"}, "a.example:443 by x"),
        (
            {"rule": "x", "verdict": "denied", "reason": "deny_rule"},
            "a.example:443 deny_rule rule: x",
        ),
        (
            {"destination": {"name": None}, "kind": "lifecycle", "message": "sandbox created"},
            "lifecycle demo sandbox created",
        ),
        ({"verdict": "failed", "message": "no route"}, "    no route"),
    ],
)
def test_lines(more: dict[str, Any], words: str) -> None:
    text = "\n".join(lines_of(record(**more), colour=False))
    assert " ".join(words.split()) in " ".join(text.split())


DEEDS = {"destination": {"name": None}, "rule": None, "message": "it is so"}


@pytest.mark.parametrize("kind", ["config", "lifecycle", "finding"])
def test_what_netmgr_did_itself_is_told_by_its_message(kind: str) -> None:
    (line,) = lines_of(record(**DEEDS, kind=kind), colour=False)
    assert line.split()[2:] == ["-", kind, "demo", "it", "is", "so"]
    (line,) = lines_of(record(**DEEDS, kind=kind, verdict="failed", count=7), colour=False)
    assert line.split()[2:] == ["failed", kind, "demo", "it", "is", "so"]


def test_the_date_is_shown_where_it_is_not_today() -> None:
    at = 1_700_000_000.25
    assert clock(at, at + 1).endswith(".250")
    assert clock(at, at + 86400).startswith("2023-11-1")
    assert clock(None) == "-"
    assert clock("soon") == "soon"


def test_what_a_sandbox_says_cannot_drive_the_terminal() -> None:
    evil = {"name": "\x1b[2J\x07evil\n", "ip": None, "port": 1, "protocol": "tcp"}
    for line in lines_of(record(destination=evil, verdict="denied", remedy="\x9b"), colour=False):
        assert "\x1b" not in line
        assert "\x07" not in line
        assert "\x9b" not in line


def test_following_goes_on_where_a_stream_ended(
    netmgr: Netmgr, daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netmgr_cli.observe.PAUSE_S", 0.01)
    daemon.answers["GET /v1/records"] = ([record(seq=41)], [record(seq=42)], NotFound("enough"))
    done = netmgr("observe", "-f", "-o", "json", "--limit", "1")
    assert (done.status, len(done.out.splitlines())) == (3, 2)
    assert [asked[2] for asked in daemon.asked] == [
        {"limit": "1", "follow": "1"},
        {"after": "41", "follow": "1"},
        {"after": "42", "follow": "1"},
    ]


def test_since() -> None:
    assert parse_since("90s", 1000.0) == 910.0
    assert parse_since("2h", 10_000.0) == 2800.0
    assert parse_since("1970-01-02T00:00:00Z", 0.0) == 86400.0


@pytest.mark.parametrize("text", ["", "h", "-1h", "yesterday", "10", "1.5h", "\u0661h"])
def test_since_that_is_none(text: str) -> None:
    with pytest.raises(BadInput):
        parse_since(text, 0.0)
