"""Owns: network namespaces of a world: making, entering and removing them.

Knows nothing of netmgr. Uses `ip` and setns(2) on purpose, and no code of ours: what judges the
product must not share its mistakes.
"""

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from world.environment import clean_environment

NETNS_DIR: Final = Path("/run/netns")
COMMAND_DEADLINE_S: Final = 30.0  # every command of a test ends by itself within this

_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h; os.setns came with Python 3.12 only
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def inside(path: Path) -> Iterator[None]:
    """The calling thread, and it alone, in the namespace at `path` for the block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def ip_batch(lines: Sequence[str], *, namespace: str | None = None) -> None:
    """Many `ip` commands in one process.

    Raises:
        RuntimeError: one of them failed; the message is ip's own.
    """
    where = ["-n", namespace] if namespace else []
    done = subprocess.run(
        ["ip", *where, "-batch", "-"],
        input="\n".join(lines) + "\n",
        text=True,
        capture_output=True,
        timeout=COMMAND_DEADLINE_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"ip -batch: {done.stderr.strip()}")


class Namespace:
    """A named network namespace. `made_here` ones are removed by `delete`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = NETNS_DIR / name

    def __repr__(self) -> str:
        return f"Namespace({self.name})"

    @property
    def exists(self) -> bool:
        """Whether a namespace of that name is mounted."""
        return self.path.exists()

    @property
    def inode(self) -> int:
        """The namespace's identity, as `/proc/PID/ns/net` shows it."""
        return self.path.stat().st_ino

    def delete(self) -> None:
        """Remove the name; the namespace itself ends with its last process and socket."""
        if self.exists:
            ip_batch([f"netns del {self.name}"])

    def ip(self, *lines: str) -> None:
        """Run `ip` commands inside."""
        ip_batch(lines, namespace=self.name)

    def sysctl(self, key: str, value: object) -> None:
        """Set a network sysctl of this namespace; `key` as a path below /proc/sys/net."""
        with inside(self.path):
            Path("/proc/sys/net", key).write_text(str(value))

    def command(self, *argv: str) -> list[str]:
        """`argv` so that it runs inside; exec'd, so the process id stays the caller's child."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def run(
        self, *argv: str, timeout: float = COMMAND_DEADLINE_S, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside, with all privileges and a clean environment."""
        options.setdefault("env", clean_environment())
        return subprocess.run(
            self.command(*argv),
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
            **options,
        )

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives inside, whoever uses it."""
        with inside(self.path):
            return socket.socket(family, kind, protocol)

    def links(self) -> list[str]:
        """Names of all links inside."""
        with inside(self.path):
            return [name for _, name in socket.if_nameindex()]

    def processes(self) -> list[int]:
        """Ids of the processes that live inside."""
        return processes_in({self.inode})


def processes_in(inodes: set[int]) -> list[int]:
    """Ids of the processes whose network namespace is one of `inodes`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile, or is a kernel thread
                if (entry / "ns/net").stat().st_ino in inodes:
                    found.append(int(entry.name))
    return sorted(found)
