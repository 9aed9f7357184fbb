"""Blocks and how they are drawn. Pure but for the drawing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr_cli import render, screen
from netmgr_cli.render import Fields, Grid, Text, Title

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text())
def test_printable_text_holds_nothing_that_drives_a_terminal(text: str) -> None:
    assert all(c.isprintable() or c == "\n" for c in render.printable(text))


@given(JSON)
def test_every_cell_is_one_printable_text(value: Any) -> None:
    assert render.cell(value)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_anything_can_be_shown(value: dict[str, Any]) -> None:
    for block in render.anything(value):
        match block:
            case Grid(columns, rows):
                assert all(len(row) == len(columns) for row in rows)
            case Fields(pairs):
                assert all(name is not None and text for name, text in pairs)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "yes"), (1.5, "1.5"), ([1, "a"], "1, a"), ({"k": 1}, "k=1"), ("", "-")],
)
def test_cells(value: object, text: str) -> None:
    assert render.cell(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (200_000, "2d"), (-5, "0s")],
)
def test_age(seconds: int, text: str) -> None:
    assert render.age(1000, 1000 + seconds) == text


def test_wide_objects_stand_one_after_the_other() -> None:
    wide = {f"key{n}": n for n in range(9)}
    assert render.anything({"items": [wide, wide]}) == [
        Title("items"),
        *[Fields(tuple((key, str(n)) for key, n in wide.items()))] * 2,
    ]


def test_wide_objects_stand_below_their_names() -> None:
    wide = {"name": "eth0", **{f"key{n}": n for n in range(9)}}
    assert render.anything({"links": [wide]})[:2] == [Title("links"), Title("eth0")]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"digest": "", "changed": False}, "unchanged: revision 2 says the same"),
        ({"digest": "sha256:abc", "changed": True}, "revision 2 is in force (abc)"),
        ({"changed": True}, "revision 2 is in force"),
    ],
)
def test_policy_changes(answer: dict[str, Any], text: str) -> None:
    assert render.policy_change({"revision": 2, **answer}, dry_run=False) == [Text(text)]


def drawn(blocks: list[render.Block], capsys: pytest.CaptureFixture[str]) -> str:
    screen.draw(blocks)
    return capsys.readouterr().out


def test_tables_fold_and_lose_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = "x" * 150
    text = drawn([Grid(("NAME", "WHAT"), (("a", long),)), Fields((("key", long),))], capsys)
    assert text.count("x") == 300
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_remedy_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    remedy = "netmgr policy update demo --add-endpoint " + "a" * 200 + ":443"
    assert drawn([Text(remedy)], capsys) == remedy + "\n"


def test_markup_of_others_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert "[red]:smile:[/red]" in drawn([Grid(("A",), (("[red]:smile:[/red]",),))], capsys)
    assert "[bold]" in drawn([Title("[bold]"), Text("[link]")], capsys)


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert screen.colourful()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not screen.colourful()
