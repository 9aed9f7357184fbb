"""The life of sandboxes on a kernel in memory: born whole or not at all, gone without a trace."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from netmgr.daemon.adoption import adopt
from netmgr.daemon.lifecycle import Lifecycle, Outcome
from netmgr.daemon.sandbox_spec import Living, SandboxSpec
from netmgr.errors import BadInput, Conflict, HostFailed, LimitExceeded, NotFound
from netmgr.testing.fake_world import FakeWorld

VERBS = ("make_netns", "add_bind", "add_allow", "attach_link", "link_up")


def spec(name: str = "a", *allow: str, **more: object) -> SandboxSpec:
    return SandboxSpec.parse({"name": name, "allow": allow or ["api.example.com"], **more})


def standing(core) -> tuple[object, ...]:
    """Everything that the kernel holds of sandboxes."""
    survey = core.kernel.survey()
    return survey.netns, survey.links, survey.binds, survey.allow, survey.routes


def test_a_sandbox_is_born_with_its_names_entries_and_files(open_core):
    async def main():
        async with open_core() as core:
            shown, how = await Lifecycle(core).create(spec("a", "api.example.com", "b.org:8443"))
            assert how is Outcome.CREATED
            assert shown["address"] == "10.77.0.1"
            survey = core.kernel.survey()
            allowed = {(str(e.destination.network_address), e.port) for e in survey.allow}
            assert allowed == {
                ("198.18.0.1", 80),
                ("198.18.0.1", 443),
                ("198.18.0.3", 443),
                ("198.18.0.4", 8443),
            }
            member = core.roster.members["a"]
            assert member.names["api.example.com"] == "198.18.0.3"
            assert (Path(shown["run_dir"]) / "ca-bundle.pem").exists()

    asyncio.run(main())


@pytest.mark.parametrize("verb", VERBS)
def test_a_birth_that_fails_leaves_nothing(open_core, verb):
    async def main():
        world = FakeWorld()
        async with open_core(world) as core:
            before = standing(core)
            world.fail.add(verb)
            with pytest.raises(HostFailed, match=verb):
                await Lifecycle(core).create(spec())
            world.fail.clear()
            assert standing(core) == before
            assert not core.residents
            assert not core.roster.members
            assert not core.store.sandboxes.all()
            assert not list((core.settings.run_dir / "sandboxes").iterdir())
            _, how = await Lifecycle(core).create(spec())
            assert how is Outcome.CREATED

    asyncio.run(main())


def test_a_birth_that_the_disk_refuses_leaves_nothing(open_core):
    async def main():
        async with open_core() as core:
            before = standing(core)
            files = core.settings.run_dir / "sandboxes"
            files.rmdir()
            with pytest.raises(HostFailed, match="cannot be written"):
                await Lifecycle(core).create(spec())
            assert standing(core) == before
            assert not core.residents
            assert not core.roster.members
            assert not core.store.sandboxes.all()
            files.mkdir()
            _, how = await Lifecycle(core).create(spec())
            assert how is Outcome.CREATED

    asyncio.run(main())


def test_create_twice_is_once_and_other_parameters_are_a_conflict(open_core):
    async def main():
        async with open_core() as core:
            life = Lifecycle(core)
            first, _ = await life.create(spec())
            second, how = await life.create(spec())
            assert (second, how) == (first, Outcome.EXISTED)
            with pytest.raises(Conflict, match="other parameters"):
                await life.create(spec("a", "other.example.com"))

    asyncio.run(main())


def test_an_idempotency_key_gives_the_first_answer_again(open_core):
    async def main():
        async with open_core() as core:
            life = Lifecycle(core)
            first, how = await life.create(spec(idempotency_key="k"))
            assert how is Outcome.CREATED
            await life.add_trust_stores("a", ["java"])  # what is there now, the answer does not say
            assert await life.create(spec(idempotency_key="k")) == (first, Outcome.REPEATED)
            for other in (spec("b"), spec("a", "b.example.com"), spec(trust_stores=("java",))):
                with pytest.raises(Conflict, match="idempotency key"):
                    await life.create(replace(other, idempotency_key="k"))
        async with open_core() as core:
            await adopt(core)
            assert (await Lifecycle(core).create(spec(idempotency_key="k")))[0] == first

    asyncio.run(main())


def test_an_idempotency_key_does_not_outlive_what_it_made(open_core):
    async def main():
        async with open_core() as core:
            life = Lifecycle(core)
            first, _ = await life.create(spec(idempotency_key="k"))
            await life.delete("a")
            second, how = await life.create(spec(idempotency_key="k"))
            assert (how, second["id"] != first["id"]) == (Outcome.CREATED, True)
            with pytest.raises(Conflict, match="idempotency key"):
                await life.create(spec("b", idempotency_key="k"))

    asyncio.run(main())


def test_a_failed_creation_keeps_no_key(open_core):
    async def main():
        async with open_core() as core:
            life = Lifecycle(core)
            files = core.settings.run_dir / "sandboxes"
            files.rmdir()
            with pytest.raises(HostFailed):
                await life.create(spec(idempotency_key="k"))
            files.mkdir()
            _, how = await life.create(spec(idempotency_key="k"))
            assert how is Outcome.CREATED

    asyncio.run(main())


def test_delete_leaves_nothing_and_the_address_rests(open_core):
    async def main():
        async with open_core() as core:
            life = Lifecycle(core)
            before = standing(core)
            first, _ = await life.create(spec())
            await life.delete("a")
            assert standing(core) == before
            assert not list((core.settings.run_dir / "sandboxes").iterdir())
            with pytest.raises(NotFound):
                await life.delete("a")
            second, _ = await life.create(spec())
            assert second["address"] != first["address"]
            assert second["id"] != first["id"]

    asyncio.run(main())


def test_collect_removes_what_is_not_named_and_refuses_a_typing_error(open_core):
    async def main():
        async with open_core() as core:
            life = Lifecycle(core)
            for name in ("a", "b", "c"):
                await life.create(spec(name))
            with pytest.raises(BadInput):
                Living.parse({"keep": ["A!"]})
            assert await life.collect(Living.parse({"keep": ["b"]})) == ["a", "c"]
            assert list(core.residents) == ["b"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ({"keep": []}, ["mine", "old", "other", "plain"]),
        ({"keep": ["other"], "tenant": "t"}, ["mine"]),
        ({"keep": ["Box/1"], "by": "box"}, ["old"]),
        ({"keep": [], "by": "box", "labels": {"runtime": "r"}}, ["mine"]),
        ({"keep": ["old"], "labels": {"runtime": "r"}}, ["mine", "other"]),
        ({"keep": [], "by": "box", "tenant": "nobody"}, []),
    ],
)
def test_a_runtime_collects_what_is_its_own(words, gone):
    rows = {
        "mine": ("t", {"box": "Box/1", "runtime": "r"}),
        "old": (None, {"box": "Box/2"}),
        "other": (None, {"runtime": "r"}),
        "plain": (None, {}),
    }
    living = Living.parse(words)
    assert [name for name, (who, has) in rows.items() if living.is_gone(name, who, has)] == gone


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256, "a\n"])
def test_a_key_that_is_none_is_refused(key):
    with pytest.raises(BadInput, match="idempotency key"):
        spec(idempotency_key=key)


def test_the_bound_of_sandboxes_is_named(open_core):
    async def main():
        async with open_core(max_sandboxes=1) as core:
            life = Lifecycle(core)
            await life.create(spec())
            with pytest.raises(LimitExceeded, match="max_sandboxes"):
                await life.create(spec("b"))

    asyncio.run(main())


def test_the_plan_is_printed_and_nothing_is_done(open_core):
    async def main():
        async with open_core() as core:
            before = standing(core)
            plan = (await Lifecycle(core).plan(spec()))["plan"]
            assert [line.split()[0] for line in plan] == ["make", "take", "lead", "make", "set"]
            assert standing(core) == before

    asyncio.run(main())


def test_a_restart_adopts_what_stands(open_core):
    async def main():
        world = FakeWorld()
        async with open_core(world) as core:
            first, _ = await Lifecycle(core).create(spec())
            before = standing(core)
        async with open_core(world) as core:
            outcome = await adopt(core)
            assert outcome.adopted == ["a"]
            assert standing(core) == before
            assert Lifecycle(core).describe(core.resident("a")) == first
            other, _ = await Lifecycle(core).create(spec("b"))
            assert other["address"] != first["address"]

    asyncio.run(main())


def test_a_restart_builds_again_what_a_reboot_took(open_core):
    async def main():
        async with open_core(FakeWorld()) as core:
            first, _ = await Lifecycle(core).create(spec())
        async with open_core(FakeWorld()) as core:  # another kernel: the machine was booted
            outcome = await adopt(core)
            assert outcome.repaired == ["a"]
            assert core.kernel.survey().links
            assert Lifecycle(core).describe(core.resident("a"))["address"] == first["address"]

    asyncio.run(main())


def test_a_restart_removes_what_belongs_to_no_sandbox(open_core, tmp_path):
    async def main():
        world = FakeWorld()
        async with open_core(world) as core:
            await Lifecycle(core).create(spec())
            row = core.store.sandboxes.get("a")
            core.store.sandboxes.remove(row.id, 0.0)  # as if the daemon died before it stored it
        async with open_core(world) as core:
            outcome = await adopt(core)
            assert outcome.orphans
            survey = core.kernel.survey()
            left = (survey.netns, survey.links, survey.binds, survey.allow, survey.routes)
            assert not any(left)

    asyncio.run(main())


def test_sandboxes_with_the_same_policy_share_it_and_a_long_text_is_not_kept():
    one, two = spec("a", "x.example.com"), spec("b", "x.example.com")
    assert one.policy is two.policy
    text = "version: 1\nnetwork_policies: {}\n" + "# long\n" * 20_000
    given = {"text": text, "source": "f"}
    long = [SandboxSpec.parse({"name": name, "policy": given}) for name in "ab"]
    assert long[0].policy == long[1].policy
    assert long[0].policy is not long[1].policy
