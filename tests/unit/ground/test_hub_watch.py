"""What somebody takes out of the hub by hand stands again; each time is a finding."""

import asyncio
from typing import Any

import pytest
from unit.ground.policy_stage import born

from netmgr.daemon.hub_watch import HubWatch
from netmgr.journal.filter import Filter


def no_change(world: Any) -> None:
    """Nobody did anything."""


def flush_sets(world: Any) -> None:
    """As `ipset flush` does."""
    world.binds.clear()
    world.allow.clear()


def flush_allow(world: Any) -> None:
    """One set alone."""
    world.allow.clear()


def unroute(world: Any) -> None:
    """As `ip rule flush` does."""
    world.misrouted = ("ip rule 1 was missing",)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (no_change, None),
        (flush_sets, "its binding, 3 destinations in the hub had been removed by hand; put right"),
        (flush_allow, "3 destinations in the hub had been removed by hand; put right"),
        (unroute, "routing was changed by hand (ip rule 1 was missing); put right"),
    ],
)
def test_what_was_taken_away_stands_again(open_core, spoil, told):
    async def main():
        async with open_core() as core:
            await born(core)
            world = core.kernel.world
            before = (set(world.binds), set(world.allow))
            spoil(world)
            for _ in range(2):  # the second look finds nothing
                await HubWatch(core).look()
            assert (world.binds, world.allow) == before
            await core.journal.flush()
            found = await core.journal.query(Filter(kind="finding"))
            assert [told in record["message"] for record in found] == ([True] if told else [])

    asyncio.run(main())


def test_what_cannot_be_put_right_is_a_failed_finding(open_core):
    async def main():
        async with open_core() as core:
            await born(core)
            world = core.kernel.world
            world.allow.clear()
            world.fail.add("add_allow")
            await HubWatch(core).look()
            await core.journal.flush()
            (found,) = await core.journal.query(Filter(kind="finding"))
            assert found["verdict"] == "failed"
            world.fail.clear()
            await HubWatch(core).look()
            assert world.allow

    asyncio.run(main())
