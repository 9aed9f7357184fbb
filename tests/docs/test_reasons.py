"""docs/troubleshooting.md has one row for each reason, and none for another."""

import re

from docs.stage import ROOT

from netmgr.reasons import Reason

ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
TEXT = (ROOT / "docs" / "troubleshooting.md").read_text()


def test_each_reason_has_its_row() -> None:
    table = TEXT.partition("## Reason codes")[2]
    rows = [code for code, _, _ in ROW.findall(table)]
    assert rows == [reason.value for reason in Reason], "one row each, in the order of reasons.py"


def test_each_row_says_what_to_do() -> None:
    for code, meaning, remedy in ROW.findall(TEXT):
        assert len(meaning.split()) > 3, code
        assert len(remedy.split()) > 1 or remedy.strip() == "-", code
