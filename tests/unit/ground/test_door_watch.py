"""A second door of a sandbox is shut, and told of once."""

import asyncio

from unit.ground.policy_stage import born

from netmgr.daemon.door_watch import DoorWatch
from netmgr.journal.filter import Filter
from netmgr.kernel.doors import SecondDoor, second_links

TABLE = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets
    lo:       0       0    0    0    0     0          0         0        0       0
  eth0:     180       2    0    0    0     0          0         0      200       2
 sit0:        0       0    0    0    0     0          0         0        0       0
  eth1: 1 1 0 0
"""


def test_a_table_of_links() -> None:
    assert second_links(TABLE) == ("eth1",)
    assert second_links("") == ()


async def doors_of(core):
    await born(core)
    (resident,) = core.residents.values()
    netns = (resident.row.netns_dev, resident.row.netns_ino)
    return [SecondDoor(netns, 7, ("eth1",))]


async def findings(core):
    await core.journal.flush()
    return await core.journal.query(Filter(kind="finding"))


def test_it_is_shut_with_a_record(open_core) -> None:
    """What is down already is nothing new."""

    async def main():
        async with open_core() as core:
            doors = await doors_of(core)
            up = ["eth1"]

            def shut(door):
                found, up[:] = tuple(up), []
                return found

            watch = DoorWatch(core, lambda netnses: doors, shut)
            for _ in range(3):
                await watch.look()
            (record,) = await findings(core)
            assert (record["verdict"], record["reason"]) == ("denied", "peer_blocked")
            assert "second door, eth1: it was set down" in record["message"]

    asyncio.run(main())


def test_of_a_sandbox_that_went_meanwhile_nothing_is_told(open_core) -> None:
    async def main():
        async with open_core() as core:
            await doors_of(core)
            gone = SecondDoor((1, 1), 7, ("eth1",))
            await DoorWatch(core, lambda netnses: [gone], lambda door: door.links).look()
            assert not await findings(core)

    asyncio.run(main())
