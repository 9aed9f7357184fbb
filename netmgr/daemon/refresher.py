"""Owns: keeping credentials fresh: each is renewed before its end, once at a time, and tried again
with growing pauses where that fails.

A request is made here, where its secrets are; it is sent by the dialer's connection and its answer
is read by a proxy worker, confined (netmgr_proxy.tokens). Ways and times: netmgr.inference.refresh.
"""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from netmgr.daemon.core import Core
from netmgr.daemon.inference_desk import InferenceDesk
from netmgr.daemon.provider_desk import Given, ProviderDesk
from netmgr.daemon.token_errand import TokenErrand
from netmgr.errors import BadInput, Conflict, NetmgrError, NotFound
from netmgr.inference import profiles
from netmgr.inference.expiry import moment
from netmgr.inference.provider_type import ProviderType
from netmgr.inference.refresh import (
    Material,
    Minted,
    make_material,
    renewal_due,
    retry_delay,
    strategy_of,
)
from netmgr.process.tasks import TaskSet
from netmgr.reasons import Kind, Reason, Verdict
from netmgr.secret import Secret
from netmgr.store import Refresh

log = logging.getLogger(__name__)

TICK_S: Final = 60.0  # a clock that was set, or a host that slept, is noticed within it
_PLACE: Final = "refresh"  # what a strategy's secrets are bound to in the vault

JsonObject = dict[str, Any]
Name = tuple[str, str]  # provider, credential


@dataclass(frozen=True, slots=True)
class Renewal:
    """How a credential is to renew itself, as a caller gave it.

    Attributes:
        key: the credential; None is the usual one of the provider's type.
        public: material that anyone may read. `secret`: the rest.
    """

    strategy: str
    public: Mapping[str, str] = field(default_factory=dict)
    secret: Mapping[str, Secret] = field(default_factory=dict)
    key: str | None = None


class Refresher:
    """Answers /v1/providers/{name}/refresh, and renews by itself.

    Args:
        tasks: where the waiting happens; ended by the daemon.
    """

    def __init__(self, core: Core, inference: InferenceDesk, tasks: TaskSet) -> None:
        self._core = core
        self._inference = inference
        self._errand = TokenErrand(core)
        self._tasks = tasks
        self._keepers: dict[Name, asyncio.Task[None]] = {}
        self._under_way: dict[Name, asyncio.Task[NetmgrError | None]] = {}

    async def start(self) -> None:
        """Begin to keep every credential fresh that is to be."""
        for row in await self._core.on_store(self._core.store.refreshes.all):
            self._keep((row.provider, row.key))

    # -- what the operator asks ------------------------------------------------------------

    async def status(self, provider: str) -> list[JsonObject]:
        """Every refresh of a provider; names of secrets, never values.

        Raises:
            NotFound: no such provider.
        """
        core = self._core
        row = await core.on_store(core.store.providers.get, provider)
        found = await core.on_store(core.store.refreshes.of, provider)
        return [_shown(refresh, row.expires.get(refresh.key)) for refresh in found]

    async def create(
        self, desk: ProviderDesk, name: str, kind: str, given: Given, renewal: Renewal
    ) -> JsonObject:
        """Store a provider whose credential is fetched, and renews itself from then on. Where no
        token comes, nothing is stored.

        Raises:
            BadInput: a provider, strategy, name or material that cannot be meant.
            Conflict: the name is taken.
            NotVerified: no token came.
        """
        core = self._core
        chosen = strategy_of(renewal.strategy)
        material = make_material(chosen, renewal.public, renewal.secret)
        key = renewal.key or _usual_key(profiles.provider_type(kind, core.types), chosen.outputs)
        fetched = set(chosen.outputs or (key,))
        if twice := fetched & set(given.credentials):
            raise BadInput(f"credential {min(twice)}: is fetched, and so cannot be given")
        await desk.judge_new(name, kind, fetched | set(given.credentials), given.config)
        minted = await self._errand.mint(material, key)
        refresh = _fresh(name, key, material)
        sealed = self._sealed((name, key), {**material.secret, **minted.replaced})
        whole = Given(
            {**given.credentials, **minted.values},
            given.config,
            {**given.expires, **dict.fromkeys(minted.values, minted.expires)},
        )
        await desk.create(name, kind, whole, lambda: core.store.refreshes.put(refresh, sealed))
        core.record(Kind.CONFIG, f"credential {key} of provider {name} renews itself")
        self._keep((name, key))
        return await desk.get(name)

    async def configure(self, provider: str, renewal: Renewal) -> list[JsonObject]:
        """Renew a credential by itself from now on. A token is fetched first; where that fails,
        nothing is stored.

        Raises:
            NotFound: no such provider.
            BadInput: a strategy, name or material that cannot be meant.
            NotVerified: no token came.
        """
        core = self._core
        row = await core.on_store(core.store.providers.get, provider)
        chosen = strategy_of(renewal.strategy)
        material = make_material(chosen, renewal.public, renewal.secret)
        name = (provider, renewal.key or _usual_key(core.types.get(row.type), chosen.outputs))
        outputs = set(chosen.outputs or (name[1],))
        together = outputs | set(row.credentials)
        profiles.validate_provider(row.type, together, dict(row.config), core.types)
        minted = await self._errand.mint(material, name[1])
        refresh = _fresh(*name, material)
        sealed = self._sealed(name, {**material.secret, **minted.replaced})
        async with core.change():
            await core.on_store(core.store.refreshes.put, refresh, sealed)
            await self._put_in_force(name, minted)
        core.record(Kind.CONFIG, f"credential {name[1]} of provider {provider} renews itself")
        self._keep(name)
        return await self.status(provider)

    async def rotate(self, provider: str, key: str | None) -> list[JsonObject]:
        """Renew now; one that is under way is waited for.

        Raises:
            NotFound: there is nothing that renews itself.
            NotVerified: no token came; the old one stays in force.
        """
        failure = await asyncio.shield(self._renewing(await self._name(provider, key)))
        if failure is not None:
            raise failure
        return await self.status(provider)

    async def delete(self, provider: str, key: str | None) -> None:
        """Renew no longer; the token that is there stays until it ends.

        Raises:
            NotFound: there is nothing that renews itself.
        """
        core = self._core
        name = await self._name(provider, key)
        async with core.change():
            await core.on_store(core.store.refreshes.remove, *name)
        keeper = self._keepers.pop(name, None)
        if keeper is not None:
            keeper.cancel()
        core.record(Kind.CONFIG, f"credential {name[1]} of provider {provider} stays as it is")

    async def _name(self, provider: str, key: str | None) -> Name:
        core = self._core
        await core.on_store(core.store.providers.get, provider)
        found = [row.key for row in await core.on_store(core.store.refreshes.of, provider)]
        if key is None and len(found) > 1:
            raise BadInput(f"--key: which one? {', '.join(found)} renew themselves")
        chosen = key or (found[0] if found else "any")
        await core.on_store(core.store.refreshes.get, provider, chosen)
        return provider, chosen

    # -- renewing --------------------------------------------------------------------------

    def _keep(self, name: Name) -> None:
        before = self._keepers.pop(name, None)
        if before is not None:
            before.cancel()
        self._keepers[name] = self._tasks.start(self._stay_fresh(name), name=f"refresh {name[0]}")

    async def _stay_fresh(self, name: Name) -> None:
        """Until the refresh is deleted, with its provider or without."""
        failures = 0
        while (due := await self._due(name)) is not None:
            left = due - time.time()
            if left > 0:
                await asyncio.sleep(min(left, TICK_S))
                continue
            if await asyncio.shield(self._renewing(name)) is None:
                failures = 0
            else:
                failures += 1
                await asyncio.sleep(retry_delay(failures, random.random()))  # noqa: S311 - spreads

    async def _due(self, name: Name) -> float | None:
        """When the credential is to be renewed; None where it is so no longer."""
        core = self._core
        refresh = await core.on_store(core.store.refreshes.find, *name)
        row = await core.on_store(core.store.providers.find, name[0])
        if refresh is None or row is None:
            return None
        ends, renewed = row.expires.get(name[1]), refresh.renewed
        if ends is None or renewed is None:
            return 0.0
        chance = random.Random(f"{name}{renewed}").random()  # noqa: S311 - the same at each look
        return renewal_due(renewed, ends, chance)

    def _renewing(self, name: Name) -> "asyncio.Task[NetmgrError | None]":
        """The renewal that is under way, or a new one: never two of one credential."""
        task = self._under_way.get(name)
        if task is None:
            task = self._tasks.start(self._renew(name), name=f"renew {name[0]}")
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name, None))
        return task

    async def _renew(self, name: Name) -> NetmgrError | None:
        """Renew once; what went wrong is recorded, and is the answer."""
        core = self._core
        refresh = await core.on_store(core.store.refreshes.find, *name)
        if refresh is None:
            return NotFound(f"{name[1]} of provider {name[0]} renews itself no longer")
        try:
            minted = await self._errand.mint(await self._material(refresh), name[1])
            await self._take(refresh, minted)
        except NetmgrError as failure:
            await self._note_failure(refresh, failure)
            return failure
        return None

    async def _take(self, refresh: Refresh, minted: Minted) -> None:
        """Keep what came and put it in force.

        Raises:
            Conflict: the refresh is another one by now.
        """
        core, name = self._core, (refresh.provider, refresh.key)
        async with core.change():
            now = await core.on_store(core.store.refreshes.find, *name)
            if now is None or now.updated != refresh.updated:
                raise Conflict(f"the refresh of {name[1]} was changed meanwhile")
            await core.on_store(
                core.store.refreshes.note,
                *name,
                renewed=time.time(),
                secrets=self._sealed(name, minted.replaced),
            )
            await self._put_in_force(name, minted)
        core.record(
            Kind.CONFIG,
            f"credential {name[1]} of provider {name[0]} renewed until {moment(minted.expires)}",
        )

    async def _put_in_force(self, name: Name, minted: Minted) -> None:
        core, provider = self._core, name[0]
        sealed = {k: core.vault.seal(v, "provider", provider, k) for k, v in minted.values.items()}
        await core.on_store(
            core.store.providers.update,
            provider,
            time.time(),
            credentials=sealed,
            expires=dict.fromkeys(minted.values, minted.expires),
        )
        await self._inference.announce_routes_of(provider)

    async def _note_failure(self, refresh: Refresh, failure: NetmgrError) -> None:
        core = self._core
        with suppress(NetmgrError):  # the disk may be full; the record says it all the same
            note = core.store.refreshes.note
            await core.on_store(note, refresh.provider, refresh.key, failed=failure.message)
        reason = str(failure.details.get("reason", Reason.UPSTREAM_AUTH.value))
        core.record(
            Kind.FINDING,
            f"credential {refresh.key} of provider {refresh.provider} was not renewed: "
            + failure.message,
            outcome=(Verdict.FAILED, Reason(reason)),
            remedy=f"netmgr provider refresh status {refresh.provider}",
        )

    async def _material(self, refresh: Refresh) -> Material:
        core, name = self._core, (refresh.provider, refresh.key)
        sealed = await core.on_store(core.store.refreshes.secrets, *name)
        secret = {k: core.vault.unseal(v, _PLACE, *name, k) for k, v in sealed.items()}
        public = {k: v for k, v in refresh.material.items() if k not in secret}
        return make_material(strategy_of(refresh.strategy), public, secret)

    def _sealed(self, name: Name, secrets: Mapping[str, Secret]) -> dict[str, Any]:
        return {k: self._core.vault.seal(v, _PLACE, *name, k) for k, v in secrets.items()}


def _usual_key(kind: ProviderType, outputs: tuple[str, ...]) -> str:
    return (outputs or kind.credential_names)[0]


def _fresh(provider: str, key: str, material: Material) -> Refresh:
    """What is stored of a refresh whose first token has just come."""
    now = time.time()
    return Refresh(
        provider=provider,
        key=key,
        strategy=material.strategy.name,
        material=material.public,
        updated=now,
        renewed=now,
    )


def _shown(refresh: Refresh, expires: float | None) -> JsonObject:
    state = "failing" if refresh.failed else "fresh"
    if expires is not None and expires <= time.time():
        state = "expired"
    return {
        "key": refresh.key,
        "strategy": refresh.strategy,
        "state": state,
        "expires": moment(expires) if expires is not None else None,
        "renewed": moment(refresh.renewed) if refresh.renewed else None,
        "failed": refresh.failed or None,
        "material": {k: v for k, v in refresh.material.items() if v},
        "secrets": list(refresh.secrets),
    }
