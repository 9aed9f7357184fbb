"""Owns: telling somebody at a terminal that an answer takes its time.

Some do: the first policy with middlewares waits for the worker that looks, a model is verified by
asking it. Knows nothing of what is waited for.
"""

import threading
from typing import Final, TypeVar

from netmgr.calls import Call
from netmgr.client import Client
from netmgr_cli import screen

T = TypeVar("T")

PATIENCE_S: Final = 1.0  # of a person, before silence is taken for a fault


class TellingClient(Client):
    """A client that says so where an answer takes longer than PATIENCE_S."""

    def send(self, call: Call[T]) -> T:
        """See Client."""
        timer = threading.Timer(PATIENCE_S, self._tell, (call,))
        timer.daemon = True
        timer.start()
        try:
            return super().send(call)
        finally:
            timer.cancel()

    def _tell(self, call: Call[object]) -> None:
        screen.note(f"the daemon is at work on it; it is given {self._deadline(call):g} s")
