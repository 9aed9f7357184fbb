"""Owns: a daemon of our own for the time of one command, and its removal."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netmgr import calls
from netmgr.client import Client
from netmgr.errors import HostFailed, NetmgrError, TryLater, Unreachable
from netmgr.process import confine
from netmgr_cli import screen
from netmgr_cli.run import undisturbed

START_S: Final = 30.0  # a second or two; a loaded host with a cold disk needs more
STOP_S: Final = 20.0  # sandboxes and the hub go, workers drain for a few seconds
POLL_S: Final = 0.05
SLOW_S: Final = 2.0  # from then on somebody at a terminal wants to know what is going on
LOG_TAIL: Final = 4096  # bytes of the daemon's words that are shown where it does not start


@dataclass(frozen=True, slots=True)
class PrivateDaemon:
    """A running one.

    Attributes:
        root: the directory that holds everything it has.
        socket: where it answers.
    """

    root: Path
    socket: Path


@contextlib.contextmanager
def private_daemon() -> Iterator[PrivateDaemon]:
    """Start one, wait until it answers; at the end it takes everything with it.

    Raises:
        HostFailed: it did not start; its last words are in the message.
    """
    root = Path(tempfile.mkdtemp(prefix="netmgr-run-"))
    root.chmod(0o711)  # the command's user has to get to the sandbox's files, and sees no more
    daemon = PrivateDaemon(root, root / "run" / "api.sock")
    try:
        (root / "state").mkdir(mode=0o700)
        (root / "run").mkdir(mode=0o755)
        with contextlib.ExitStack() as undo:
            with undisturbed():  # between its start and the promise to end it nothing may come
                child = _start(root)
                undo.callback(_stop, child, daemon.socket)
            _await_answer(child, daemon)
            yield daemon
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _start(root: Path) -> subprocess.Popen[bytes]:
    instance = f"run{secrets.token_hex(4)}"
    words = [sys.executable, "-I", "-m", "netmgr_cli", "daemon", "--instance", instance]
    words += ["--state-dir", str(root / "state"), "--run-dir", str(root / "run")]
    with (root / "log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # the terminal's Ctrl-C is for the command, not for it
            preexec_fn=lambda: confine.die_with_parent(signal.SIGTERM),
        )


def _await_answer(child: subprocess.Popen[bytes], daemon: PrivateDaemon) -> None:
    began = time.monotonic()
    told = False
    while time.monotonic() - began < START_S:
        if child.poll() is not None:
            raise HostFailed(
                f"the private daemon ended with status {child.returncode}:\n{_tail(daemon.root)}"
            )
        with contextlib.suppress(Unreachable, TryLater), Client(str(daemon.socket)) as client:
            client.send(calls.version())
            return
        if not told and sys.stderr.isatty() and time.monotonic() - began > SLOW_S:
            screen.note("netmgr: starting a private daemon ...")
            told = True
        time.sleep(POLL_S)
    raise HostFailed(
        f"the private daemon did not answer within {START_S:g} s:\n{_tail(daemon.root)}"
    )


def _tail(root: Path) -> str:
    with (root / "log").open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - LOG_TAIL))
        return log.read(LOG_TAIL).decode(errors="replace").strip() or "(it said nothing)"


def _stop(child: subprocess.Popen[bytes], socket_path: Path) -> None:
    """Ask it to remove everything and end; where it does not, end it."""
    with undisturbed():
        _end(child, socket_path)


def _end(child: subprocess.Popen[bytes], socket_path: Path) -> None:
    if child.poll() is None:
        try:
            with Client(str(socket_path)) as client:
                client.send(calls.shutdown(remove=True))
        except NetmgrError:
            child.terminate()  # not up yet, or broken: it tidies up what it has
    for end in (child.terminate, child.kill):
        try:
            child.wait(STOP_S)
            return
        except subprocess.TimeoutExpired:
            end()
    child.wait(STOP_S)
    screen.note("netmgr: the private daemon had to be killed; `netmgr doctor` names what it left")
