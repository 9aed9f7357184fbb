"""Owns: starting an operator's program as nobody: its own user, no capability, no way to more.

It is not netmgr's: it keeps the host's files (it needs its own) and the host's network, as far as
its user may. Its standard input and output are one end of a unix socket; what it writes to standard
error goes where the daemon's does.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from netmgr.process.confine import (
    become,
    die_with_parent,
    drop_bounding,
    set_capabilities,
    set_no_new_privs,
)
from netmgr.process.supervise import WORKER_ENVIRONMENT


def start_program(
    command: Sequence[str], uid: int, gid: int, channel: socket.socket
) -> "subprocess.Popen[bytes]":
    """A program of an operator's, given `channel` as its standard input and output.

    It is started by an interpreter that gives everything up first. It ends with the daemon: called
    from the daemon's main thread, because that is whose end prctl(2) PR_SET_PDEATHSIG means.
    """
    return subprocess.Popen(  # noqa: S603 - the operator's configuration names it
        [sys.executable, "-I", "-m", "netmgr_cli.worker", "program", f"{uid}:{gid}", *command],
        stdin=channel.fileno(),
        stdout=channel.fileno(),
        env=WORKER_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


def become_program(account: str, command: Sequence[str]) -> None:
    """Give everything up and be the program. Does not return.

    Raises:
        OSError: a privilege could not be given up, or there is no such program.
    """
    give_everything_up(account)
    os.execv(command[0], list(command))  # noqa: S606 - the operator's configuration names it


def give_everything_up(account: str) -> None:
    """Be that user (`UID:GID`) for good, without any capability, and end with the parent.

    Raises:
        OSError: a privilege could not be given up.
    """
    uid, _, gid = account.partition(":")
    drop_bounding(())
    become(int(uid), int(gid))
    set_capabilities(())
    set_no_new_privs()
    die_with_parent(signal.SIGKILL)
