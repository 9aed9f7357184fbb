"""Owns: which processes hold a socket.

Knows nothing of flows and policies. Only processes that are in the sandbox's network namespace are
looked at: nobody outside is ever taken for an owner.

It races with exit by nature: a process may connect, pass the socket on and end. Nothing found
means "unknown", which a policy that names binaries denies.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from netmgr.kernel.facts import NO_WANTS, NetnsId, Owners, Wants
from netmgr.kernel.images import Images, Proof
from netmgr.kernel.population import Population
from netmgr.kernel.sleepers import Sleepers, Still

# A connection waits for this. 500 processes with ten descriptors each take 25 ms; a sandbox that
# has so many that it takes longer is told apart no more, and holds up the others no longer.
BUDGET_S: Final = 0.250
MAX_LAST: Final = 1024  # namespaces with a last owner, some kilobytes each


@dataclass(slots=True)
class _Place:
    """Where a process had its socket, and how far from the one before: who connects time after
    time closes one before (0), or collects them (1)."""

    number: int
    step: int = 0


@dataclass(slots=True)
class _Last:
    """Who held the socket that was asked for last, and what was asked about them."""

    answer: Owners
    wants: Wants
    proof: tuple[Proof, ...]
    places: dict[int, _Place] = field(default_factory=dict)
    """By process: the descriptor that it was."""
    crowd: tuple[int, ...] = ()
    """Every process of the namespace, as Population gave them."""
    others: Still | None = None
    """Those of them that did not hold it; None where some were awake."""

    def fits(self, wants: Wants) -> bool:
        """Whether what is asked about them was asked. What an interpreter runs is read anew: it
        may have been started again under its number."""
        return not wants.scripts and (wants == self.wants or wants == NO_WANTS)


class ProcessTable:
    """Finds the holders of sockets. Holds caches; one per daemon, used from one thread."""

    def __init__(
        self, root: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root = str(root)
        self._clock = clock
        self._population = Population(self._root)
        self._images = Images(self._root)
        self._sleepers = Sleepers(self._root)
        self._last: OrderedDict[NetnsId, _Last] = OrderedDict()

    def owners(self, netns: NetnsId, inode: int, uid: int, wants: Wants = NO_WANTS) -> Owners:
        """Every process of a namespace that holds the socket `inode`, newest first.

        All of them are searched for, within BUDGET_S: several may share it by fork or by passing
        it on. Where the same process as last time holds it, only what can have changed is read.
        """
        wanted, last = f"socket:[{inode}]", self._last.get(netns)
        holders, complete = self._holders(netns, wanted, last)
        if complete and last is not None and self._is_as_last(last, holders, wants):
            last.crowd, last.others = self._crowd(netns, holders)
            return self._answer(last, uid)
        described = (self._images.describe(pid, netns, wants) for pid in holders)
        processes = tuple(each for each in described if each is not None)
        complete = complete and len(processes) == len(holders)
        found = Owners(uid, processes, complete)
        proof = self._images.proof(processes) if complete and processes else None
        if proof is not None:
            before = last.places if last is not None else {}
            kept = {pid: before.get(pid) or self._place(pid, wanted) for pid in holders}
            self._remember(netns, _Last(found, wants, proof, kept, *self._crowd(netns, holders)))
        return found

    def owners_again(
        self, netns: NetnsId, inode: int, uid: int, wants: Wants = NO_WANTS
    ) -> Owners | None:
        """What `owners` says where it is as last time: the same holders, everybody else asleep
        since, nobody new. A few system calls, none of which waits; None where it takes more.
        """
        last = self._last.get(netns)
        if last is None or last.others is None or not last.fits(wants):
            return None
        if self._population.since(netns) is not last.crowd:
            return None
        wanted = f"socket:[{inode}]"
        if wanted in last.others.sockets or not self._sleepers.still(last.others):
            return None
        # Who held a socket of the namespace from inside of it and holds this one is its owner, also
        # where it has left meanwhile: only the socket and the program are looked at anew.
        for pid, place in last.places.items():
            if not self._is_near(pid, wanted, place):
                return None
        return self._answer(last, uid) if self._images.still_run(last.proof) else None

    def forget(self, netns: NetnsId) -> None:
        """Forget what was found in a namespace that has ended."""
        self._last.pop(netns, None)
        self._population.forget(netns)
        self._images.forget(netns)

    def close(self) -> None:
        """Close what is kept open."""
        self._population.close()
        self._sleepers.close()

    def _holders(self, netns: NetnsId, wanted: str, last: _Last | None) -> tuple[list[int], bool]:
        """(those that hold it, whether all were looked at), newest first."""
        deadline = self._clock() + BUDGET_S
        pids = self._population.of(netns)
        places = last.places if last is not None else {}
        found, complete = [], True
        for pid in sorted(pids, key=places.__contains__, reverse=True) if places else pids:
            if self._has(pid, wanted, netns, places.get(pid)) and self._population.is_in(
                pid, netns
            ):
                found.append(pid)
            if self._clock() > deadline:
                complete = False
                break
        return sorted(found, reverse=True), complete

    def _has(self, pid: int, wanted: str, netns: NetnsId, place: _Place | None) -> bool:
        """Whether a process holds a socket.

        Args:
            place: None for one that held none lately; those sleep, mostly.
        """
        try:
            if place is None:
                return wanted in self._sleepers.held(pid, self._held)
            return self._holds_again(pid, wanted, place)
        except FileNotFoundError:
            self._population.ended(netns, pid)
        except OSError:  # it may not be looked at
            pass
        return False

    def _holds_again(self, pid: int, wanted: str, place: _Place) -> bool:
        """Looks first where it had the last one, and next to it."""
        if self._is_near(pid, wanted, place):
            return True
        for name, target in self._descriptors(pid):
            if target == wanted:
                place.number = int(name)
                return True
        return False

    def _is_near(self, pid: int, wanted: str, place: _Place) -> bool:
        step, number = place.step, place.number + place.step
        for _ in range(2):
            try:
                if os.readlink(f"{self._root}/{pid}/fd/{number}") == wanted:
                    place.number, place.step = number, step
                    return True
            except OSError:  # not open
                pass
            step = 1 - step
            number = place.number + step
        return False

    def _place(self, pid: int, wanted: str) -> _Place:
        """Where a process that was just found has its socket."""
        with suppress(OSError):  # it has ended meanwhile
            for name, target in self._descriptors(pid):
                if target == wanted:
                    return _Place(int(name))
        return _Place(0)

    def _is_as_last(self, last: _Last, holders: list[int], wants: Wants) -> bool:
        before = last.answer.processes
        if not last.fits(wants) or [each.pid for each in before] != holders:
            return False
        return self._images.still_run(last.proof)

    def _crowd(self, netns: NetnsId, holders: list[int]) -> tuple[tuple[int, ...], Still | None]:
        """Everybody, and what is known of those that did not hold it."""
        crowd = self._population.last(netns)
        return crowd, self._sleepers.together(pid for pid in crowd if pid not in holders)

    @staticmethod
    def _answer(last: _Last, uid: int) -> Owners:
        if last.answer.uid != uid:  # it changed its user, or was passed the socket
            last.answer = replace(last.answer, uid=uid)
        return last.answer

    def _held(self, pid: int) -> Iterator[str]:
        return (target for _, target in self._descriptors(pid))

    def _descriptors(self, pid: int) -> Iterator[tuple[str, str]]:
        """(number, what it is) as /proc names it. What was opened last comes first, mostly: it has
        the highest number.

        Raises:
            OSError: it has ended, or may not be looked at.
        """
        directory = f"{self._root}/{pid}/fd"
        for name in reversed(os.listdir(directory)):
            try:
                target = os.readlink(f"{directory}/{name}")
            except OSError:  # closed meanwhile
                continue
            yield name, target

    def _remember(self, netns: NetnsId, last: _Last) -> None:
        self._last[netns] = last
        self._last.move_to_end(netns)
        if len(self._last) > MAX_LAST:
            self._last.popitem(last=False)
