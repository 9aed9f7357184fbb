"""Owns: which provider answers where the operator set no route, and when a local one stands in.

A provider with `DEFAULT_MODEL` serves all sandboxes that no route is for. One with `STANDBY=local`
as well takes over while it is healthy, and gives back when it is not. Nothing is ever chosen that
the operator did not create. Pure: health and time are told.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from netmgr.errors import BadInput
from netmgr.inference.base_url import BaseUrl
from netmgr.model import HOST_NAME

DEFAULT_MODEL: Final = "DEFAULT_MODEL"
STANDBY: Final = "STANDBY"
DEFAULT_KEYS: Final = (DEFAULT_MODEL, STANDBY)
LOCAL: Final = "local"

# A model server answers a look in milliseconds. Two in a row, either way, so that one slow answer
# under load, or one good one of a server that keeps dying, switches nothing.
UP_AFTER: Final = 2
DOWN_AFTER: Final = 2
LOOK_EVERY_S: Final = 3.0
LOOK_AGAIN_S: Final = 1.0  # after a look that does not agree with the state
MAX_STANDBYS: Final = 16  # that are looked at


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider that may answer where no route is set.

    Attributes:
        created: epoch seconds; the oldest of several is chosen, so that creating another one
            never moves anybody's calls.
    """

    provider: str
    model: str
    standby: bool
    created: float


def judge_defaults(config: Mapping[str, str], base: BaseUrl) -> None:
    """Judge DEFAULT_MODEL and STANDBY of a provider before it is stored.

    Raises:
        BadInput: they cannot be meant.
    """
    standby = config.get(STANDBY)
    if standby is None:
        return
    if standby != LOCAL:
        raise BadInput(f"config key {STANDBY}: {standby!r}: expected {LOCAL!r}")
    if not config.get(DEFAULT_MODEL):
        raise BadInput(
            f"config key {STANDBY}: needs the model to ask for: --config {DEFAULT_MODEL}=NAME"
        )
    if not is_local(base):
        raise BadInput(
            f"config key {STANDBY}: {base.host} is not local; expected loopback, {HOST_NAME} or "
            "a private address"
        )


def is_local(base: BaseUrl) -> bool:
    """Whether a base URL stays on the host or in its private network."""
    if base.host in ("localhost", HOST_NAME):
        return True
    try:
        return ip_address(base.host).is_private  # loopback is private, too
    except ValueError:
        return False


def candidate(name: str, config: Mapping[str, str], created: float) -> Candidate | None:
    """What a stored provider may answer; None where it says nothing about it."""
    model = config.get(DEFAULT_MODEL)
    return Candidate(name, model, config.get(STANDBY) == LOCAL, created) if model else None


def choose(candidates: Iterable[Candidate], healthy: Collection[str]) -> Candidate | None:
    """Who answers now: a healthy stand-in, else a default; the oldest of several."""
    ranked = sorted(candidates, key=lambda each: (not each.standby, each.created, each.provider))
    return next((each for each in ranked if not each.standby or each.provider in healthy), None)


class Health:
    """Whether one stand-in is well, from looks at it. Unwell until it has proved otherwise."""

    __slots__ = ("_against", "healthy")

    def __init__(self) -> None:
        self.healthy = False
        self._against = 0  # looks in a row that do not agree

    def note(self, well: bool) -> bool:
        """Tell the outcome of a look; whether the state has changed by it."""
        if well == self.healthy:
            self._against = 0
            return False
        self._against += 1
        if self._against < (DOWN_AFTER if self.healthy else UP_AFTER):
            return False
        self.healthy, self._against = well, 0
        return True

    @property
    def wait_s(self) -> float:
        """How long until the next look."""
        return LOOK_AGAIN_S if self._against else LOOK_EVERY_S
