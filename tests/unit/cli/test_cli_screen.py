"""What reaches a terminal says things; it does not do things."""

import json

import pytest

from netmgr_cli import screen
from netmgr_cli.options import Format

EVIL = "\x1b[2J\x9b2J\x7f\u202e\u2028\u2066ü文"


def test_json_holds_no_character_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show({"tenant": EVIL}, [], Format.JSON)
    screen.show_line({"tenant": EVIL})
    shown = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "ü文" in shown
    whole, line = shown[: shown.rindex("{")], shown[shown.rindex("{") :]
    assert json.loads(whole) == json.loads(line) == {"tenant": EVIL}
