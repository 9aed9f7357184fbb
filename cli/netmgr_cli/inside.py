"""Owns: process 1 of a command's pid namespace: it builds the surroundings, gives up every
privilege, starts the command, reaps orphans, passes signals on and ends with the command's status.

Everything here runs after fork and never returns: it leaves by `os._exit`. When this process ends,
for whatever cause, the kernel ends all others of the namespace (pid_namespaces(7)); it ends when
netmgr outside does (PR_SET_PDEATHSIG).
"""

import contextlib
import fcntl
import gc
import grp
import json
import os
import signal
import socket
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from netmgr.errors import HostFailed, NetmgrError
from netmgr.kernel.images import INIT_NAME
from netmgr.kernel.syscalls import setns, unshare
from netmgr.process import confine
from netmgr.process.seccomp import ABIS, socket_filter
from netmgr_cli.linux import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    leave_session_keyring,
)
from netmgr_cli.scenery import Scene, build, listening_sockets
from netmgr_cli.streams import Streams

if TYPE_CHECKING:
    from netmgr_cli.enter import Errand

NOT_FOUND: Final = 127  # as shells have it
NOT_EXECUTABLE: Final = 126
FAILED: Final = 1
# Python ignores these two; a program expects their defaults (signal(7)).
PYTHON_IGNORES: Final = (signal.SIGPIPE, signal.SIGXFSZ)


def be_init(
    errand: "Errand", namespace: int, report: socket.socket, streams: Streams | None
) -> NoReturn:
    """Be process 1 until the command has ended.

    Args:
        streams: what stands for the standard ones; None: the command gets a terminal of its own.
    """
    status = FAILED
    try:
        signal.set_wakeup_fd(-1)
        gc.disable()  # a collected socket object would close a number that means something else now
        if streams is not None:
            streams.take()
        _close_all_but({0, 1, 2, namespace, report.fileno()})  # not least the daemon's connection
        confine.die_with_parent(signal.SIGKILL)
        Path("/proc/self/comm").write_text(INIT_NAME)  # an interpreter that is no program's parent
        terminals = _prepare(errand, namespace, interactive=streams is None)
        status = _attend_command(errand, report, terminals)
    except Exception as error:  # a fork's last frame: what is not told here is told nowhere
        told = str(error) if isinstance(error, OSError | NetmgrError) else repr(error)
        with contextlib.suppress(OSError):  # nobody listens any more: the status must do
            report.send(json.dumps({"failed": told}).encode())
    finally:
        os._exit(status)


def _prepare(errand: "Errand", namespace: int, *, interactive: bool) -> tuple[int, int] | None:
    """From root on the host to nobody in the sandbox; master and slave of its terminal."""
    machine = os.uname().machine
    if machine not in ABIS:
        raise HostFailed(f"no socket filter for {machine}: known are {', '.join(ABIS)}")
    sockets = listening_sockets()
    here = _working_directory()
    setns(namespace, CLONE_NEWNET)
    unshare(CLONE_NEWNS | CLONE_NEWIPC)
    home = Path(errand.identity.home)
    build(Scene(errand.run_dir, errand.hidden_dirs, sockets, home))
    terminals = _open_terminal(errand.identity.uid) if interactive else None
    leave_session_keyring(machine)
    _give_up_privileges(errand, machine)
    _change_directory(here)
    return terminals


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def _change_directory(here: str) -> None:
    """Take the working directory again by its path: the one that was inherited may lie beneath a
    covered directory, and would be a way round the cover."""
    os.chdir("/")
    with contextlib.suppress(OSError):  # not there, or not for this user: then the root it is
        os.chdir(here)


def _open_terminal(uid: int) -> tuple[int, int]:
    """A terminal of the sandbox's own, set as the caller's is before the command can change it."""
    master, slave = os.openpty()
    termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(0))
    fcntl.ioctl(slave, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
    try:
        group = grp.getgrnam("tty").gr_gid
    except KeyError:
        group = -1
    os.fchown(slave, uid, group)
    os.fchmod(slave, 0o620)
    return master, slave


def _give_up_privileges(errand: "Errand", machine: str) -> None:
    from netmgr_cli.enter import KEPT_CAPABILITIES

    who = errand.identity
    confine.drop_bounding(KEPT_CAPABILITIES)
    os.setgroups(who.groups)
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    confine.set_capabilities(KEPT_CAPABILITIES if who.uid == 0 else ())
    confine.set_no_new_privs()
    confine.install_filter(socket_filter(machine))
    # Undumpable: the command, which has the same uid, reads nothing of this process's memory and
    # environment, which are netmgr's. A new program is dumpable again.
    confine.no_core_dumps()
    confine.die_with_parent(signal.SIGKILL)  # the change of uid has undone the first one


def _attend_command(
    errand: "Errand", report: socket.socket, terminals: tuple[int, int] | None
) -> int:
    from netmgr_cli.enter import FORWARDED

    # Waited for, not handled: Python runs a handler when a system call returns, so a signal that
    # comes just before it blocks is heard when the next child ends, or never. Blocked, process 1
    # keeps even those that it would lose by default, and none is lost around the fork.
    waited = {number for number in FORWARDED if signal.getsignal(number) is not signal.SIG_IGN}
    waited.add(signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, there would be no status to wait for
    signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    # Said before the fork: where netmgr is gone already this fails, and nothing is started.
    socket.send_fds(report, [b"{}"], [terminals[0]] if terminals else [])
    command = os.fork()
    if command == 0:
        _become_command(errand, terminals[1] if terminals else None)
    os.closerange(0, 3)
    for fd in terminals or ():
        os.close(fd)
    status = None
    while status is None:
        number = signal.sigwait(waited)
        if number == signal.SIGCHLD:
            status = _reap(command)
        else:
            _pass_on(command, number)
    return status


def _reap(command: int) -> int | None:
    """Reap every child that has ended; the command's exit status once it is among them."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == command:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if pid == 0:
            return None


def _pass_on(command: int, number: int) -> None:
    try:
        os.killpg(command, number)
    except ProcessLookupError:  # it has no group of its own yet: it waits with signals blocked
        with contextlib.suppress(ProcessLookupError):
            os.kill(command, number)


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):  # the one that the listing itself used
                os.close(int(name))


def _become_command(errand: "Errand", terminal: int | None) -> NoReturn:
    from netmgr_cli.enter import FORWARDED

    status = FAILED
    try:
        os.setsid()  # no controlling terminal of the host's, and a process group to signal
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(terminal, fd)
        for number in (*PYTHON_IGNORES, *FORWARDED):
            if number in PYTHON_IGNORES or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*FORWARDED, signal.SIGCHLD})
        _close_all_but({0, 1, 2})
        status = _execute(errand) if errand.work is None else errand.work()
    finally:
        os._exit(status)


def _execute(errand: "Errand") -> int:
    name = errand.command[0]
    try:
        os.execvpe(name, errand.command, dict(errand.env))  # noqa: S606 - no shell is the point
    except OSError as error:
        if isinstance(error, FileNotFoundError) or not _is_there(name, errand.env.get("PATH", "")):
            print(f"netmgr: {name}: command not found in the sandbox", file=sys.stderr, flush=True)
            return NOT_FOUND
        print(f"netmgr: {name}: {error.strerror}", file=sys.stderr, flush=True)
        return NOT_EXECUTABLE


def _is_there(name: str, search: str) -> bool:
    """Whether the name means a file at all. A directory of PATH that this user may not enter makes
    exec say EACCES where it means: not found."""
    if "/" in name:
        return True
    return any(os.path.exists(os.path.join(part, name)) for part in search.split(":"))
