"""Routes of inference.local: which holds, and that no change of another's is overwritten."""

import asyncio
from typing import Any

import pytest

from netmgr.daemon.core import Core
from netmgr.daemon.inference_desk import InferenceDesk
from netmgr.daemon.lifecycle import Lifecycle
from netmgr.daemon.provider_desk import Given, ProviderDesk
from netmgr.daemon.route_desk import RouteDesk
from netmgr.daemon.sandbox_spec import SandboxSpec
from netmgr.errors import BadInput, Conflict, NotFound
from netmgr.inference.scope import Scope
from netmgr.journal.filter import Filter
from netmgr.secret import Secret
from netmgr_proxy.routes import Routes


async def desks(core: Core) -> RouteDesk:
    inference = InferenceDesk(core)
    config = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    given = Given({"OPENAI_API_KEY": Secret("sk-1")}, config)
    await ProviderDesk(core, inference).create("lab", "openai", given)
    await Lifecycle(core).create(SandboxSpec.parse({"name": "box", "labels": {"team": "ml"}}))
    return RouteDesk(core, inference)


def fields(model: str, **more: Any) -> dict[str, Any]:
    plain = {"sandbox": None, "provider": "lab", "timeout_s": 0, "total_timeout_s": 0}
    return {**plain, "model": model, **more}


def test_the_narrowest_scope_holds_and_changing_one_leaves_the_others(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            desk = await desks(core)
            await desk.set(fields("all"), verify=False)
            assert (await desk.get("box"))[0]["model"] == "all"
            await desk.set(fields("ml", label="team=ml"), verify=False)
            assert (await desk.get("box"))[0]["scope"] == "team=ml"
            await desk.set(fields("own", sandbox="box"), verify=False)
            assert (await desk.get("box"))[0]["model"] == "own"
            assert [r["scope"] for r in await desk.get(None)] == ["all", "team=ml", "box"]
            assert await desk.delete(Scope("box"), cut=True) is True
            assert await desk.delete(Scope("box"), cut=False) is False
            assert (await desk.get("box"))[0]["model"] == "ml"
            assert set(core.roster._routes) == {None, "team=ml"}

    asyncio.run(main())


def test_no_connection_is_promised_to_be_waited_for_longer_than_the_dialer_does(open_core) -> None:
    async def main() -> None:
        async with open_core(connect_timeout_s=3.0) as core:
            desk = await desks(core)
            made = await desk.set(fields("m", rules={"connect_timeout_s": 3}), verify=False)
            assert made["rules"]["connect_timeout_s"] == 3.0
            with pytest.raises(BadInput, match="longer than the setting"):
                await desk.update(Scope(), {"rules": {"connect_timeout_s": 4}}, verify=False)

    asyncio.run(main())


def test_an_update_never_overwrites_what_it_has_not_seen(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            desk = await desks(core)
            with pytest.raises(NotFound):
                await desk.update(Scope(), {"model": "b"}, verify=False)
            first = await desk.set(fields("a"), verify=False, if_version=0)
            with pytest.raises(Conflict, match="version 1, not 0"):
                await desk.set(fields("b"), verify=False, if_version=0)

            async def change_it_meanwhile(route: Any) -> list[Any]:
                await desk.set(fields("c"), verify=False)
                return []

            desk._providers.probe = change_it_meanwhile
            with pytest.raises(Conflict):
                await desk.update(Scope(), {"timeout_s": 9.0}, verify=True)
            assert (await desk.get(None))[0]["model"] == "c"
            assert first["version"] == 1

    asyncio.run(main())


def test_aliases_are_added_and_removed_one_by_one(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            desk = await desks(core)
            await desk.set(fields("a", aliases={"fast": "small", "x": "y"}), verify=False)
            changed = await desk.update(
                Scope(), {"aliases": {"fast": "tiny", "x": "", "big": "huge"}}, verify=False
            )
            assert changed["aliases"] == {"fast": "tiny", "big": "huge"}
            assert core.roster._routes[None]["aliases"] == changed["aliases"]
            with pytest.raises(BadInput, match="printable"):
                await desk.update(Scope(), {"aliases": {" ": "m"}}, verify=False)

    asyncio.run(main())


def told(core: Core) -> Routes:
    """What a worker that starts now is told."""
    routes = Routes()
    for op in core.roster.full_state("proxy"):
        if op["op"] == "inference":
            routes.apply(op)
    return routes


def test_a_route_that_cannot_be_restored_shuts_its_scope_and_no_other(open_core) -> None:
    """A newer version, or a type's file without what the provider uses, must not keep the daemon
    from its start; nor must the call go by a wider route, to another company."""

    async def main() -> None:
        async with open_core() as core:
            desk = await desks(core)
            inference = InferenceDesk(core)
            given = Given({"OPENAI_API_KEY": Secret("sk-2")}, {})
            await ProviderDesk(core, inference).create("other", "openai", given)
            await desk.set(fields("all"), verify=False)
            await desk.set(fields("own", sandbox="box", provider="other"), verify=False)
            before = told(core).holding("box", {})
            assert before is not None
            assert before.route.model == "own"
            store = core.store.providers.update
            await core.on_store(lambda: store("other", 0.0, config={"FORGOTTEN": "x"}))
            again = InferenceDesk(core)
            await core.on_store(again.restore)
            assert told(core).holding("box", {"team": "ml"}) is None
            default = told(core).holding("else", {"team": "ml"})
            assert default is not None
            assert default.route.model == "all"
            again.tell_unusable()
            await core.journal.flush()
            (record,) = await core.journal.query(Filter(kind="finding"))
            assert "inference of box: provider other" in record["message"]
            await desk.set(fields("own", sandbox="box"), verify=False)
            mended = told(core).holding("box", {})
            assert mended is not None
            assert mended.route.provider == "lab"

    asyncio.run(main())
