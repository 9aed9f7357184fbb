"""The life of a policy: what ends by itself, what is taken back, what only looks like a change."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from unit.ground.policy_stage import POLICY, allowed, born

from netmgr.daemon.policy_desk import Change
from netmgr.daemon.policy_expiry import PolicyExpiry
from netmgr.daemon.policy_moves import PolicyMoves
from netmgr.errors import BadInput, Conflict, HostFailed, TryLater
from netmgr.journal.filter import Filter
from netmgr.kernel.destinations import Destinations
from netmgr.kernel.facts import AllowEntry
from netmgr.testing.fake_world import FakeSocket, FakeWorld

ENDING = """\
version: 1
network_policies:
  guest:
    expires: {when}
    endpoints: [{{host: guest.example.com, port: 443}}]
    binaries: [{{path: "/**"}}]
  web:
    endpoints: [{{host: one.example.com, port: 443}}]
    binaries: [{{path: "/**"}}]
"""


def ending_in(seconds: float) -> str:
    when = datetime.now(UTC) + timedelta(seconds=seconds)
    return ENDING.format(when=when.isoformat().replace("+00:00", "Z"))


async def recorded(core) -> list[str]:
    await core.journal.flush()
    return [record["message"] for record in await core.journal.query(Filter(kind="config"))]


def test_an_entry_ends_without_any_traffic(open_core):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            await desk.set(Change("a"), ending_in(0.2), "f")
            assert len(allowed(core)) == 2
            watch = asyncio.ensure_future(PolicyExpiry(core, PolicyMoves(core)).keep_watching())
            end = time.monotonic() + 30
            while not any(
                "has expired" in m for m in await recorded(core)
            ):  # the last that is done
                assert time.monotonic() < end, allowed(core)
                await asyncio.sleep(0.02)
            watch.cancel()
            assert allowed(core) == {("198.18.0.3", 443)}
            assert core.roster.members["a"].names["guest.example.com"], "its name is still known"
            told = await desk.explain("a", "https://guest.example.com/", None)
            assert (told["verdict"], told["reason"]) == ("denied", "expired")
            assert told["remedy"].startswith("netmgr policy update a --rule-name guest --expires 2")
            assert any("'guest'" in m and "has expired" in m for m in await recorded(core))
            assert core.kernel.survey().allow == core.entries(core.resident("a"))

    asyncio.run(main())


def test_a_clock_that_was_set_back_brings_an_entry_back(open_core, monkeypatch):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            await desk.set(Change("a"), ending_in(3600), "f")
            expiry, real = PolicyExpiry(core, PolicyMoves(core)), time.time
            monkeypatch.setattr(time, "time", lambda: real() + 7200)
            core.resident("a").policy = core.resident("a").policy.at(real() + 7200)
            await expiry.look()
            assert len(allowed(core)) == 1
            monkeypatch.setattr(time, "time", real)
            await expiry.look()
            assert len(allowed(core)) == 2
            assert any("holds again" in message for message in await recorded(core))

    asyncio.run(main())


def test_an_entry_that_has_ended_is_told_when_it_is_set(open_core):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            result = await desk.set(Change("a"), ending_in(-60), "f")
            assert "network_policies.guest: expired on" in result["warnings"][0]
            assert len(allowed(core)) == 1

    asyncio.run(main())


@pytest.mark.parametrize("scope", ["a", None])
def test_what_a_worker_does_not_take_up_is_taken_back(open_core, monkeypatch, scope):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            before, names = allowed(core), core.roster.members["a"].names
            policy, row = core.resident("a").policy, core.resident("a").row
            failed, announce = [], core.announce

            async def fail_once(ops):
                if not failed:
                    failed.append(ops)
                    raise TryLater("the proxy worker does not come up")
                return await announce(ops)

            monkeypatch.setattr(type(core), "announce", lambda self, ops: fail_once(ops))
            with pytest.raises(TryLater):
                await desk.set(Change(scope), POLICY.format(host="two.example.com"), "f")
            assert allowed(core) == before
            assert core.roster.members["a"].names == names
            assert core.effective(core.resident("a"))[0] == policy
            assert core.resident("a").row == row
            newest = (await desk.history(scope))[0]
            assert (newest["status"], newest["message"][:16]) == ("failed", "the proxy worker")
            assert any("failed" in message for message in await recorded(core))
            again = await desk.set(Change(scope), POLICY.format(host="two.example.com"), "f")
            assert again["changed"]

    asyncio.run(main())


def test_a_kernel_that_does_not_revoke_is_taken_back(open_core):
    async def main():
        world = FakeWorld()
        async with open_core(world) as core:
            desk = await born(core)
            before = allowed(core)
            world.fail.add("destroy_sockets")
            with pytest.raises(HostFailed):
                await desk.set(Change("a"), POLICY.format(host="two.example.com"), "f")
            world.fail.clear()
            assert (await desk.get("a", None))["revision"] == 1
            assert allowed(core) == before

    asyncio.run(main())


def test_a_failing_test_refuses_set_update_and_rollback(open_core):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            text = POLICY.format(host="one.example.com") + (
                "tests: [{connect: 'one.example.com:443', expect: allow}]\n"
            )
            with pytest.raises(BadInput, match=r"f:6: tests\[0\]: .*expected deny"):
                await desk.set(Change("a"), text.replace("expect: allow", "expect: deny"), "f")
            assert (await desk.set(Change("a"), text, "f"))["revision"] == 2
            gone = [{"op": "remove-endpoint", "value": "one.example.com:443"}]
            with pytest.raises(BadInput, match=r"policy update: tests\[0\]"):
                await desk.update(Change("a"), gone)
            assert (await desk.get("a", None))["revision"] == 2

    asyncio.run(main())


def test_a_dry_run_shows_what_would_differ(open_core):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            added = [{"op": "add-endpoint", "value": "two.example.com:443"}]
            shown = await desk.update(Change("a", dry_run=True), added)
            assert "+  allow_two_example_com_443:" in shown["diff"]
            assert not any(line.startswith("-  ") for line in shown["diff"])
            same = await desk.set(
                Change("a", dry_run=True), (await desk.get("a", None))["text"], "f"
            )
            assert (same["changed"], same["diff"]) == (False, [])
            back = await desk.roll_back(Change("a", dry_run=True), 1)
            assert (back["changed"], back["dry_run"]) == (False, True)

    asyncio.run(main())


def test_the_global_policy_goes_only_where_its_revision_is_meant(open_core):
    async def main():
        async with open_core() as core:
            desk = await born(core)
            await desk.set(Change(None), POLICY.format(host="all.example.com"), "f")
            with pytest.raises(Conflict, match="revision 1 is in force, not 4"):
                await desk.delete(Change(None, if_revision=4))
            assert await desk.delete(Change(None, if_revision=1)) == {"deleted": True}
            assert [m for m in await recorded(core) if "global" in m]

    asyncio.run(main())


def test_only_sockets_of_what_no_entry_allows_any_more_are_destroyed(open_core):
    async def main():
        world = FakeWorld()
        async with open_core(world) as core:
            desk = await born(core)
            address = core.resident("a").row.address
            kept = FakeSocket(address, IPv4Address("198.18.0.3"), 443)
            await desk.update(Change("a"), [{"op": "add-endpoint", "value": "two.example.com:443"}])
            gone = FakeSocket(address, IPv4Address("198.18.0.4"), 443)
            world.sockets += [kept, gone]
            await desk.update(
                Change("a"), [{"op": "remove-endpoint", "value": "two.example.com:443"}]
            )
            assert world.sockets == [kept]

    asyncio.run(main())


def test_destinations_of_networks_and_single_addresses():
    box, other = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")
    net = AllowEntry(box, 443, AllowEntry.single(box, 1, box).destination.supernet(8))
    found = Destinations([AllowEntry.single(box, 22, other), net])
    assert found.covers(box, 22, other)
    assert not found.covers(box, 443, IPv4Address("10.0.1.1"))
    assert found.covers(box, 443, IPv4Address("10.0.0.200"))
    assert not found.covers(other, 443, IPv4Address("10.0.0.200"))
    assert not Destinations(())
