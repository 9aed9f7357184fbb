"""Who came into a sandbox with too much power has a moment to give it up, and is ended then."""

import asyncio
import os
import time

import pytest
from unit.ground.policy_stage import born

from netmgr.daemon import power_watch
from netmgr.daemon.lifecycle import Lifecycle
from netmgr.daemon.power_watch import STARTING_S, PowerWatch
from netmgr.journal.filter import Filter
from netmgr.kernel.powers import Holder


class Table:
    """Processes that die when they are killed, but for those that fork first."""

    def __init__(self, *holders: Holder, forks: int = 0) -> None:
        self.holders = list(holders)
        self.forks = forks
        self.killed: list[int] = []

    def find(self, netnses):
        return [holder for holder in self.holders if holder.netns in netnses]

    def judge(self, pid, netnses):
        return next((one for one in self.find(netnses) if one.pid == pid), None)

    def kill(self, holder):
        self.killed.append(holder.pid)
        self.holders.remove(holder)
        if self.forks:
            self.forks -= 1
            child = Holder(holder.pid + 1, 0, holder.netns, holder.capability, False)
            self.holders.append(child)


def watch(core, table):
    return PowerWatch(core, Lifecycle(core), table.find, table.kill, table.judge)


async def holder_in(core, *, starting=False):
    await born(core)
    (resident,) = core.residents.values()
    netns = (resident.row.netns_dev, resident.row.netns_ino)
    return Holder(100, 5, netns, "CAP_NET_ADMIN", starting)


def test_found_twice_it_is_killed_and_its_sandbox_removed(open_core):
    async def main():
        async with open_core() as core:
            table = Table(await holder_in(core), forks=3)
            looks = watch(core, table)
            await looks.look(100.0)
            assert (table.killed, len(core.residents)) == ([], 1)
            await looks.look(101.0)
            assert table.killed == [100, 101, 102, 103]
            assert not core.residents
            await core.journal.flush()
            (record,) = await core.journal.query(Filter(kind="finding"))
            assert (record["verdict"], record["reason"]) == ("denied", "peer_blocked")
            assert "pid 100 in its namespace held CAP_NET_ADMIN" in record["message"]
            assert "--privileged" in record["remedy"]
            await looks.look(102.0)  # nobody is left to look for

    asyncio.run(main())


@pytest.mark.parametrize(("after_s", "ended"), [(STARTING_S - 1, False), (STARTING_S + 1, True)])
def test_what_starts_a_container_has_time_and_no_more(open_core, after_s, ended):
    async def main():
        async with open_core() as core:
            table = Table(await holder_in(core, starting=True))
            looks = watch(core, table)
            for now in (100.0, 101.0, 100.0 + after_s):
                await looks.look(now)
            assert (not core.residents) is ended

    asyncio.run(main())


def test_who_gives_its_powers_up_is_let_be(open_core):
    async def main():
        async with open_core() as core:
            table = Table(await holder_in(core))
            looks = watch(core, table)
            await looks.look(100.0)
            table.holders.clear()
            await looks.look(101.0)
            assert (table.killed, len(core.residents)) == ([], 1)

    asyncio.run(main())


@pytest.mark.parametrize(("starting", "ended"), [(False, True), (True, False)])
def test_who_begins_a_program_with_it_is_ended_at_once(open_core, starting, ended):
    """Whoever is told of by the kernel needs no second look; a runtime's own program does."""

    async def main():
        async with open_core() as core:
            table = Table(await holder_in(core, starting=starting))
            looks = watch(core, table)
            looks.hear([7, 100])
            assert table.killed == [100] * ended
            await looks.look(100.0)
            assert (not core.residents) is ended
            await core.journal.flush()
            assert len(await core.journal.query(Filter(kind="finding"))) == ended

    asyncio.run(main())


def test_a_program_that_begins_wakes_who_looks(open_core, monkeypatch):
    monkeypatch.setattr(power_watch, "LOOK_S", 3600.0)

    async def main():
        async with open_core() as core:
            table = Table()
            looks = watch(core, table)
            looking = asyncio.ensure_future(looks.keep_looking())
            try:
                table.holders.append(await holder_in(core))
                looks.hear([100])
                while core.residents:  # the suite has a deadline
                    await asyncio.sleep(0.01)
            finally:
                looking.cancel()

    asyncio.run(main())


class Storm:
    """Programs that begin without end, each reading of them slow."""

    def __init__(self) -> None:
        self._readable, self._other = os.pipe()
        os.write(self._other, b"x")
        self.readings = 0

    def fileno(self):
        return self._readable

    def read(self):
        self.readings += 1
        time.sleep(0.005)
        return [7]

    def close(self):
        os.close(self._readable)
        os.close(self._other)


def test_a_storm_of_programs_leaves_the_loop_to_others(open_core, monkeypatch):
    storm = Storm()
    monkeypatch.setattr(power_watch.ExecEvents, "open", lambda: storm)
    monkeypatch.setattr(power_watch, "LOOK_S", 3600.0)

    async def main():
        async with open_core() as core:
            looking = asyncio.ensure_future(watch(core, Table()).keep_looking())
            turns = 0
            while storm.readings < 4:
                turns += 1
                await asyncio.sleep(0)
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            assert turns > 10 * storm.readings  # without a rest it is one for one

    asyncio.run(main())
