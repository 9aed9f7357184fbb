"""Owns: the content hash of a running program, without waiting for whoever keeps its file.

The file is a sandbox's choice: a gigabyte of nothing that costs it no block, or one of a FUSE file
system of its own that never answers a read. So a thread of its own reads it; who asks waits for a
moment and then goes without, and the next one finds it done. A hash is for records only, no
decision rests on it. Knows nothing of sockets.
"""

import hashlib
import os
import queue
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitOver
from contextlib import suppress
from typing import Final

WAIT_S: Final = 0.060  # reads 30 MB of a cached file; a flow's record waits 150 ms at most
MAX_WAITING: Final = 16  # programs whose turn has not come; beyond it nobody waits
MAX_KEPT: Final = 1024  # hashes; 100 bytes each
MAX_BYTES: Final = 1 << 29  # larger programs have none; the largest in use are near 300 MB
CHUNK: Final = 1 << 20
MAX_REST_S: Final = 1.0  # after work the thread rests as long as it worked: half a core at most

_Key = tuple[int, int, int, int]


class ProgramHashes:
    """SHA-256 of the files that processes run. May be asked from any one thread."""

    def __init__(self, root: str = "/proc", wait_s: float = WAIT_S) -> None:
        self._root = root
        self._wait_s = wait_s
        self._asked: queue.Queue[tuple[int, Future[str | None]] | None] = queue.Queue(MAX_WAITING)
        self._kept: OrderedDict[_Key, str] = OrderedDict()
        self._thread: threading.Thread | None = None

    def of(self, pid: int) -> str | None:
        """The hash of what a process runs; None where it cannot be told in time."""
        if self._thread is None:
            # A daemon thread: one that hangs in a read must not keep netmgrd from ending.
            self._thread = threading.Thread(target=self._work, name="hashes", daemon=True)
            self._thread.start()
        answer: Future[str | None] = Future()
        try:
            self._asked.put_nowait((pid, answer))
            return answer.result(self._wait_s)
        except (queue.Full, WaitOver):
            return None

    def close(self) -> None:
        """End the thread, unless it hangs in a read: then the process's end ends it."""
        if self._thread is not None:
            with suppress(queue.Full):
                self._asked.put_nowait(None)
            self._thread.join(MAX_REST_S)

    def _work(self) -> None:
        while (question := self._asked.get()) is not None:
            pid, answer = question
            began = time.monotonic()
            try:
                answer.set_result(self._hash(pid))
            except OSError:  # it has ended, or its file cannot be read
                answer.set_result(None)
            took = time.monotonic() - began
            if took > self._wait_s:
                time.sleep(min(took, MAX_REST_S))

    def _hash(self, pid: int) -> str | None:
        """Read through /proc: the very file that runs, whatever has its name now."""
        fd = os.open(f"{self._root}/{pid}/exe", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb", buffering=0) as file:
            found = os.fstat(fd)
            key = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
            known = self._kept.get(key)
            if known is None:
                if found.st_size > MAX_BYTES:
                    return None
                known = _digest(file.fileno())
                if known is None:
                    return None
                self._kept[key] = known
            self._kept.move_to_end(key)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return known


def _digest(fd: int) -> str | None:
    """None where there is more than its size said: nobody may make us read without end."""
    digest, read = hashlib.sha256(), 0
    while chunk := os.read(fd, CHUNK):
        digest.update(chunk)
        read += len(chunk)
        if read > MAX_BYTES:
            return None
    return digest.hexdigest()
