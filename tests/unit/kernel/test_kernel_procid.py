"""Finding holders of sockets: caches, budget, several owners."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from netmgr.kernel.facts import NetnsId
from netmgr.kernel.images import MAX_ANCESTORS
from netmgr.kernel.procid import ProcessTable

MakeTable = Callable[..., ProcessTable]


def own_netns() -> NetnsId:
    found = os.stat("/proc/self/ns/net")
    return NetnsId(found.st_dev, found.st_ino)


@pytest.fixture
def held() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        yield sock


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


@pytest.fixture
def make_table() -> Iterator[MakeTable]:
    """Makes tables and closes them."""
    with ExitStack() as stack:
        yield lambda *args, **words: stack.enter_context(closing(ProcessTable(*args, **words)))


def patient() -> float:
    """A clock that stands still: no budget ends."""
    return 0.0


def test_our_own_socket_is_ours(held: socket.socket, make_table: MakeTable) -> None:
    owners = make_table(clock=patient).owners(own_netns(), inode(held), 0)
    assert owners.complete
    (found,) = owners.processes
    exe = os.path.realpath(sys.executable)
    assert (found.pid, found.exe) == (os.getpid(), exe)
    assert found.genuine
    assert found.ancestors[0].pid == os.getppid()
    assert len(found.ancestors) <= MAX_ANCESTORS


def test_a_fork_is_a_second_holder(held: socket.socket, make_table: MakeTable) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(read, 1)
        os._exit(0)
    owners = make_table(clock=patient).owners(own_netns(), inode(held), 0)
    os.write(write, b"x")
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)
    assert {found.pid for found in owners.processes} == {os.getpid(), child}


def test_nobody_of_another_namespace_is_an_owner(
    held: socket.socket, make_table: MakeTable
) -> None:
    table = make_table(clock=patient)
    assert table.owners(NetnsId(4, 1), inode(held), 0).processes == ()


def test_an_unknown_socket_has_no_owner(make_table: MakeTable) -> None:
    owners = make_table(clock=patient).owners(own_netns(), 2**31, 7)
    assert (owners.uid, owners.processes) == (7, ())


def test_the_last_owner_is_found_even_where_the_budget_ends(
    held: socket.socket, make_table: MakeTable
) -> None:
    now = 0.0
    table = make_table(clock=lambda: now)
    table.owners(own_netns(), inode(held), 0)
    times = iter([0.0])
    rushed = table
    rushed._clock = lambda: next(times, 1.0)  # the first look uses the budget up
    owners = rushed.owners(own_netns(), inode(held), 0)
    assert not owners.complete
    assert [found.pid for found in owners.processes] == [os.getpid()]


def test_a_process_that_ends_meanwhile_is_no_fault(
    tmp_path: Path, held: socket.socket, make_table: MakeTable
) -> None:
    (tmp_path / "4711").mkdir()
    (tmp_path / "self").mkdir()
    assert make_table(tmp_path).owners(own_netns(), inode(held), 0).processes == ()
