"""Owns: a thread that lives in a network namespace of its own, for tests of the kernel room.

What runs on it takes that namespace for "the host". Nothing of the machine's own network is
touched, and the namespace ends with the thread.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from netmgr.kernel.syscalls import CLONE_NEWNET, unshare

P = ParamSpec("P")
R = TypeVar("R")


class NetnsThread:
    """Runs calls one after the other in its namespace."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "netns", initializer=unshare, initargs=(CLONE_NEWNET,))

    def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `work` gives, or its exception."""
        return self._pool.submit(work, *args, **kwargs).result()

    def wrap(self, target: object) -> Any:
        """An object whose methods are those of `target`, called on this thread."""
        return _Remote(self, target)

    def close(self) -> None:
        """End the thread and with it the namespace, where nothing else holds it."""
        self._pool.shutdown()


class _Remote:
    def __init__(self, thread: NetnsThread, target: object) -> None:
        self._thread = thread
        self._target = target

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found
        return lambda *args, **kwargs: self._thread.run(found, *args, **kwargs)
