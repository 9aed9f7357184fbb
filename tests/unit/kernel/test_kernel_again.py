"""The same program connects again: known at once, and not known where anything may have changed."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from netmgr.kernel.facts import NO_WANTS, NetnsId, Owners, Wants
from netmgr.kernel.procid import ProcessTable

DEADLINE_S = 20.0
WANTS = Wants(links=("/usr/bin/nothing",))
# Does what it is told by a line, and answers each with the inode of the socket that it holds.
HOLDER = """
import os, socket, sys
held = socket.socket()
for line in sys.stdin:
    what, _, rest = line.strip().partition(" ")
    if what == "again":
        held.close()
        held = socket.socket()
    elif what == "exec":
        held.set_inheritable(True)
        os.execv(rest, [rest, "-c", "import sys; print(1, flush=True); sys.stdin.read()"])
    print(os.fstat(held.fileno()).st_ino, flush=True)
"""
# Takes a descriptor from its standard input whenever one comes.
TAKER = """
import socket
door = socket.socket(fileno=0)
while True:
    socket.recv_fds(door, 1, 1)
    door.send(b"!")
"""


class Sandbox:
    """Some processes as a namespace of their own, whatever else runs on this machine."""

    def __init__(self, table: ProcessTable, patch: pytest.MonkeyPatch) -> None:
        found = os.stat("/proc/self/ns/net")
        self.netns = NetnsId(found.st_dev, found.st_ino)
        self.table = table
        self.pids: tuple[int, ...] = ()
        population = table._population
        for name in ("of", "since", "last"):
            patch.setattr(population, name, lambda _: self.pids)

    def owners(self, inode: int, wants: Wants = WANTS) -> Owners:
        return self.table.owners(self.netns, inode, 0, wants)

    def again(self, inode: int, wants: Wants = WANTS) -> Owners | None:
        return self.table.owners_again(self.netns, inode, 0, wants)


class Holder:
    """A process with a socket."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process, self.pid = process, process.pid

    def do(self, line: str) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(code: str, exe: str = sys.executable, **words: object) -> "subprocess.Popen[str]":
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, **words}
            process = subprocess.Popen([exe, "-c", code], **pipes)  # type: ignore[call-overload]
            stack.enter_context(process)  # closes its pipes
            stack.callback(process.kill)
            return process  # type: ignore[no-any-return]

        yield begin


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with closing(ProcessTable(clock=lambda: 0.0)) as table:
        yield Sandbox(table, monkeypatch)


def settle(box: Sandbox, holder: Holder) -> Owners:
    """It has connected, and everybody else sleeps: what is said at once from then on."""
    ends = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends:
        box.owners(holder.do("again"))
        known = box.again(holder.do("again"))
        if known is not None:
            return known
        time.sleep(0.01)
    pytest.fail("it was never known at once")


Known = tuple[Holder, "subprocess.Popen[str]", socket.socket]


@pytest.fixture
def known(box: Sandbox, start: Start) -> Iterator[Known]:
    """A holder that is known at once, a sleeper beside it, and the way to pass that a socket."""
    ours, theirs = socket.socketpair()
    taker = start(TAKER, stdin=theirs, stdout=None)
    theirs.close()
    holder = Holder(start(HOLDER))
    box.pids = (holder.pid, taker.pid)
    (found,) = settle(box, holder).processes
    assert found.pid == holder.pid
    with ours:
        yield holder, taker, ours


def test_the_answer_is_the_very_same(box: Sandbox, known: Known) -> None:
    holder, _, _ = known
    inode = holder.do("again")
    told = box.again(inode)
    assert told is not None
    assert told is box.again(inode)
    assert told == box.owners(inode)
    assert told is box.again(inode, NO_WANTS), "more is known than was asked"


@pytest.mark.parametrize("wants", [Wants(links=("/usr/bin/other",)), Wants(WANTS.links, True)])
def test_what_was_not_asked_is_not_known(box: Sandbox, known: Known, wants: Wants) -> None:
    holder, _, _ = known
    assert box.again(holder.do("again"), wants) is None


def test_another_socket_is_not_theirs(box: Sandbox, known: Known) -> None:
    with socket.socket() as mine:
        assert box.again(os.fstat(mine.fileno()).st_ino) is None


def test_whoever_ran_an_exec_is_looked_at(box: Sandbox, known: Known, tmp_path: Path) -> None:
    holder, _, _ = known
    inode = holder.do("again")
    assert box.again(inode) is not None
    other = shutil.copy(os.path.realpath(sys.executable), tmp_path / "other")
    holder.do(f"exec {other}")
    assert box.again(inode) is None
    assert [p.exe for p in box.owners(inode).processes] == [str(other)]


def test_a_file_that_was_touched_is_looked_at(box: Sandbox, start: Start, tmp_path: Path) -> None:
    program = shutil.copy(os.path.realpath(sys.executable), tmp_path / "program")
    home = {**os.environ, "PYTHONHOME": sys.base_prefix}
    holder = Holder(start(HOLDER, str(program), env=home))
    box.pids = (holder.pid,)
    before = settle(box, holder)
    os.utime(program, (1, 1))
    inode = holder.do("again")
    assert box.again(inode) is None
    assert box.owners(inode).processes[0].content != before.processes[0].content


def test_a_sleeper_that_was_passed_the_socket_is_found(box: Sandbox, known: Known) -> None:
    holder, taker, door = known
    inode = holder.do("again")
    # Taken out of the holder by us: to the taker it makes no difference who sends it.
    pidfd = os.pidfd_open(holder.pid)
    fds = os.listdir(f"/proc/{holder.pid}/fd")
    held = [n for n in fds if os.readlink(f"/proc/{holder.pid}/fd/{n}") == f"socket:[{inode}]"]
    copy = _getfd(pidfd, int(held[0]))
    os.close(pidfd)
    socket.send_fds(door, [b"x"], [copy])
    assert door.recv(1) == b"!"
    os.close(copy)
    assert box.again(inode) is None
    assert {p.pid for p in box.owners(inode).processes} == {holder.pid, taker.pid}


def _getfd(pidfd: int, number: int) -> int:
    """pidfd_getfd(2); the number is the same on every architecture."""
    import ctypes

    found = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, number, 0)
    if found < 0:
        pytest.skip("pidfd_getfd is not allowed here")
    return int(found)


def test_somebody_new_is_looked_at(box: Sandbox, known: Known) -> None:
    holder, _, _ = known
    box.pids = (os.getpid(), *box.pids)
    assert box.again(holder.do("again")) is None


def test_a_holder_that_has_ended_holds_nothing(box: Sandbox, known: Known) -> None:
    holder, _, _ = known
    inode = holder.do("again")
    holder.process.kill()
    holder.process.wait()
    assert box.again(inode) is None
    assert box.owners(inode).processes == ()


def test_files_that_were_closed_prove_nothing(box: Sandbox, known: Known) -> None:
    holder, taker, _ = known
    box.table._sleepers._drop(taker.pid)
    assert box.again(holder.do("again")) is None
