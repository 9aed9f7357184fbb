"""Owns: the content hash of a running program, without waiting for whoever keeps its file.

The file is a sandbox's choice: a gigabyte of nothing that costs it no block, or one of a file
system of its own that never answers a read. So threads read, each sandbox has one of them at a
time, and a hostile one hangs its own place only. Who asks waits as long as it likes; a hash that
comes later is kept for the next one. Knows nothing of sockets.
"""

import hashlib
import os
import threading
import time
from collections import OrderedDict, deque
from concurrent.futures import Future
from typing import Final

from netmgr.kernel.facts import Content, NetnsId

MAX_WAITING: Final = 16  # programs of one sandbox whose turn has not come
MAX_THREADS: Final = 32  # sandboxes whose programs are read at the same time
MAX_KEPT: Final = 4096  # hashes; 200 bytes each
MAX_BYTES: Final = 1 << 29  # larger programs have none; the largest in use are near 300 MB
CHUNK: Final = 1 << 20
REST_AFTER_S: Final = 0.060  # work of one program; after more, a sandbox's turn ends with a rest
MAX_REST_S: Final = 1.0  # as long as the work was: half a core for each sandbox at most

Answer = Future[str | None]


class _Lane:
    """What one sandbox waits for."""

    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.busy = False
        self.waiting: deque[tuple[int, Content, Answer]] = deque()


class ProgramHashes:
    """SHA-256 of the files that processes run. May be asked from any thread."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = root
        self._lock = threading.Lock()
        self._kept: OrderedDict[Content, str] = OrderedDict()
        self._lanes: OrderedDict[NetnsId, _Lane] = OrderedDict()
        self._threads = 0

    def of(self, netns: NetnsId, pid: int, content: Content) -> Answer:
        """The hash of what a process runs; None where it cannot be told.

        Args:
            content: the file that it must still be.
        """
        answer: Answer = Future()
        with self._lock:
            known = self._kept.get(content)
            if known is not None:
                answer.set_result(known)
                return answer
            lane = self._lanes.setdefault(netns, _Lane())
            if len(lane.waiting) >= MAX_WAITING:
                answer.set_result(None)
                return answer
            lane.waiting.append((pid, content, answer))
            if self._threads < MAX_THREADS and not lane.busy:
                self._threads += 1
                # A daemon thread: one that hangs in a read must not keep netmgrd from ending.
                threading.Thread(target=self._work, name="hashes", daemon=True).start()
        return answer

    def _work(self) -> None:
        """Read until no sandbox waits that is not being read for already."""
        while True:
            with self._lock:
                found = next((n for n, lane in self._lanes.items() if not lane.busy), None)
                if found is None:
                    self._threads -= 1
                    return
                lane = self._lanes[found]
                lane.busy = True
                pid, content, answer = lane.waiting.popleft()
            began = time.monotonic()
            try:
                digest = self._hash(pid, content)
            except OSError:  # it has ended, or its file cannot be read
                digest = None
            self._keep(content, digest)
            answer.set_result(digest)
            took = time.monotonic() - began
            if took > REST_AFTER_S:
                time.sleep(min(took, MAX_REST_S))
            self._release(found, lane)

    def _keep(self, content: Content, digest: str | None) -> None:
        if digest is None:
            return
        with self._lock:
            self._kept[content] = digest
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)

    def _release(self, netns: NetnsId, lane: _Lane) -> None:
        with self._lock:
            lane.busy = False
            self._lanes.move_to_end(netns)  # the others come first now
            if not lane.waiting:
                del self._lanes[netns]

    def _hash(self, pid: int, content: Content) -> str | None:
        """Read through /proc: the very file that runs, whatever has its name now."""
        fd = os.open(f"{self._root}/{pid}/exe", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if _content(fd) != content or content.size > MAX_BYTES:
                return None
            digest = _digest(fd)
            return digest if _content(fd) == content else None  # it was written to meanwhile
        finally:
            os.close(fd)


def _content(fd: int) -> Content:
    found = os.fstat(fd)
    return Content(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _digest(fd: int) -> str | None:
    """None where there is more than its size said: nobody may make us read without end."""
    digest, read = hashlib.sha256(), 0
    while chunk := os.read(fd, CHUNK):
        digest.update(chunk)
        read += len(chunk)
        if read > MAX_BYTES:
            return None
    return digest.hexdigest()
