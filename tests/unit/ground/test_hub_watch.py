"""What somebody takes out of the hub by hand stands again; each time is a finding."""

import asyncio
from typing import Any

import pytest
from unit.ground.policy_stage import born

from netmgr.daemon.hub_watch import HubWatch
from netmgr.daemon.lifecycle import Lifecycle
from netmgr.daemon.sandbox_spec import SandboxSpec
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


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sandboxes make a part."""
    monkeypatch.setattr("netmgr.daemon.hub_watch.MAX_ASKED", 9)


async def five_born(core):
    for name in "abcde":
        await Lifecycle(core).create(SandboxSpec.parse({"name": name, "allow": ["one.test"]}))


def test_many_sandboxes_are_looked_at_in_turns(open_core, few_at_once, monkeypatch):
    async def main():
        async with open_core() as core:
            await five_born(core)
            asked = []
            standing = core.kernel.standing

            def watched(lease, entries):
                asked.append(lease.link)
                return standing(lease, entries)

            monkeypatch.setattr(core.kernel, "standing", watched)
            watch, looks = HubWatch(core), []
            for _ in range(5):
                asked.clear()
                await watch.look()
                looks.append(list(asked))
            assert [len(look) for look in looks] == [2] * 5
            turns = [link for look in looks for link in look]
            assert turns[:5] == turns[5:] == [r.row.link for r in core.residents.values()]

    asyncio.run(main())


def test_an_emptied_set_is_filled_for_all_at_once(open_core, few_at_once):
    async def main():
        async with open_core() as core:
            await five_born(core)
            world = core.kernel.world
            before = set(world.allow)
            world.allow.clear()
            await HubWatch(core).look()
            assert world.allow == before

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
