"""Owns: the file that the vault's key lives in: readable for its owner alone, whole or not there.

Knows nothing of what is in it.
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from netmgr.errors import HostFailed

MAX_KEY_FILE: Final = 4096
KEY_MODE: Final = 0o600


def read_key_file(path: Path) -> str:
    """What is in it.

    Raises:
        FileNotFoundError: there is none.
        HostFailed: it belongs to another user, or others may read it.
    """
    try:
        # O_NONBLOCK: a pipe of that name would keep the daemon waiting for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise HostFailed(f"{path}: cannot be read: {problem.strerror}") from problem
    try:
        _check_owner(os.fstat(fd), path)
        return os.read(fd, MAX_KEY_FILE).decode("ascii", "replace")
    finally:
        os.close(fd)


def create_key_file(path: Path, text: str) -> None:
    """Whole or not at all, and never over another: written aside, then linked (link(2) fails where
    the name exists; that file is read then).

    Raises:
        HostFailed: the file system does not let us.
    """
    _write(path, text, over=False)


def replace_key_file(path: Path, text: str) -> None:
    """Whole or not at all, over what is there.

    Raises:
        HostFailed: the file system does not let us; the old file stands.
    """
    _write(path, text, over=True)


def _write(path: Path, text: str, *, over: bool) -> None:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_MODE)
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, KEY_MODE)
                file.write(text.encode())
                file.flush()
                os.fsync(fd)
            if over:
                os.rename(aside, path)
            else:
                os.link(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except FileExistsError:
        return  # somebody was faster; that key is read then
    except OSError as problem:
        raise HostFailed(f"{path}: cannot be created: {problem.strerror}") from problem


def _check_owner(status: os.stat_result, path: Path) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise HostFailed(f"{path}: not a regular file")
    if status.st_uid != os.geteuid():
        raise HostFailed(
            f"{path}: belongs to uid {status.st_uid}, expected {os.geteuid()}; "
            "replace the key if that user was not to know it"
        )
    if mode & 0o077:
        raise HostFailed(
            f"{path}: mode {mode:04o} lets others read the key, expected {KEY_MODE:04o}; "
            f"see who could have, then: chmod {KEY_MODE:04o} {path}"
        )


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
