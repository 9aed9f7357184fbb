"""The default route: chosen, switched by health, and never above what the operator set."""

import asyncio
from typing import Any

import pytest

from netmgr.daemon.core import Core
from netmgr.daemon.default_route import STANDBY_SCOPE
from netmgr.daemon.inference_desk import InferenceDesk
from netmgr.daemon.provider_desk import Given, ProviderDesk
from netmgr.daemon.route_desk import RouteDesk
from netmgr.errors import Conflict
from netmgr.inference.scope import Scope
from netmgr.secret import Secret


def staffed(core: Core) -> tuple[InferenceDesk, ProviderDesk, RouteDesk]:
    desk = InferenceDesk(core)
    desk.restore()
    return desk, ProviderDesk(core, desk), RouteDesk(core, desk)


def given(**config: str) -> Given:
    plain = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    return Given({"OPENAI_API_KEY": Secret("sk-1")}, plain | config)


def in_force(core: Core) -> str | None:
    wire = core.roster.route(None)
    return None if wire is None else f"{wire['provider']}/{wire['model']}"


def switches(core: Core, told: list[dict[str, Any]]) -> list[str]:
    return [r["message"] for r in told if "inference of all" in r["message"]]


async def note(desk: InferenceDesk, name: str, well: bool) -> None:
    """One look at a stand-in, with its outcome."""
    defaults = desk.defaults

    async def outcome(route: Any) -> bool:
        return well

    defaults._ask = outcome
    if await defaults._look(name):
        assert await defaults._switch()


def test_a_stand_in_takes_over_and_gives_back(open_core, monkeypatch) -> None:
    async def main() -> None:
        async with open_core() as core:
            told: list[dict[str, Any]] = []
            append = core.journal.append
            monkeypatch.setattr(
                core.journal, "append", lambda record: (told.append(record), append(record))
            )
            desk, providers, routes = staffed(core)
            assert in_force(core) is None
            await providers.create("nim", "openai", given(DEFAULT_MODEL="big"))
            assert in_force(core) == "nim/big"
            (shown,) = await routes.get(None)
            assert (shown["source"], shown["version"], shown["scope"]) == ("default", 0, "all")
            await providers.create("here", "openai", given(DEFAULT_MODEL="small", STANDBY="local"))
            assert core.roster.route(STANDBY_SCOPE + "here") is not None
            assert routes.standbys()[0]["healthy"] is False
            await note(desk, "here", True)
            assert in_force(core) == "nim/big", "one good look proves nothing"
            await note(desk, "here", True)
            assert in_force(core) == "here/small"
            assert (await routes.get(None))[0]["source"] == "standby"
            for _ in range(2):
                await note(desk, "here", False)
            assert in_force(core) == "nim/big"
            assert [line.partition(": ")[2] for line in switches(core, told)] == [
                "default nim, model big",
                "default here, model small (the local stand-in is healthy)",
                "default nim, model big (the stand-in here is gone)",
            ]

    asyncio.run(main())


def test_what_the_operator_sets_stands_above_it(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            desk, providers, routes = staffed(core)
            await providers.create("nim", "openai", given(DEFAULT_MODEL="big"))
            await providers.create("here", "openai", given(DEFAULT_MODEL="small", STANDBY="local"))
            fields = {"sandbox": None, "provider": "nim", "model": "set"}
            fields |= {"timeout_s": 0, "total_timeout_s": 0}
            await routes.set(fields, verify=False)
            for _ in range(3):
                await note(desk, "here", True)
            assert in_force(core) == "nim/set"
            await routes.delete(Scope(), cut=False)
            assert in_force(core) == "here/small"
            await providers.update("here", given(DEFAULT_MODEL="other"), force=False)
            assert in_force(core) == "here/other"
            with pytest.raises(Conflict, match="is the default"):
                await providers.delete("here", force=False)
            await providers.delete("here", force=True)
            assert in_force(core) == "nim/big"
            assert core.roster.route(STANDBY_SCOPE + "here") is None
            await providers.delete("nim", force=True)
            assert in_force(core) is None

    asyncio.run(main())


def test_a_default_is_there_after_a_restart(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            _, providers, _ = staffed(core)
            await providers.create("nim", "openai", given(DEFAULT_MODEL="big"))
        async with open_core() as core:
            staffed(core)
            assert in_force(core) == "nim/big"

    asyncio.run(main())
