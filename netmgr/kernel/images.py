"""Owns: what a process runs, told so that the process cannot choose the answer: its executable, the
content of that file, whether the sandbox's entry point sees the same file by that name, its
ancestors inside of the sandbox.

Reads /proc and nothing else. A mount namespace decides what a path means, and a sandbox may be able
to make one in which /usr/bin/curl is what it likes. So a path counts only where the *entry point*
(the outermost ancestor in the sandbox's network namespace) has the same file there.
"""

import os
import stat
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from netmgr.kernel.facts import Ancestor, Content, NetnsId, Process, Wants
from netmgr.kernel.population import is_in
from netmgr.kernel.syscalls import FileState, Statx, open_in_root

MAX_ANCESTORS: Final = 32  # beyond it nobody reads them; a loop cannot be, but a bound is free
MAX_ARGUMENTS: Final = 4096 + 4096  # bytes read of a command line: the interpreter and its script
MAX_LINKS: Final = 16_384  # symbolic links that were followed once
INIT_NAME: Final = "netmgr-init"
"""What netmgr's own init in a sandbox calls itself: it is nobody's ancestor. Whoever else takes
that name takes a grant from its children."""

_NS: Final = 1_000_000_000  # in a second

_Image = tuple[str, Content | None]
Proof = tuple[str, bytes, str, FileState]
"""A path of a process's executable, twice; where it led; and to which state of a file."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """The sandbox's entry point as somebody's outermost ancestor."""

    netns: NetnsId
    root: int  # its root directory


class Images:
    """Looks at processes. One per daemon, used from one thread."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = root
        self._files = Statx()
        self._links: OrderedDict[tuple[NetnsId, str], str] = OrderedDict()

    def forget(self, netns: NetnsId) -> None:
        """The namespace has ended."""
        for key in [key for key in self._links if key[0] == netns]:
            del self._links[key]

    def describe(self, pid: int, netns: NetnsId, wants: Wants) -> Process | None:
        """A process and its ancestors; None where it has ended."""
        own = self._look(pid)
        if own is None:
            return None
        above = list(self._ancestors(pid, netns))
        with self._entry_root(above[-1][0] if above else pid) as root:
            entry = None if root is None else _Entry(netns, root)
            if above and self._is_init(above[-1][0]):
                above.pop()
            ancestors = tuple(self._ancestor(each, image, entry, wants) for each, image in above)
            found = self._ancestor(pid, own, entry, wants)
        return Process(
            pid, found.exe, found.content, found.genuine, found.links, found.script, ancestors
        )

    def proof(self, processes: Iterable[Process]) -> tuple[Proof, ...] | None:
        """What `still_run` looks at: for each of them, and each ancestor, what it runs; None where
        one runs something else by now."""
        found: list[Proof] = []
        for seen in (each for process in processes for each in process.chain):
            path = f"{self._root}/{seen.pid}/exe"
            try:
                state = self._files.state(os.fsencode(path))
            except OSError:
                return None
            if _content_in(state) != seen.content:
                return None
            found.append((path, os.fsencode(path), seen.exe, state))
        return tuple(found)

    def still_run(self, proof: tuple[Proof, ...]) -> bool:
        """Whether all of them still run what they ran, of the same content.

        By the file: one that has a single name, and was not renamed (that changes its state), needs
        no look at its path. Where a mount gives it another one, it is the same program under both.
        """
        try:
            for path, name, exe, state in proof:
                if self._files.state(name) != state:
                    return False
                if state[0] != 1 and os.readlink(path) != exe:
                    return False
        except OSError:  # one has ended
            return False
        return True

    def _ancestor(self, pid: int, image: _Image, entry: _Entry | None, wants: Wants) -> Ancestor:
        exe, content = image
        genuine = entry is not None and _is_same(entry.root, exe, content)
        links = self._links_to(exe, entry, wants.links) if entry is not None and genuine else ()
        script = self._script(pid) if wants.scripts else None
        return Ancestor(pid, exe, content, genuine, links, script)

    # -- one process -----------------------------------------------------------------------

    def _look(self, pid: int) -> _Image | None:
        path = f"{self._root}/{pid}/exe"
        try:
            exe = os.readlink(path)
        except OSError:  # it has ended, or is a kernel thread
            return None
        return exe, self._content(path)

    def _content(self, path: str) -> Content | None:
        try:
            return _content_in(self._files.state(os.fsencode(path)))
        except OSError:
            return None

    def _ancestors(self, pid: int, netns: NetnsId) -> Iterator[tuple[int, _Image]]:
        for _ in range(MAX_ANCESTORS):
            parent = self._parent(pid)
            if parent is None or parent <= 0 or not is_in(self._root, parent, netns):
                return
            image = self._look(parent)
            if image is None:
                return
            yield parent, image
            pid = parent

    def _parent(self, pid: int) -> int | None:
        """From /proc/PID/stat; the command before it is in brackets and may contain any byte."""
        try:
            with open(f"{self._root}/{pid}/stat", "rb", buffering=0) as file:
                return int(file.read(4096).rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            return None

    def _is_init(self, pid: int) -> bool:
        try:
            with open(f"{self._root}/{pid}/comm", "rb", buffering=0) as file:
                return file.read(64).rstrip(b"\n") == INIT_NAME.encode()
        except OSError:
            return False

    def _script(self, pid: int) -> str | None:
        """The file that is a process's first argument, as its own root and directory have it.

        Only that one: an option before it could bring in any other code. The list is the process's
        own memory: what runs in it already can write there what it likes (docs/security.md).
        """
        try:
            with open(f"{self._root}/{pid}/cmdline", "rb", buffering=0) as file:
                words = file.read(MAX_ARGUMENTS).split(b"\0")
            path = os.fsdecode(words[1])
            if not path or path.startswith("-"):
                return None
            if not path.startswith("/"):
                path = os.path.join(os.readlink(f"{self._root}/{pid}/cwd"), path)
            with self._entry_root(pid) as root:
                return None if root is None else _resolve(root, path)
        except (OSError, IndexError):
            return None

    # -- the sandbox's own view ------------------------------------------------------------

    @contextmanager
    def _entry_root(self, pid: int) -> Iterator[int | None]:
        try:
            fd = os.open(f"{self._root}/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            yield None
            return
        try:
            yield fd
        finally:
            os.close(fd)

    def _links_to(self, exe: str, entry: _Entry, asked: tuple[str, ...]) -> tuple[str, ...]:
        found = (path for path in asked if path != exe and self._target(entry, path) == exe)
        return tuple(found)

    def _target(self, entry: _Entry, path: str) -> str | None:
        """Where a path led the first time that it led anywhere: who can write the link must not be
        able to grant itself another program by it."""
        key = (entry.netns, path)
        known = self._links.get(key)
        if known is None:
            known = _resolve(entry.root, path)
            if known is not None:
                self._links[key] = known
                if len(self._links) > MAX_LINKS:
                    self._links.popitem(last=False)
        return known


def _content_in(state: FileState) -> Content:
    _, inode, size, changed, changed_ns, modified, modified_ns, major, minor = state
    dev = os.makedev(major, minor)
    return Content(dev, inode, size, modified * _NS + modified_ns, changed * _NS + changed_ns)


def _content_of(found: os.stat_result) -> Content:
    return Content(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _is_same(root: int, exe: str, content: Content | None) -> bool:
    """Whether `exe` is this very file beneath `root`. What was deleted ends in ' (deleted)' and is
    nowhere; what is in memory alone (memfd) neither."""
    if content is None or not exe.startswith("/"):
        return False
    try:
        fd = open_in_root(root, exe)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    return stat.S_ISREG(found.st_mode) and _content_of(found) == content


def _resolve(root: int, path: str) -> str | None:
    """The path without symbolic links of a file beneath `root`."""
    try:
        fd = open_in_root(root, path)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
