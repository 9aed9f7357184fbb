"""Providers: what goes in, what is shown, and the end of a credential."""

import asyncio
import json
import time

import pytest

from netmgr.daemon.credential_watch import CredentialWatch
from netmgr.daemon.inference_desk import InferenceDesk
from netmgr.daemon.provider_desk import Given, ProviderDesk
from netmgr.errors import BadInput, Conflict
from netmgr.secret import Secret

KEY = "OPENAI_API_KEY"


def desk_of(core) -> ProviderDesk:
    return ProviderDesk(core, InferenceDesk(core))


def given(value: str = "sk-secret", **more) -> Given:
    return Given(credentials={KEY: Secret(value)}, **more)


def test_a_provider_is_shown_without_its_value(open_core):
    async def main():
        async with open_core() as core:
            desk = desk_of(core)
            made = await desk.create("p", "openai", given(expires={KEY: 4e9}))
            assert made["credentials"] == [KEY]
            assert made["expires"] == {KEY: "2096-10-02T07:06:40Z"}
            assert made["warnings"] == []
            assert "sk-secret" not in json.dumps([made, await desk.list()])
            with pytest.raises(Conflict):
                await desk.create("p", "openai", given())

    asyncio.run(main())


def test_an_end_is_changed_cleared_and_forgotten_with_the_key(open_core):
    async def main():
        async with open_core() as core:
            desk = desk_of(core)
            soon = time.time() + 60
            made = await desk.create("p", "openai", given(expires={KEY: soon}))
            assert [w for w in made["warnings"] if "expires" in w]
            assert (await desk.update("p", Given(expires={KEY: 0.0}), force=False))["expires"] == {}
            await desk.update("p", Given(expires={KEY: soon}), force=False)
            # A new key does not end when the old one would have.
            assert (await desk.update("p", given("sk-2"), force=False))["expires"] == {}
            assert (await desk.update("p", given("sk-3", expires={KEY: soon}), force=False))[
                "expires"
            ]

    asyncio.run(main())


@pytest.mark.parametrize("expires", [{"OPENAI_API_KEYS": 1.0}, {KEY: -1.0}, {KEY: float("inf")}])
def test_an_end_that_cannot_be_meant_is_refused(open_core, expires):
    async def main():
        async with open_core() as core:
            with pytest.raises(BadInput, match="--credential-expires-at"):
                await desk_of(core).create("p", "openai", given(expires=expires))
            assert await desk_of(core).list() == []

    asyncio.run(main())


def test_each_end_is_told_once_when_near_and_once_when_past(open_core):
    async def main():
        async with open_core() as core:
            told = []
            core.journal.append = told.append
            await desk_of(core).create("p", "openai", given(expires={KEY: 1_000_000.0}))
            told.clear()
            watch = CredentialWatch(core)
            week = core.settings.credential_warning_s
            for now in (999_999 - week, 1_000_000 - week, 999_999, 1_000_000, 1_000_001):
                await watch.look(now)
            assert [(r["kind"], r["verdict"], r["reason"]) for r in told] == [
                ("finding", "audited", "credential_expired"),
                ("finding", "failed", "credential_expired"),
            ]
            assert told[0]["remedy"] == f"netmgr provider update p --credential {KEY}"

    asyncio.run(main())
