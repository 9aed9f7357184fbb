"""Owns: what the daemon tells the service manager that started it: ready, stopping, alive.

Source: sd_notify(3), sd_watchdog_enabled(3). Without a service manager nothing is told.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

log = logging.getLogger("netmgr")

BEATS: Final = 3  # in one watchdog period: one may be late, and one lost


def notify(state: str) -> None:
    """Tell systemd, where it asked to be told."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError as problem:
            log.warning("systemd could not be told %s: %s", state, problem)


def watchdog_period_s() -> float | None:
    """Seconds of silence after which the service manager ends this process; None: it does not."""
    if os.environ.get("WATCHDOG_PID") not in (None, str(os.getpid())):
        return None  # meant for another process of this service
    period = os.environ.get("WATCHDOG_USEC", "")
    return int(period) / 1_000_000 if period.isascii() and period.isdigit() else None


async def keep_alive(works: Callable[[], Awaitable[object]]) -> None:
    """Tell the service manager again and again that this process works, while it does.

    Args:
        works: returns soon where the process can do its work; a loop that turns is not enough.
    """
    period = watchdog_period_s()
    if not period:
        return
    while True:
        await works()  # where it hangs, nothing is told any more: that is the point
        notify("WATCHDOG=1")
        await asyncio.sleep(period / BEATS)
