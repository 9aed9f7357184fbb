"""Policies of live sandboxes: in force when the call returns, or nothing has changed."""

import asyncio

import pytest
from unit.ground.policy_stage import POLICY, allowed, born

from netmgr.daemon.policy_desk import Change
from netmgr.errors import BadInput, Conflict, HostFailed
from netmgr.testing.fake_world import FakeWorld


def test_set_moves_names_and_entries(open_core):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            assert allowed(core) == {("198.18.0.3", 443)}
            result = await desk.set(Change("a"), POLICY.format(host="two.example.com"), "f")
            assert (result["revision"], result["changed"]) == (2, True)
            assert allowed(core) == {("198.18.0.4", 443)}
            assert set(core.roster.members["a"].names) >= {"two.example.com"}
            assert "one.example.com" not in core.roster.members["a"].names
            back = await desk.roll_back(Change("a"), 1)
            assert back["revision"] == 3
            assert allowed(core) == {("198.18.0.3", 443)}, "the name gets the same address again"

    asyncio.run(main())


def test_the_same_policy_is_no_new_revision(open_core):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            text = (await desk.get("a", None))["text"]
            result = await desk.set(Change("a"), text, "f")
            assert (result["revision"], result["changed"]) == (1, False)

    asyncio.run(main())


def test_a_dry_run_and_a_wrong_revision_change_nothing(open_core):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            before = allowed(core)
            text = POLICY.format(host="two.example.com")
            shown = await desk.set(Change("a", dry_run=True), text, "f")
            assert (shown["changed"], shown["revision"]) == (True, 1)
            with pytest.raises(Conflict, match="revision 1 is in force, not 7"):
                await desk.set(Change("a", if_revision=7), text, "f")
            with pytest.raises(BadInput, match="f:1"):
                await desk.set(Change("a"), "version: 2\n", "f")
            assert allowed(core) == before

    asyncio.run(main())


def test_a_kernel_that_refuses_leaves_the_old_policy_whole(open_core):
    async def main():
        world = FakeWorld()
        async with open_core(world) as core:
            desk = await born(core)
            before, names = allowed(core), core.roster.members["a"].names
            world.fail.add("add_allow")
            with pytest.raises(HostFailed):
                await desk.set(Change("a"), POLICY.format(host="two.example.com"), "f")
            world.fail.clear()
            assert allowed(core) == before
            assert core.roster.members["a"].names == names
            assert (await desk.get("a", None))["revision"] == 1
            assert [r["revision"] for r in await desk.history("a")] == [1]

    asyncio.run(main())


def test_the_global_policy_stands_over_all_and_goes_again(open_core):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            await desk.set(Change(None), POLICY.format(host="all.example.com"), "f")
            assert allowed(core) == {("198.18.0.4", 443)}
            with pytest.raises(Conflict, match="global policy"):
                await desk.set(Change("a"), POLICY.format(host="x.example.com"), "f")
            assert await desk.delete(Change(None)) == {"deleted": True}
            assert allowed(core) == {("198.18.0.3", 443)}
            assert await desk.delete(Change(None)) == {"deleted": False}

    asyncio.run(main())


@pytest.mark.parametrize(("scope", "said"), [("a", "a"), (None, "--global")])
def test_the_remedy_of_a_denial_allows_it(open_core, scope, said):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            if scope is None:
                await desk.set(Change(None), POLICY.format(host="one.example.com"), "f")
            member = core.member(core.resident("a"))
            assert member.scope == said  # what workers say in their own denials
            told = await desk.explain("a", "https://two.example.com/x", None)
            assert told["verdict"] == "denied"
            _, _, _, name, flag, value = told["remedy"].split()
            assert name == said
            await desk.update(Change(scope), [{"op": flag.removeprefix("--"), "value": value}])
            told = await desk.explain("a", "https://two.example.com/x", None)
            assert told["verdict"] == "allowed"
            assert allowed(core) == {("198.18.0.3", 443), ("198.18.0.4", 443)}

    asyncio.run(main())
