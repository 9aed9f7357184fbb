"""A hijacked worker that outlives its daemon: it must not go on serving sandboxes."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from world import World
from world.namespaces import inside

pytestmark = pytest.mark.root

PIDFD_GETFD = 438  # the same on every architecture
POLICY = """\
version: 1
network_policies:
  any:
    endpoints: [{host: echo.test, port: 5432}]
    binaries: [{path: "/**"}]
"""


def take_sockets(pid: int) -> list[int]:
    """Copies of a worker's sockets, as the worker itself has them."""
    libc = ctypes.CDLL(None, use_errno=True)
    taken = []
    handle = os.pidfd_open(pid)
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                taken.append(libc.syscall(PIDFD_GETFD, handle, int(name), 0))
    os.close(handle)
    return taken


def survivor(hub: str, pid: int) -> int:
    """A process in the hub with the worker's sockets and user, which no signal but SIGKILL ends.
    Nobody is told of its parent's death, and it never looks at the daemon's channel."""
    facts = Path(f"/proc/{pid}/status").read_text()
    uid = next(int(line.split()[1]) for line in facts.splitlines() if line.startswith("Uid:"))
    sockets = take_sockets(pid)
    child = os.fork()
    if child == 0:
        with suppress(BaseException), inside(hub):
            os.setresuid(uid, uid, uid)
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
            time.sleep(120)
        os._exit(0)
    for fd in sockets:
        os.close(fd)
    return child


@pytest.mark.parametrize("kind", ["proxy", "dns"])
def test_it_is_ended_before_a_new_daemon_serves(make_world: Callable[[], World], kind: str) -> None:
    world = make_world()
    daemon = world.daemon()
    box = world.sandbox("a", POLICY)
    hub = str(daemon.hub.path)
    worker = next(pid for pid, found in daemon.processes().items() if found == kind)
    child = survivor(hub, worker)
    try:
        daemon.kill()
        daemon.start()
        ended, status = os.waitpid(child, os.WNOHANG)
        assert ended == child
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        assert box.run("true").returncode == 0
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
