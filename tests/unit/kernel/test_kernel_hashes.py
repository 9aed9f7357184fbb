"""Hashes of programs: right where they can be had, and never worth waiting for."""

import hashlib
import os
import time
from pathlib import Path

from netmgr.kernel import hashes
from netmgr.kernel.hashes import MAX_BYTES, ProgramHashes


def program(root: Path, pid: int, content: bytes = b"x") -> Path:
    """/proc/PID/exe of a process that was never there."""
    directory = root / str(pid)
    directory.mkdir()
    path = directory / "exe"
    path.write_bytes(content)
    return path


def test_a_hash_is_that_of_the_content(tmp_path: Path) -> None:
    program(tmp_path, 1, b"content")
    found = ProgramHashes(str(tmp_path), wait_s=5)
    assert found.of(1) == hashlib.sha256(b"content").hexdigest()
    assert found.of(1) == hashlib.sha256(b"content").hexdigest()
    assert found.of(2) is None


def test_a_file_that_never_answers_costs_a_moment_and_no_more(
    tmp_path: Path, monkeypatch: object
) -> None:
    """As a FUSE file system of a sandbox's own may: here a pipe that nobody writes to."""
    (tmp_path / "1").mkdir()
    read, write = os.pipe()
    os.symlink(f"/proc/self/fd/{read}", tmp_path / "1" / "exe")
    program(tmp_path, 2)
    found = ProgramHashes(str(tmp_path), wait_s=0.05)
    hashes_open = hashes.os.open

    def blocking(path: str, flags: int) -> int:
        return hashes_open(path, flags & ~os.O_NONBLOCK)

    monkeypatch.setattr(hashes.os, "open", blocking)
    began = time.monotonic()
    assert [found.of(1) for _ in range(40)] == [None] * 40  # the queue is full before the end
    assert found.of(2) is None
    assert time.monotonic() - began < 2.0
    os.close(write)  # now it ends, and the others have their turn
    for fd in (read,):
        os.close(fd)


def test_a_large_file_of_nothing_is_not_read(tmp_path: Path) -> None:
    path = program(tmp_path, 1)
    os.truncate(path, MAX_BYTES + 1)
    assert ProgramHashes(str(tmp_path), wait_s=5).of(1) is None


def test_what_takes_long_is_there_the_next_time(tmp_path: Path) -> None:
    path = program(tmp_path, 1)
    os.truncate(path, 1 << 26)  # no block of the disk is used
    found = ProgramHashes(str(tmp_path), wait_s=0.0001)
    assert found.of(1) is None
    end = time.monotonic() + 20
    while found.of(1) is None and time.monotonic() < end:
        time.sleep(0.05)
    patient = ProgramHashes(str(tmp_path), wait_s=20)
    assert patient.of(1) == hashlib.sha256(path.read_bytes()).hexdigest()
