"""Owns: what must not be left when a world has ended, and how it is found.

A snapshot is taken of what a fault would leave behind: namespaces, mounts, processes, descriptors
and threads of the test process, links and set entries in the hub.
"""

import gc
import os
import re
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Final

from world.namespaces import NETNS_DIR, Namespace, processes_in

_WORLD = re.compile(r"w(\d+)n\d+[-.]")  # the names that a world makes begin so
SETTLE_DEADLINE_S: Final = 2.0  # kernel objects of a namespace go away a moment after it


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the test process itself holds."""

    descriptors: dict[int, str]
    threads: frozenset[str]

    @classmethod
    def take(cls) -> "Snapshot":
        """As it is now."""
        return cls(_descriptors(), frozenset(t.name for t in threading.enumerate()))

    def leaks_since(self) -> list[str]:
        """What is held now and was not then; waits a moment for what is just ending."""
        deadline = time.monotonic() + SETTLE_DEADLINE_S
        while True:
            gc.collect()
            found = self._compare()
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def _compare(self) -> list[str]:
        now = _descriptors()
        new = [f"descriptor {fd}: {what}" for fd, what in now.items() if fd not in self.descriptors]
        threads = [t.name for t in threading.enumerate() if t.name not in self.threads]
        return new + [f"thread {name}" for name in threads]


def contents_of(hub: Namespace) -> frozenset[str]:
    """Every link and every set entry in a hub."""
    if not hub.exists:
        return frozenset()
    links = [f"link {name} in {hub.name}" for name in hub.links()]
    saved = hub.run("ipset", "save").stdout.splitlines()
    entries = [f"set entry in {hub.name}: {line}" for line in saved if line.startswith("add ")]
    return frozenset(links + entries)


def left_in_hub(hub: Namespace, before: frozenset[str]) -> list[str]:
    """What is in a hub now and was not when it was empty; entries that expire get the time to."""
    deadline = time.monotonic() + SETTLE_DEADLINE_S
    while found := sorted(contents_of(hub) - before):
        if time.monotonic() > deadline:
            return found
        time.sleep(0.1)
    return []


def left_namespaces(prefixes: tuple[str, ...], expected: frozenset[str]) -> list[str]:
    """Named namespaces that begin like a world's and are not expected."""
    if not NETNS_DIR.is_dir():
        return []
    names = sorted(entry.name for entry in NETNS_DIR.iterdir())
    return [f"namespace {n}" for n in names if n.startswith(prefixes) and n not in expected]


def left_processes(namespaces: list[Namespace]) -> list[str]:
    """Processes that live in one of `namespaces`; waits a moment for what is just ending."""
    inodes = {ns.inode for ns in namespaces if ns.exists}
    deadline = time.monotonic() + SETTLE_DEADLINE_S
    while found := processes_in(inodes):
        if time.monotonic() > deadline:
            return [f"process {pid}: {_command(pid)}" for pid in found]
        time.sleep(0.02)
    return []


def left_mounts(words: tuple[str, ...]) -> list[str]:
    """Mounts of this mount namespace whose place contains one of `words`."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [line.split()[4] for line in lines]
    return [f"mount {place}" for place in places if any(word in place for word in words)]


def sweep() -> None:
    """Remove what worlds of test processes left that were killed: names and directories."""
    for folder in (NETNS_DIR, Path(tempfile.gettempdir())):
        for entry in folder.iterdir() if folder.is_dir() else ():
            owner = _WORLD.match(entry.name)
            if owner is None or Path("/proc", owner[1]).exists():
                continue
            if folder == NETNS_DIR:
                Namespace(entry.name).delete()
            else:
                shutil.rmtree(entry, ignore_errors=True)


def _descriptors() -> dict[int, str]:
    found = {}
    # Made by the first process that multiprocessing spawns, kept for the interpreter's life.
    tracker = resource_tracker._resource_tracker._fd  # type: ignore[attr-defined]
    for entry in os.listdir("/proc/self/fd"):
        if int(entry) == tracker:
            continue
        try:
            what = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:  # the descriptor of the listing itself
            continue
        if what != f"/proc/{os.getpid()}/fd":  # another thread's listing
            found[int(entry)] = what
    return found


def held_files() -> set[tuple[int, str]]:
    """Descriptors of the test process that are pipes or files: (number, what)."""
    return {(fd, what) for fd, what in _descriptors().items() if what.startswith(("pipe:", "/"))}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return "(ended)"
