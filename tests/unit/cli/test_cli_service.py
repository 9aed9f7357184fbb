"""What the service manager is told, on a socket of the test's own."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netmgr_cli.service import keep_alive, notify, watchdog_period_s


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A datagram socket as systemd gives one."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield sock


def test_nobody_is_told_where_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


def test_a_manager_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/notify")
    notify("READY=1")


@pytest.mark.parametrize(
    ("period", "pid", "expected"),
    [
        ("3000000", None, 3.0),
        ("3000000", "own", 3.0),
        ("3000000", "1", None),
        ("", None, None),
        ("soon", None, None),
        ("0", None, 0.0),
    ],
)
def test_the_period_is_this_processs_own(
    monkeypatch: pytest.MonkeyPatch, period: str, pid: str | None, expected: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", period)
    if pid is None:
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
    else:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert watchdog_period_s() == expected


def test_it_is_alive_while_it_works_and_silent_when_it_hangs(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    calls = 0

    async def works() -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            await asyncio.Event().wait()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(keep_alive(works), 0.5)

    asyncio.run(main())
    assert [manager.recv(64), manager.recv(64)] == [b"WATCHDOG=1", b"WATCHDOG=1"]
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(64)
