"""The journal's chain: whatever is changed in the file shows."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from netmgr.journal.chain import check_chain, link
from netmgr.journal.disk import JournalFile, Numbered

RECORD = {"sandbox": "s", "kind": "dns", "verdict": "allowed", "destination": {"name": "a.test"}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of ten records, written in three goes and by two processes."""
    found = tmp_path / "journal.db"
    for seqs in (range(1, 4), range(4, 8), range(8, 11)):
        file = JournalFile(found)
        file.append([Numbered(n, 1000.0 + n, RECORD, f'{{"seq":{n}}}') for n in seqs])
        file.close()
    return found


def broken(path: Path) -> tuple[int, ...]:
    file = JournalFile(path)
    try:
        return file.verify().broken
    finally:
        file.close()


def test_what_was_written_is_whole(path: Path) -> None:
    file = JournalFile(path)
    report = file.verify()
    file.close()
    assert (report.ok, report.records, report.first, report.last) == (True, 10, 1, 10)
    assert len(report.head) == 64


TAMPERING: dict[str, tuple[str, int]] = {
    "changed": ("UPDATE records SET body = '{}' WHERE seq = 4", 4),
    "the first changed": ("UPDATE records SET body = '{}' WHERE seq = 1", 1),
    "taken out": ("DELETE FROM records WHERE seq = 5", 6),
    "cut off": ("DELETE FROM records WHERE seq > 8", 10),
    "put in": ("INSERT INTO records VALUES (11, 0, 's', 'dns', 'allowed', '', '{}', 'x')", 11),
    "exchanged": ("UPDATE records SET seq = 12 - seq WHERE seq = 5", 6),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_shows(path: Path, name: str) -> None:
    statement, where = TAMPERING[name]
    with sqlite3.connect(path) as raw:
        if name == "exchanged":
            raw.execute("UPDATE records SET seq = 99 WHERE seq = 7")
            raw.execute("UPDATE records SET seq = 7 WHERE seq = 5")
            raw.execute("UPDATE records SET seq = 5 WHERE seq = 99")
            where = 5
        else:
            raw.execute(statement)
    raw.close()
    assert broken(path)[0] == where


def test_what_was_pruned_is_no_break(path: Path) -> None:
    file = JournalFile(path)
    file.prune(4, 0)
    report = file.verify()
    file.close()
    assert (report.ok, report.first, report.records) == (True, 7, 4)


def test_a_journal_without_a_chain_gets_one(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("ALTER TABLE records DROP COLUMN chain")
        raw.execute("ALTER TABLE last DROP COLUMN chain")
        raw.execute("PRAGMA user_version = 1")
    raw.close()
    file = JournalFile(path)
    file.append([Numbered(11, 2000.0, RECORD, "{}")])
    report = file.verify()
    file.close()
    assert (report.ok, report.records, report.unchained) == (True, 1, 10)


def test_nothing_is_whole() -> None:
    assert check_chain([], 0, "").ok


@pytest.mark.parametrize("make", [lambda: link("", "a"), lambda: link("a", "")])
def test_a_link_covers_both(make: Callable[[], str]) -> None:
    assert make() != link("", "")
    assert make() == make()
