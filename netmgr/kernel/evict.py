"""Owns: ending what a dead daemon left running in the hub, before a new one opens its sockets.

A worker ends when its daemon does, by a signal and by the end of its channel. One that was hijacked
can ignore both, and would keep its listeners: the kernel would go on giving it a share of every
sandbox's connections, or the new daemon could not have port 53. Nobody but workers of ours has any
business in the hub as an ordinary user; an operator who looks around there is root, and is spared.
"""

import logging
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from netmgr.errors import HostFailed
from netmgr.kernel.facts import NetnsId

END_S: Final = 5.0  # SIGKILL takes effect in milliseconds; a process in a slow disk's read, later

log = logging.getLogger(__name__)


def evict(hub: NetnsId, root: str = "/proc") -> int:
    """Kill every process in the hub that is not root's; how many there were.

    Raises:
        HostFailed: one does not end.
    """
    count = 0
    end = time.monotonic() + END_S
    for pid in tuple(_strangers(hub, root)):
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                if _is_stranger(pid, hub, root):  # the number may be another's by now
                    log.warning("pid %d is left in the hub by a dead daemon: killed", pid)
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    _await_end(pid, handle, end)
                    count += 1
            finally:
                os.close(handle)
    return count


def _await_end(pid: int, handle: int, end: float) -> None:
    if not select.select([handle], [], [], max(0.0, end - time.monotonic()))[0]:
        raise HostFailed(
            f"pid {pid}, left in the hub by a dead daemon, does not end; its sockets stand in the "
            "way of new workers. See what it waits for, and start again when it is gone"
        )


def _strangers(hub: NetnsId, root: str) -> Iterator[int]:
    for name in os.listdir(root):
        if name.isdigit() and _is_stranger(int(name), hub, root):
            yield int(name)


def _is_stranger(pid: int, hub: NetnsId, root: str) -> bool:
    try:
        found = os.stat(f"{root}/{pid}/ns/net")
        if (found.st_dev, found.st_ino) != (hub.dev, hub.inode):
            return False
        # Not the owner of /proc/PID: that of an undumpable process is root (proc(5)).
        with open(f"{root}/{pid}/status", encoding="utf-8", errors="replace") as file:
            users = next(line for line in file if line.startswith("Uid:")).split()[1:]
    except (OSError, StopIteration):
        return False
    return "0" not in users
