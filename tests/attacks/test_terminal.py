"""A command in a sandbox and the terminal of whoever started it: it holds no part of it."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from world import Sandbox, World

pytestmark = pytest.mark.root

LOOK = "for n in 0 1 2; do test -t $n && echo terminal $n; done; true"
LISTEN = "(timeout 3 head -n1 <&2; timeout 3 head -n1 </proc/self/fd/2) 2>&2 | sed s/^/heard:/"


@pytest.fixture(scope="module")
def box(world: World) -> Iterator[Sandbox]:
    made = world.sandbox("terminal", "version: 1\nnetwork_policies: {}\n")
    yield made
    made.delete()


def start(
    world: World, box: Sandbox, script: str, terminals: set[int]
) -> "tuple[subprocess.Popen[bytes], int]":
    """Run a script inside with some of its streams on a terminal; the terminal's other end."""
    ours, theirs = pty.openpty()
    streams = [theirs if n in terminals else subprocess.PIPE for n in range(3)]
    argv = [sys.executable, "-I", "-m", "netmgr_cli", "--socket", str(world.netmgrd.socket)]
    argv += ["sandbox", "exec", "--user", "nobody", box.name, "--", "/bin/sh", "-c", script]
    try:
        return subprocess.Popen(
            world.host.command(*argv), stdin=streams[0], stdout=streams[1], stderr=streams[2]
        ), ours
    finally:
        os.close(theirs)


def shown(terminal: int) -> bytes:
    """All that was written to a terminal whose other end is closed."""
    data = b""
    while select.select([terminal], [], [], 5)[0]:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # EIO: nobody has it open any more
            break
        if not piece:
            break
        data += piece
    os.close(terminal)
    return data


@pytest.mark.parametrize("terminals", [{2}, {1, 2}, {0}, {0, 2}])
def test_no_stream_of_its_is_the_hosts_terminal(
    world: World, box: Sandbox, terminals: set[int]
) -> None:
    process, terminal = start(world, box, LOOK, terminals)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"terminal" not in (out or b"") + (err or b"") + shown(terminal)


def test_what_is_typed_elsewhere_is_not_heard(world: World, box: Sandbox) -> None:
    process, terminal = start(world, box, LISTEN, {2})
    time.sleep(1.0)
    os.write(terminal, b"a password\n")
    out, _ = process.communicate(timeout=30)
    os.close(terminal)
    assert b"password" not in out


def test_words_still_come_through(world: World, box: Sandbox) -> None:
    process, terminal = start(world, box, "echo told >&2; echo data", {2})
    out, _ = process.communicate(timeout=30)
    assert out == b"data\n"
    assert b"told" in shown(terminal)


def test_what_is_typed_for_it_comes_in(world: World, box: Sandbox) -> None:
    process, terminal = start(world, box, "read x; echo got $x", {0})
    os.write(terminal, b"this\n")
    assert process.stdout is not None
    assert process.stdout.read() == b"got this\n"
    process.communicate(timeout=30)
    os.close(terminal)
