"""Every row of docs/compatibility.md about policy files, as data: what this side does is so.

A row is a file, or one endpoint, with what is asked of it and answered (verdict or reason), or the
message that refuses it. What only the wire can show names the test that does.
"""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from netmgr.policy.calls.call import parse_graphql_call, parse_rpc_call
from netmgr.policy.decision import Decision, Request, Target
from netmgr.policy.explain import explain
from netmgr.policy.owner import ANYONE
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
PAGE: Final = ROOT / "docs" / "compatibility.md"
ROWS: Final[dict[str, dict[str, Any]]] = yaml.safe_load(
    (HERE / "compatibility.yaml").read_text(encoding="utf-8")
)
_HEAD: Final = "| subject |"


def subjects() -> list[str]:
    """The first column of the page's tables."""
    found: list[str] = []
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith(_HEAD):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            found.append(line.split("|")[1].strip())
    return found


def text_of(row: dict[str, Any]) -> str:
    """The file of a row: its own, or an endpoint (or several) in an entry for every program."""
    if "file" in row:
        return yaml.safe_dump(row["file"]) if isinstance(row["file"], dict) else str(row["file"])
    endpoints = row.get("endpoints") or [row["endpoint"]]
    entry = {"endpoints": endpoints, "binaries": row.get("binaries", [{"path": "/**"}])}
    return yaml.safe_dump({"version": 1, "network_policies": {"e": entry}})


def ask(policy: Policy, question: str) -> Decision:
    """`METHOD TARGET [OPERATION]`, or `TARGET` alone."""
    method, _, rest = question.rpartition("https://") if "https://" in question else ("", "", "")
    if not rest:
        return explain(policy, question, "GET", ()).decision
    target, _, operation = rest.partition(" ")
    if not operation:
        return explain(policy, f"https://{target}", method.strip() or "GET", ()).decision
    host, slash, path = target.partition("/")
    graphql = operation.startswith(("query", "mutation", "subscription", "persisted"))
    call = parse_graphql_call(operation) if graphql else parse_rpc_call(operation)
    request = Request(method.strip(), slash + path, calls=(call,))
    return policy.judge_request(Target(host, None, 443), request, ANYONE)


def test_every_row_of_the_page_is_here() -> None:
    listed = subjects()
    assert len(listed) == len(set(listed))
    assert set(listed) == set(ROWS)


def rows(kind: str) -> list[Any]:
    return [pytest.param(row, id=name) for name, row in ROWS.items() if kind in row]


@pytest.mark.parametrize("row", rows("refused"))
def test_a_file_that_is_refused(row: dict[str, Any]) -> None:
    for part in row.get("each") or [row]:
        with pytest.raises(PolicyError, match=row["refused"]):
            parse_policy(text_of(row | part), "p.yaml")


@pytest.mark.parametrize("row", rows("asked"))
def test_a_file_that_means_something_else(row: dict[str, Any]) -> None:
    policy = parse_policy(text_of(row), "p.yaml")
    for question, answer in row["asked"].items():
        decision = ask(policy, question)
        said = (decision.verdict.value, decision.reason.value)
        assert answer in said, f"{question}: {said}, {decision.message}"


@pytest.mark.parametrize("row", rows("warned"))
def test_a_file_with_a_warning(row: dict[str, Any]) -> None:
    policy = parse_policy(text_of(row), "p.yaml")
    assert any(row["warned"] in str(warning) for warning in policy.warnings), policy.warnings


@pytest.mark.parametrize("row", rows("shown"))
def test_what_the_wire_shows_is_tested_there(row: dict[str, Any]) -> None:
    for path, words in row["shown"].items():
        assert words in (ROOT / path).read_text(encoding="utf-8"), f"{path} lacks {words!r}"


def test_each_row_has_a_test() -> None:
    kinds = {"refused", "asked", "warned", "shown"}
    assert [name for name, row in ROWS.items() if not kinds & set(row)] == []
