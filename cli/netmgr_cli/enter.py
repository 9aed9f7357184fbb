"""Owns: starting one command inside a sandbox, seen from outside: namespaces, signals, status.

    netmgr (root, host) ── fork into a new pid namespace ──> init (netmgr_cli.inside)
                                                              └─ fork ──> the command

This process stays on the host, forwards signals and, on a terminal, relays bytes to a pseudo
terminal of the sandbox's own, or to pipes where only some streams are one: the command never holds
a descriptor of the host's terminal, so it cannot push input into it (TIOCSTI) nor read what is
typed elsewhere.
"""

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from netmgr.errors import HostFailed, Refused
from netmgr.kernel import netns
from netmgr.kernel.syscalls import setns, unshare
from netmgr_cli.identity import Identity, environment
from netmgr_cli.linux import CLONE_NEWPID
from netmgr_cli.streams import Streams

# What a command may hold as uid 0: enough for a package manager, nothing that reaches the network,
# the kernel or another process. Everything else leaves the bounding set for good.
KEPT_CAPABILITIES: Final = frozenset(
    {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "NET_BIND_SERVICE"}
)
READY_S: Final = 20.0  # building the mount namespace takes milliseconds; a loaded host seconds
MAX_REPORT: Final = 64 * 1024  # bytes of what init says about itself
STATE_DIRS: Final = "/var/lib/netmgr*"  # keys and journals, of every instance
FORWARDED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCONT,
)


@dataclass(frozen=True, slots=True)
class Errand:
    """A command and where it runs.

    Attributes:
        netns: path of the sandbox's network namespace, as the daemon named it.
        run_dir: the sandbox's files.
        hidden_dirs: further directories that are empty inside.
        work: done in place of a command: it must not import anything then.
    """

    command: tuple[str, ...]
    identity: Identity
    netns: Path
    run_dir: Path
    env: Mapping[str, str]
    hidden_dirs: tuple[Path, ...] = field(default=())
    work: Callable[[], int] | None = None

    @classmethod
    def into(
        cls,
        sandbox: Mapping[str, Any],
        command: tuple[str, ...],
        identity: Identity,
        *,
        hide: Collection[str] = (),
        cover: tuple[Path, ...] = (),
    ) -> "Errand":
        """From the API's sandbox object.

        Args:
            hide: names of variables that hold providers' credentials.
            cover: further directories that are empty inside.
        """
        run_dir = Path(sandbox["run_dir"])
        daemon_dir = run_dir.parent.parent if run_dir.parent.name == "sandboxes" else run_dir
        hidden = (*cover, daemon_dir, *Path("/").glob(STATE_DIRS.lstrip("/")))
        env = environment(os.environ, identity, sandbox["env"], hide)
        return cls(command, identity, Path(sandbox["netns"]), run_dir, env, hidden)


def open_namespace(path: Path) -> int:
    """The sandbox's network namespace, opened once and judged by what was opened.

    Raises:
        NotFound: there is nothing at `path`.
        BadInput: it is no network namespace (any more).
        Refused: it is this process's own.
    """
    fd = netns.open_path(path)
    own = netns.open_own()
    try:
        is_own = netns.identity(fd) == netns.identity(own)
    finally:
        os.close(own)
    if is_own:
        os.close(fd)
        raise Refused(f"{path} is the host's own network namespace: nothing was started")
    return fd


def enter(errand: Errand) -> int:
    """Run the command inside and wait for it.

    Returns:
        The command's exit status; 128 + n where signal n ended it; 126 or 127 where it cannot be
        executed or found.

    Raises:
        NetmgrError: nothing was started; why stands in the message.
    """
    _fill_standard_descriptors()
    namespace = open_namespace(errand.netns)
    interactive = os.isatty(0) and os.isatty(1)
    ours, theirs = socket.socketpair()
    streams = Streams(interactive=interactive)
    try:
        with _signals() as wake:
            pid = _fork_into_new_pids(errand, namespace, theirs, None if interactive else streams)
            theirs.close()
            try:
                terminal = _await_ready(ours, interactive)
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
            from netmgr_cli.relay import attend

            return attend(pid, wake, terminal, streams)
    finally:
        streams.close()
        os.close(namespace)
        ours.close()
        theirs.close()


def _fill_standard_descriptors() -> None:
    """Where 0, 1 or 2 is closed, what is opened next would take its place, and the command would
    inherit it: a namespace, for example."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def _fork_into_new_pids(
    errand: Errand, namespace: int, report: socket.socket, streams: Streams | None
) -> int:
    """Fork init; `streams` stand for the standard ones, None: it opens a terminal."""
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWPID)  # takes effect for the next child only: that one is init
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # None where the descriptor was closed at the start
                    stream.flush()
            pid = os.fork()
            if pid == 0:
                from netmgr_cli.inside import be_init

                be_init(errand, namespace, report, streams)
        finally:
            setns(own_pids, CLONE_NEWPID)
    except OSError as error:
        raise HostFailed(f"cannot start a pid namespace: {error.strerror}") from error
    finally:
        os.close(own_pids)
    return pid


def _await_ready(report: socket.socket, interactive: bool) -> int | None:
    """Wait for init's word; the pseudo terminal's master where there is one.

    Raises:
        HostFailed: init could not build the sandbox's surroundings.
    """
    report.settimeout(READY_S)
    try:
        data, fds, _, _ = socket.recv_fds(report, MAX_REPORT, 1)
    except TimeoutError:
        raise HostFailed(f"the command was not started within {READY_S:g} s") from None
    if not data:
        raise HostFailed("the sandbox's init ended before the command was started")
    word = json.loads(data)
    if "failed" in word:
        raise HostFailed(f"the command was not started: {word['failed']}")
    return fds[0] if interactive else None


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Take signals as bytes on a socket, so that one loop can wait for everything. What was
    ignored (nohup) stays ignored, here and in the command; not SIGCHLD: without it nobody would
    learn of the command's end."""
    wake, sink = socket.socketpair()
    wake.setblocking(False)
    sink.setblocking(False)
    before = {
        number: signal.signal(number, lambda *_: None)
        for number in (*FORWARDED, signal.SIGCHLD, signal.SIGWINCH)
        if number == signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN
    }
    old = signal.set_wakeup_fd(sink.fileno(), warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        wake.close()
        sink.close()
