"""Who has slept holds what it held; whoever ran is looked at again."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netmgr.kernel import sleepers as room
from netmgr.kernel.facts import NetnsId
from netmgr.kernel.procid import ProcessTable
from netmgr.kernel.sleepers import Sleepers

# Waits for a line, takes a descriptor from its standard input, says so, and waits again.
TAKER = """
import array, socket, sys
door = socket.socket(fileno=0)
while True:
    _, _, _, _ = door.recvmsg(1, socket.CMSG_SPACE(4))
    door.send(b"!")
"""
BUSY = "while True: pass"
THREADS = """
import threading, time
for _ in range(3): threading.Thread(target=time.sleep, args=(600,)).start()
"""


class Looks:
    """Counts how often a process was looked at."""

    def __init__(self, *found: str) -> None:
        self.found = list(found)
        self.count = 0

    def __call__(self, pid: int) -> list[str]:
        self.count += 1
        return self.found


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts Python programs, and ends them."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(program: str, **words: object) -> subprocess.Popen[bytes]:
        running.append(subprocess.Popen([sys.executable, "-c", program], **words))  # type: ignore[call-overload]
        return running[-1]

    yield begin
    for each in running:
        each.kill()
        each.wait()


@pytest.fixture
def sleepers() -> Iterator[Sleepers]:
    with closing(Sleepers()) as made:
        yield made


def wait_until_looked_at_no_more(sleepers: Sleepers, pid: int) -> Looks:
    """It has come to sleep."""
    looks = Looks("socket:[1]", "/dev/null")
    for _ in range(500):
        before = looks.count
        assert "socket:[1]" in sleepers.held(pid, looks)
        if looks.count == before:
            return looks
        time.sleep(0.02)
    pytest.fail("it never slept")


def test_who_slept_is_not_looked_at_again(
    start: Callable[..., subprocess.Popen[bytes]], sleepers: Sleepers
) -> None:
    sleeper = start("import time; time.sleep(600)")
    looks = wait_until_looked_at_no_more(sleepers, sleeper.pid)
    before = looks.count
    assert list(sleepers.held(sleeper.pid, looks)) == ["socket:[1]"]
    assert looks.count == before


def test_every_thread_counts(
    start: Callable[..., subprocess.Popen[bytes]], sleepers: Sleepers
) -> None:
    wait_until_looked_at_no_more(sleepers, start(THREADS).pid)


def test_who_runs_is_looked_at_each_time(
    start: Callable[..., subprocess.Popen[bytes]], sleepers: Sleepers
) -> None:
    busy, looks = start(BUSY), Looks()
    for turn in range(1, 20):
        sleepers.held(busy.pid, looks)
        assert looks.count == turn
        time.sleep(0.005)


def test_a_socket_that_is_passed_to_a_sleeper_is_found(
    start: Callable[..., subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    found = os.stat("/proc/self/ns/net")
    netns = NetnsId(found.st_dev, found.st_ino)
    with ours, theirs, socket.socket() as passed, closing(ProcessTable()) as table:
        taker = start(TAKER, stdin=theirs)
        inode = os.fstat(passed.fileno()).st_ino
        # Whatever else runs on this machine: only these two are asked for.
        monkeypatch.setattr(table._population, "of", lambda _: (taker.pid, os.getpid()))
        wait_until_looked_at_no_more(table._sleepers, taker.pid)
        table._sleepers._drop(taker.pid)
        for _ in range(3):
            assert [p.pid for p in table.owners(netns, inode, 0).processes] == [os.getpid()]
        socket.send_fds(ours, [b"x"], [passed.fileno()])
        assert ours.recv(1) == b"!"
        holders = {p.pid for p in table.owners(netns, inode, 0).processes}
        assert holders == {os.getpid(), taker.pid}


def test_who_ended_is_looked_at_and_nobody_is_found(
    start: Callable[..., subprocess.Popen[bytes]], sleepers: Sleepers
) -> None:
    sleeper = start("import time; time.sleep(600)")
    wait_until_looked_at_no_more(sleepers, sleeper.pid)
    sleeper.kill()
    sleeper.wait()

    def gone(pid: int) -> list[str]:
        raise FileNotFoundError(pid)

    with pytest.raises(FileNotFoundError):
        sleepers.held(sleeper.pid, gone)


def test_a_kernel_that_proves_nothing_has_everybody_looked_at(
    start: Callable[..., subprocess.Popen[bytes]],
) -> None:
    sleeper, looks = start("import time; time.sleep(600)"), Looks()
    with closing(Sleepers(release="5.15.0-generic")) as old:
        for turn in range(1, 5):
            time.sleep(0.1)
            old.held(sleeper.pid, looks)
            assert looks.count == turn


def test_no_more_files_stay_open_than_the_bound(
    start: Callable[..., subprocess.Popen[bytes]],
    sleepers: Sleepers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sleepers, "_max_open", 2)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(4):
        wait_until_looked_at_no_more(sleepers, start("import time; time.sleep(600)").pid)
    assert len(os.listdir("/proc/self/fd")) - before == 2


@pytest.mark.parametrize(
    ("schedstat", "wchan"), [("0 0 0\n", "do_wait"), ("1 2 3\n", "0"), ("1 2 3\n", "")]
)
def test_what_is_no_proof_is_none(tmp_path: Path, schedstat: str, wchan: str) -> None:
    for place in (tmp_path / "7", tmp_path / "7/task/7"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "schedstat").write_text(schedstat)
        (place / "wchan").write_text(wchan)
    looks = Looks()
    with closing(Sleepers(str(tmp_path), "6.1.0")) as made:
        made.held(7, looks)
        made.held(7, looks)
    assert looks.count == 2
    assert room.version("6.1.0-9-amd64") == (6, 1)
    assert room.version("none") == (0, 0)
