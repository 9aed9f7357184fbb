"""Owns: what workers tell each other of endpoints, and what they may not both do. Values, and the
worker that has no others. The memory that it goes through is netmgr_proxy.vitals.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from netmgr_proxy.routing.latency import Sample


class News(NamedTuple):
    """That an attempt has ended, and what breakers came to by it. Numbers stand for names.

    Attributes:
        sandbox: whose call it was.
        time: when.
        well: whether it was answered.
        blamed: whether it counts for all sandboxes.
        shared_until, own_until: until when the breakers are open; 0: they are not.
    """

    endpoint: int
    sandbox: int
    time: float
    well: bool
    blamed: bool = False
    shared_until: float = 0.0
    own_until: float = 0.0


class Others(Protocol):
    """The other workers, seen from one of them."""

    def news(self) -> Sequence[News]:
        """What they told since the last time."""

    def tell(self, news: News) -> None:
        """Tell them."""

    def take(self, probe: int) -> bool:
        """Be the one that finds out whether what was broken is well; False: somebody else is."""

    def leave(self, probe: int) -> None:
        """Be it no longer."""

    def moved(self) -> bool:
        """Whether numbers that `seen` tells may be others than the last time."""

    def seen(self, endpoint: int) -> tuple[int, Sequence[Sample]]:
        """Their calls under way at an endpoint, and their last answers."""

    def count(self, endpoint: int, step: int) -> None:
        """So many calls more are under way here."""

    def note(self, endpoint: int, now: float, seconds: float) -> None:
        """An answer has begun here."""

    def keep_only(self, endpoints: frozenset[int]) -> None:
        """What is in no file any more need not be told of."""


class Nobody:
    """A worker that is alone."""

    def news(self) -> Sequence[News]:
        """See Others."""
        return ()

    def tell(self, news: News) -> None:
        """See Others."""

    def take(self, probe: int) -> bool:
        """See Others."""
        return True

    def leave(self, probe: int) -> None:
        """See Others."""

    def moved(self) -> bool:
        """See Others."""
        return False

    def seen(self, endpoint: int) -> tuple[int, Sequence[Sample]]:
        """See Others."""
        return 0, ()

    def count(self, endpoint: int, step: int) -> None:
        """See Others."""

    def note(self, endpoint: int, now: float, seconds: float) -> None:
        """See Others."""

    def keep_only(self, endpoints: frozenset[int]) -> None:
        """See Others."""


ALONE: Final = Nobody()
