"""Who waits at a terminal is told so; who does not, is not."""

import threading
from typing import Any

import pytest

from netmgr.calls import Call
from netmgr.client import Client
from netmgr_cli import patience
from netmgr_cli.options import Session

CALL: Call[Any] = Call("GET", "/v1/status")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], threading.Event]:
    said: list[str] = []
    heard = threading.Event()

    def note(text: str) -> None:
        said.append(text)
        heard.set()

    monkeypatch.setattr(patience.screen, "note", note)
    return said, heard


def test_a_long_wait_is_told_once(
    monkeypatch: pytest.MonkeyPatch, told: tuple[list[str], threading.Event]
) -> None:
    said, heard = told
    monkeypatch.setattr(patience, "PATIENCE_S", 0.0)
    monkeypatch.setattr(Client, "send", lambda self, call: heard.wait(20))
    assert patience.TellingClient("/nowhere").send(CALL) is True
    assert said == [f"the daemon is at work on it; it is given {CALL.deadline_s:g} s"]


def test_a_quick_answer_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch, told: tuple[list[str], threading.Event]
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 3600.0)
    monkeypatch.setattr(Client, "send", lambda self, call: 7)
    before = threading.active_count()
    assert patience.TellingClient("/nowhere").send(CALL) == 7
    assert told[0] == []
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(20)
    assert threading.active_count() == before


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_is_told(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    assert isinstance(Session("/nowhere").client(), patience.TellingClient) is terminal
