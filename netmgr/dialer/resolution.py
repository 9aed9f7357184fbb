"""Owns: what the dialer expects of a resolver. The resolver itself lives in the DNS room.

The dialer must not import that room (netmgr stands below it), so the composition root hands it one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Protocol

SERVER_DEADLINE_S: Final = 2.0  # for one question to one server, UDP and TCP together
TOTAL_DEADLINE_S: Final = 5.0  # for one name: the caller still has to connect in its ten seconds


class Unresolved(StrEnum):
    """Why a name has no address."""

    NXDOMAIN = "nxdomain"  # the name does not exist
    NODATA = "nodata"  # it exists without an address
    TIMEOUT = "timeout"  # no server answered in time
    SERVFAIL = "servfail"  # servers answered, none with a usable answer
    CNAME = "cname"  # the alias chain is a loop or too long


class NameNotResolved(Exception):
    """A name could not be turned into addresses.

    Attributes:
        name: the name that was asked for.
        cause: which way it failed.
    """

    def __init__(self, name: str, cause: Unresolved, detail: str = "") -> None:
        super().__init__(f"{name}: {cause.value}{': ' + detail if detail else ''}")
        self.name = name
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Resolved:
    """A name's addresses, IPv4 first, each family in the order of the answer.

    Attributes:
        ttl: seconds for which they may be used.
    """

    addresses: tuple[IPv4Address | IPv6Address, ...]
    ttl: float


class Resolver(Protocol):
    """Turns a name into addresses."""

    async def resolve(self, name: str) -> Resolved:
        """All addresses of `name`, a canonical DNS name.

        Raises:
            NameNotResolved: there are none, or none could be had in time.
        """


class MakeResolver(Protocol):
    """Builds a resolver."""

    def __call__(
        self,
        servers: Sequence[tuple[str, int]],
        *,
        server_deadline_s: float,
        total_deadline_s: float,
    ) -> Resolver:
        """A resolver that asks `servers`, (address, port) each, in order."""
