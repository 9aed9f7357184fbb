"""Owns: that one daemon alone works with a hub, whatever directories others were given.

The namespace's own file is locked (flock(2)): it is there exactly as long as the hub, and nothing
is left behind. A lock file lies in a directory, and a second daemon of the same instance may be
given another one: it would take the first one's workers for those of a dead daemon and kill them.
"""

import fcntl
import os
from pathlib import Path

from netmgr.errors import BadInput, Conflict, NotFound
from netmgr.kernel import netns
from netmgr.kernel.facts import NetnsId


class Claim:
    """The lock on one hub after the other: a hub that was removed by hand is made anew.

    Args:
        path: where the hub's namespace is pinned.
        instance: whose hub it is, for the message.
    """

    def __init__(self, path: Path, instance: str) -> None:
        self._path = path
        self._instance = instance
        self._held: tuple[int, NetnsId] | None = None

    def take(self) -> None:
        """Hold the hub that stands now; nothing where none does.

        Raises:
            Conflict: another daemon holds it.
        """
        try:
            # A description of its own: what a worker inherits would keep the lock when we die.
            fd = netns.open_path(self._path)
        except (BadInput, NotFound):
            return
        found = netns.identity(fd)
        if self._held is not None and self._held[1] == found:
            os.close(fd)
            return
        hold_alone(fd, self._instance)
        self.release()
        self._held = fd, found

    def release(self) -> None:
        """Hold nothing any more."""
        if self._held is not None:
            os.close(self._held[0])
            self._held = None


def hold_alone(fd: int, instance: str) -> None:
    """Lock a file that one daemon of an instance holds at a time, until `fd` is closed.

    Raises:
        Conflict: another one holds it; `fd` is closed.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise Conflict(
            f"another daemon of instance {instance!r} runs; stop it, or choose another --instance"
        ) from None
