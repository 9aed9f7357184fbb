"""Owns: asking the programs of a sandbox, from inside it, without privileges: find, run, listen.

It runs in the forked command of an `Errand`: everything that it needs is imported before. What the
programs say is not believed to be text, short, or ever to end.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from netmgr_cli.trust_programs import (
    ABSENT,
    DATABASE,
    NSS_READERS,
    PROGRAMS,
    TEMPORARY,
    Program,
)

PROGRAM_S: Final = 30.0  # the Go and Java tools take seconds to start on a loaded host
MAX_OUTPUT: Final = 16 * 1024  # bytes of one program; what says why stands in the first lines
AT_ONCE: Final = 4  # programs; most wait for a process to start and for an answer
PLACES: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
DIRECTORIES: Final = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - any that may be written


@dataclass(frozen=True, slots=True)
class Databases:
    """Directories of NSS databases, each kind in the order in which it is looked for.

    Attributes:
        users: a user's own: all that browsers read.
        others: the system's, and the sandbox's where it was made: for programs that are told.
    """

    users: tuple[str, ...]
    others: tuple[str, ...]


def probe_all(env: Mapping[str, str], databases: Databases) -> int:
    """Ask every program that is there; one JSON object per line on stdout: name, path, status,
    output.

    Args:
        env: the environment that the programs have.
        databases: the first that is there is the one.
    """
    found = [(program, path) for program in PROGRAMS if (path := find(program, env)) is not None]
    with _directory() as temporary, ThreadPoolExecutor(AT_ONCE) as pool:
        asking = [pool.submit(_ask, *one, env, temporary, databases) for one in found]
        for answer in (asked.result() for asked in asking):
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    return 0


def find(program: Program, env: Mapping[str, str]) -> str | None:
    """Where a program is, as its users find it."""
    search = _search(env)
    found = (shutil.which(command, path=search) for command in program.commands)
    return next((path for path in found if path is not None), None)


def _search(env: Mapping[str, str]) -> str:
    return os.pathsep.join([env.get("PATH", ""), *PLACES])


@contextlib.contextmanager
def _directory() -> Iterator[str | None]:
    """A directory of this user's own; None where nothing may be written."""
    made: str | None = None
    for place in DIRECTORIES:
        with contextlib.suppress(OSError):
            made = tempfile.mkdtemp(prefix="netmgr-trust-", dir=place)
            break
    try:
        yield made
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _ask(
    program: Program,
    path: str,
    env: Mapping[str, str],
    temporary: str | None,
    databases: Databases,
) -> dict[str, Any]:
    answer: dict[str, Any] = {"name": program.name, "path": path}
    if program.needs_directory and temporary is None:
        return answer | {"status": 1, "output": "no directory may be written: it cannot be asked"}
    words = [path, *program.words]
    if DATABASE in " ".join(words):
        database, said = choose_database(
            databases, [name for name in NSS_READERS if shutil.which(name, path=_search(env))]
        )
        if database is None:
            return answer | {"status": 1, "output": said}
        answer["path"] = database
        words = [word.replace(DATABASE, database) for word in words]
    more = dict(program.env or {})
    if temporary is not None:
        if program.script is not None:
            Path(temporary, program.script[0]).write_bytes(program.script[1])
        words = [word.replace(TEMPORARY, temporary) for word in words]
        more = {key: value.replace(TEMPORARY, temporary) for key, value in more.items()}
    status, output = run(words, {**env, **more})
    return answer | {"status": status, "output": output}


def choose_database(databases: Databases, browsers: list[str]) -> tuple[str | None, str]:
    """The database to ask with, or (None) what there is to say without asking.

    Args:
        browsers: those that are there. They read no database but the user's, and Chromium none that
            it cannot write.
    """
    places = databases.users if browsers else (*databases.users, *databases.others)
    found = next((place for place in places if Path(place, "cert9.db").exists()), None)
    if found is None:
        return None, f"{', '.join(browsers)}: no database, unknown CA" if browsers else ABSENT
    if browsers and not os.access(Path(found, "cert9.db"), os.W_OK):
        return None, f"{', '.join(browsers)}: {found} cannot be written, unknown CA"
    return found, ""


def run(words: list[str], env: Mapping[str, str]) -> tuple[int | None, str]:
    """Run a program to its end or its deadline: exit status (None: the deadline), and the beginning
    of what it said on both streams."""
    try:
        child = subprocess.Popen(  # noqa: S603 - the sandbox's own program, no shell
            words,
            env=dict(env),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return 127, f"it cannot be executed: {error.strerror}"
    assert child.stdout is not None
    deadline = time.monotonic() + PROGRAM_S
    heard = _listen(child.stdout.fileno(), deadline)
    try:
        status: int | None = child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        status = None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    return status, heard.decode("utf-8", "replace")


def _listen(fd: int, deadline: float) -> bytes:
    heard = b""
    while (left := deadline - time.monotonic()) > 0 and select.select([fd], [], [], left)[0]:
        piece = os.read(fd, MAX_OUTPUT)
        if not piece:
            break
        heard = (heard + piece)[:MAX_OUTPUT]
    return heard
