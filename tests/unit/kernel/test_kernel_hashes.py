"""Hashes of programs: right where they can be had, and a hostile sandbox waits alone."""

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import TimeoutError as WaitOver
from pathlib import Path

import pytest

from netmgr.kernel import hashes
from netmgr.kernel.facts import Content, NetnsId
from netmgr.kernel.hashes import MAX_BYTES, MAX_WAITING, ProgramHashes

ONE, OTHER = NetnsId(4, 1), NetnsId(4, 2)


def program(root: Path, pid: int, content: bytes = b"x") -> Content:
    """/proc/PID/exe of a process that was never there."""
    directory = root / str(pid)
    directory.mkdir()
    path = directory / "exe"
    path.write_bytes(content)
    return content_of(path)


def content_of(path: Path) -> Content:
    found = path.stat()
    return Content(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def test_a_hash_is_that_of_the_content(tmp_path: Path) -> None:
    content = program(tmp_path, 1, b"content")
    found = ProgramHashes(str(tmp_path))
    assert found.of(ONE, 1, content).result(5) == hashlib.sha256(b"content").hexdigest()
    again = found.of(OTHER, 1, content)
    assert again.done()
    assert again.result() == hashlib.sha256(b"content").hexdigest()
    assert found.of(ONE, 2, Content(0, 0, 0, 0, 0)).result(5) is None


def test_a_file_that_was_replaced_meanwhile_has_none(tmp_path: Path) -> None:
    content = program(tmp_path, 1, b"content")
    (tmp_path / "1" / "exe").write_bytes(b"c0ntent")
    assert ProgramHashes(str(tmp_path)).of(ONE, 1, content).result(5) is None


@pytest.fixture
def stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Content]:
    """A program that never answers, as a file system of a sandbox's own may have: process 1."""
    (tmp_path / "1").mkdir()
    read, write = os.pipe()
    os.symlink(f"/proc/self/fd/{read}", tmp_path / "1" / "exe")
    hashes_open = hashes.os.open

    def blocking(path: str, flags: int) -> int:
        return hashes_open(path, flags & ~os.O_NONBLOCK)

    monkeypatch.setattr(hashes.os, "open", blocking)
    yield content_of(tmp_path / "1" / "exe")
    os.close(write)  # now it ends
    os.close(read)
    for thread in threading.enumerate():
        if thread.name == "hashes":
            thread.join(5)


def test_a_file_that_never_answers_hangs_its_own_sandbox_only(
    tmp_path: Path, stuck: Content
) -> None:
    content = program(tmp_path, 2)
    found = ProgramHashes(str(tmp_path))
    waiting = [found.of(ONE, 1, stuck) for _ in range(MAX_WAITING + 1)]
    with pytest.raises(WaitOver):
        waiting[0].result(0.1)
    full = [found.of(ONE, 2, content) for _ in range(2)]
    assert full[-1].result(0) is None  # its queue is full
    assert found.of(OTHER, 2, content).result(5) == hashlib.sha256(b"x").hexdigest()


def test_a_large_file_of_nothing_is_not_read(tmp_path: Path) -> None:
    program(tmp_path, 1)
    path = tmp_path / "1" / "exe"
    os.truncate(path, MAX_BYTES + 1)
    assert ProgramHashes(str(tmp_path)).of(ONE, 1, content_of(path)).result(5) is None


def test_what_nobody_waited_for_is_there_the_next_time(tmp_path: Path) -> None:
    program(tmp_path, 1)
    path = tmp_path / "1" / "exe"
    os.truncate(path, 1 << 26)  # no block of the disk is used
    found = ProgramHashes(str(tmp_path))
    content = content_of(path)
    first = found.of(ONE, 1, content)
    assert not first.done()
    assert first.result(20) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.of(ONE, 1, content).done()
