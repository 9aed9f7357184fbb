"""Owns: which address a sandbox gets in the hub, and which private address stands for a name in it.

No I/O: the caller brings the stored rows and the time, and stores what was chosen before it is
taken. `choose` changes nothing; `take` and `release` do. Knows nothing of the store or the kernel.

Reuse is the danger here: a new sandbox, or a new name, must never be mistaken for the one that had
its address before. So addresses that never served go first, then the one that was released first,
and none before its quarantine is over.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from netmgr.errors import HostFailed, LimitExceeded
from netmgr.model import HOST_NAME, INFERENCE_NAME

FIXED_NAMES: Final = (INFERENCE_NAME, HOST_NAME)  # the pool's first host addresses, in this order
SAMPLE_OF_ROUTES: Final = 5  # a message that lists a whole routing table helps nobody


class AddressPool:
    """The addresses of a network, each in use, resting, or free.

    Args:
        network: first and last address are never given.
        quarantine_s: how long a released address rests.
        reserved: how many addresses after the network's first are not given either.
        in_use: addresses that are taken.
        released: address -> time of its release, in any order.
    """

    def __init__(
        self,
        network: IPv4Network,
        quarantine_s: float,
        *,
        reserved: int = 0,
        in_use: Iterable[IPv4Address] = (),
        released: Mapping[IPv4Address, float] | None = None,
    ) -> None:
        self.network = network
        self.quarantine_s = quarantine_s
        self._first = int(network.network_address) + 1 + reserved
        self._last = int(network.broadcast_address) - 1
        self._next = self._first  # no fresh address lies below
        self._in_use = set(map(int, in_use))
        resting = sorted((released or {}).items(), key=lambda item: (item[1], item[0]))
        self._released = OrderedDict(
            (int(ip), at) for ip, at in resting if self._inside(int(ip)) and ip not in self
        )

    def __contains__(self, address: IPv4Address) -> bool:
        """Whether it is in use."""
        return int(address) in self._in_use

    def __len__(self) -> int:
        """How many are in use."""
        return len(self._in_use)

    @property
    def size(self) -> int:
        """How many there are in all."""
        return max(0, self._last - self._first + 1)

    def choose(self, now: float) -> IPv4Address:
        """The address to take next: a fresh one, else the one that was released first.

        Raises:
            LimitExceeded: all are in use or resting; the message says until when.
        """
        fresh = self._fresh()
        if fresh is not None:
            return IPv4Address(fresh)
        if not self._released:
            raise LimitExceeded(f"all {self.size} addresses of {self.network} are in use")
        oldest, at = next(iter(self._released.items()))
        wait = at + self.quarantine_s - now
        if wait > 0:
            raise LimitExceeded(
                f"all {self.size} addresses of {self.network} are in use or rest before reuse; "
                f"the next is free in {wait:.0f} s",
                retry_after_s=wait,
            )
        return IPv4Address(oldest)

    def take(self, address: IPv4Address) -> None:
        """Mark an address as in use; taking one twice is once."""
        self._released.pop(int(address), None)
        self._in_use.add(int(address))

    def release(self, address: IPv4Address, now: float) -> None:
        """Let an address rest; releasing one that is not in use does nothing."""
        number = int(address)
        if number in self._in_use:
            self._in_use.remove(number)
            if self._inside(number):
                self._released[number] = now

    def _inside(self, number: int) -> bool:
        return self._first <= number <= self._last

    def _fresh(self) -> int | None:
        while self._next <= self._last and (
            self._next in self._in_use or self._next in self._released
        ):
            self._next += 1
        return self._next if self._next <= self._last else None


@dataclass(frozen=True, slots=True)
class NameAddress:
    """A private address and the name that it stands for in one sandbox.

    Attributes:
        wildcard: whether a query brought it into being, which a budget bounds.
        released_at: epoch seconds since which no rule allows the name; None while one does.
    """

    name: str
    ip: IPv4Address
    wildcard: bool = False
    released_at: float | None = None


class NamePool:
    """The private addresses of one sandbox.

    A name that comes back while its address rests gets the same one again: it means the same.

    Args:
        network: the private pool; its first two addresses are those of FIXED_NAMES.
        budget: how many wildcard names may be alive.
        quarantine_s: how long an address rests before it may stand for another name.
        rows: what is stored of this sandbox.
    """

    def __init__(
        self,
        network: IPv4Network,
        budget: int,
        quarantine_s: float,
        rows: Iterable[NameAddress] = (),
    ) -> None:
        self.budget = budget
        kept = [row for row in rows if row.ip in network]
        self._names = {row.name: row for row in kept if row.released_at is None}
        self._resting = {row.name: row for row in kept if row.released_at is not None}
        self._fixed = fixed_addresses(network)
        self._shown = {name: str(ip) for name, ip in self._fixed.items()}
        self._shown |= {row.name: str(row.ip) for row in self._names.values()}
        self._name_at: dict[IPv4Address, str] = {ip: name for name, ip in self._fixed.items()}
        self._name_at |= {row.ip: row.name for row in kept}
        self._wildcards = sum(row.wildcard for row in self._names.values())
        self._pool = AddressPool(
            network,
            quarantine_s,
            reserved=len(FIXED_NAMES),
            in_use=(row.ip for row in self._names.values()),
            released={row.ip: row.released_at or 0.0 for row in self._resting.values()},
        )

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[NameAddress]:
        """The names that are alive, without the fixed ones."""
        return iter(self._names.values())

    def shown(self) -> dict[str, str]:
        """Every name that has an address now, the fixed ones included, and the address as text."""
        return dict(self._shown)

    def get(self, name: str) -> IPv4Address | None:
        """The address that stands for a name now."""
        if name in self._fixed:
            return self._fixed[name]
        row = self._names.get(name)
        return row.ip if row else None

    def name_at(self, ip: IPv4Address) -> str | None:
        """The name that stands, or stood last, behind an address."""
        return self._name_at.get(ip)

    def choose(self, name: str, now: float, *, wildcard: bool) -> NameAddress:
        """What `take` will take for a name that has no address yet, or the one that it has.

        Raises:
            LimitExceeded: the budget of wildcard names, or the pool, is used up.
        """
        row = self._names.get(name)
        if row is not None:
            return row if wildcard or not row.wildcard else NameAddress(name, row.ip)
        if wildcard and self._wildcards >= self.budget:
            raise LimitExceeded(
                f"{name}: the policy's wildcards have brought {self.budget} names into being, "
                "which is wildcard_names_per_sandbox",
                limit=self.budget,
            )
        resting = self._resting.get(name)
        ip = resting.ip if resting else self._pool.choose(now)
        return NameAddress(name, ip, wildcard)

    def take(self, row: NameAddress) -> str | None:
        """Take what `choose` chose.

        Returns:
            the name that rested at this address and is forgotten now, or None.
        """
        before = self._names.get(row.name)
        self._wildcards += row.wildcard - (before.wildcard if before else False)
        self._names[row.name] = row
        self._shown[row.name] = str(row.ip)
        self._pool.take(row.ip)
        self._resting.pop(row.name, None)
        previous, self._name_at[row.ip] = self._name_at.get(row.ip), row.name
        if previous is None or previous == row.name:
            return None
        self._resting.pop(previous, None)
        return previous

    def release(self, name: str, now: float) -> NameAddress | None:
        """Let a name's address rest; None where the name has none."""
        row = self._names.pop(name, None)
        if row is None:
            return None
        del self._shown[name]
        self._wildcards -= row.wildcard
        self._pool.release(row.ip, now)
        rests = NameAddress(name, row.ip, row.wildcard, now)
        self._resting[name] = rests
        return rests


def fixed_addresses(network: IPv4Network) -> dict[str, IPv4Address]:
    """The addresses of the names that every sandbox has: inference.local, then the host's."""
    return {name: network[1 + index] for index, name in enumerate(FIXED_NAMES)}


def check_routes(
    pools: Mapping[str, IPv4Network], routes: Sequence[tuple[IPv4Network, str]]
) -> None:
    """See that no route of the host leads into a pool: the host could not reach that network from
    a sandbox's point of view, and would mistake a sandbox for one of its hosts.

    Args:
        pools: setting -> network.
        routes: destination and what to call it (`via 10.0.0.1 dev eth0`); default routes pass.

    Raises:
        HostFailed: names each route and the setting to change.
    """
    found = [
        f"{setting} {pool} overlaps the host's route {route} {what}".rstrip()
        for setting, pool in pools.items()
        for route, what in routes
        if route.prefixlen and pool.overlaps(route)
    ]
    if found:
        settings = sorted({text.split()[0] for text in found})
        shown = "\n".join(found[:SAMPLE_OF_ROUTES])
        raise HostFailed(
            f"{shown}\nset {' and '.join(settings)} in the configuration to a free network",
            settings=settings,
        )
