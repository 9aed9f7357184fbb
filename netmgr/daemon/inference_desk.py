"""Owns: providers and their credentials; what a route to one comes to; asking it whether it works.

A credential goes from the caller into the vault and from there to the proxy workers; it never comes
back out of the API. Which routes there are is netmgr.daemon.route_desk's business.
"""

import re
import time
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

from netmgr.daemon.core import Core
from netmgr.daemon.roster import Op
from netmgr.errors import BadInput, NetmgrError, NotVerified, TryLater
from netmgr.inference import profiles
from netmgr.inference.profiles import PROVIDER_TYPES, resolve_route
from netmgr.inference.route import InferenceRoute as ResolvedRoute
from netmgr.inference.scope import Scope
from netmgr.process.ipc import PeerClosed, PeerRefused
from netmgr.reasons import Kind
from netmgr.secret import Secret
from netmgr.store import InferenceRoute, Provider

JsonObject = dict[str, Any]

PROBE_SCOPE: Final = "?probe"  # no sandbox can be called so
PROBE_STEPS: Final = 6  # chat twice, messages, responses, completions, embeddings
PROBE_MARGIN_S: Final = 5.0  # for connecting and for the worker itself
MAX_PROVIDERS: Final = 1000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


class InferenceDesk:
    """Answers /v1/providers."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._probes = count(1)

    # -- providers -------------------------------------------------------------------------

    def types(self) -> list[JsonObject]:
        """What `provider create --type` takes."""
        return [
            {
                "type": kind.name,
                "base_url": kind.default_base_url,
                "protocols": [str(protocol) for protocol in kind.protocols],
                "credential": kind.credential_key,
                "config": list(kind.config_keys),
                "from_existing": list(kind.discovery),
            }
            for kind in PROVIDER_TYPES.values()
        ]

    async def create_provider(
        self, name: str, kind: str, credentials: Mapping[str, Secret], config: Mapping[str, str]
    ) -> JsonObject:
        """Store a provider.

        Raises:
            BadInput: a name, type, credential or config key that cannot be meant.
            Conflict: the name is taken.
        """
        if not _NAME.fullmatch(name):
            raise BadInput(f"provider name {name!r}: expected letters, digits, '.', '_' and '-'")
        profile = profiles.validate_provider(kind, credentials, config)
        for key, value in credentials.items():
            profiles.validate_credential(key, value)
        core, now = self._core, time.time()
        async with core.change():
            if len(await core.on_store(core.store.providers.all)) >= MAX_PROVIDERS:
                raise BadInput(f"{MAX_PROVIDERS} providers exist; delete one first")
            row = Provider(
                name=name, type=profile.name, config=dict(config), created=now, updated=now
            )
            sealed = {k: core.vault.seal(v, "provider", name, k) for k, v in credentials.items()}
            await core.on_store(core.store.providers.add, row, sealed)
        core.record(Kind.CONFIG, f"provider {name} created")
        return await self.get_provider(name)

    async def list_providers(self) -> list[JsonObject]:
        """Every provider; the names of credentials, never values."""
        core = self._core
        found = await core.on_store(core.store.providers.all)
        return [await self.get_provider(provider.name) for provider in found]

    async def get_provider(self, name: str) -> JsonObject:
        """One provider.

        Raises:
            NotFound: names the nearest one.
        """
        core = self._core
        row = await core.on_store(core.store.providers.get, name)
        routes = await core.on_store(core.store.inference.all)
        return {
            "name": row.name,
            "type": row.type,
            "credentials": list(row.credentials),
            "config": dict(row.config),
            "created": row.created,
            "updated": row.updated,
            "used_by": [self.scope_of(r).key or "all" for r in routes if r.provider == name],
        }

    async def update_provider(
        self, name: str, credentials: Mapping[str, Secret], config: Mapping[str, str]
    ) -> JsonObject:
        """Change single credentials and config values; an empty value removes the key. Routes that
        use the provider change at once.

        Raises:
            NotFound, BadInput: the provider would not be valid after it.
        """
        core = self._core
        async with core.change():
            row = await core.on_store(core.store.providers.get, name)
            kept = (set(row.credentials) | set(credentials)) - _emptied(credentials)
            merged = {k: v for k, v in (dict(row.config) | dict(config)).items() if v}
            profiles.validate_provider(row.type, kept, merged)
            sealed = {}
            for key, value in credentials.items():
                if value.reveal():
                    profiles.validate_credential(key, value)
                    sealed[key] = core.vault.seal(value, "provider", name, key)
            changes = dict.fromkeys(_emptied(credentials)) | sealed
            await core.on_store(
                core.store.providers.update,
                name,
                config=merged,
                credentials=changes,
                now=time.time(),
            )
            await self._announce_routes_of(name)
        core.record(Kind.CONFIG, f"provider {name} updated")
        return await self.get_provider(name)

    async def delete_provider(self, name: str, *, force: bool) -> None:
        """Forget a provider; with `force` also the routes that use it.

        Raises:
            NotFound: no such provider.
            Conflict: inference still uses it.
        """
        core = self._core
        async with core.change():
            routes = await core.on_store(core.store.providers.remove, name, force=force)
            ops: list[Op] = []
            for route in routes:
                ops += core.roster.set_route(self.scope_of(route).key, None)
            await core.announce([*ops, revocation(provider=name)])
        core.record(Kind.CONFIG, f"provider {name} deleted")

    def restore(self) -> None:
        """Bring every stored route into the roster, at start, on the store's thread.

        Raises:
            HostFailed: a credential cannot be opened.
        """
        for route in self._core.store.inference.all():
            wire = self._resolve_now(route).to_wire(with_credential=True)
            self._core.roster.set_route(self.scope_of(route).key, wire)

    # -- resolving and probing -------------------------------------------------------------

    async def resolve(self, route: InferenceRoute) -> ResolvedRoute:
        """What a stored route comes to, with its credential.

        Raises:
            NotFound: no such provider.
            BadInput: the provider or the route cannot be meant.
        """
        return await self._core.on_store(self._resolve_now, route)

    def _resolve_now(self, route: InferenceRoute) -> ResolvedRoute:
        core = self._core
        row = core.store.providers.get(route.provider)
        credentials = {
            key: core.vault.unseal(sealed, "provider", row.name, key)
            for key, sealed in core.store.providers.credentials(row.name).items()
        }
        provider = profiles.Provider(row.name, row.type, credentials, dict(row.config))
        return resolve_route(
            provider,
            route.model,
            route_id=f"{route.label or route.scope or 'all'}-{route.version}-{row.updated:.6f}",
            timeout_s=route.timeout_s or core.settings.inference_timeout_s,
            total_timeout_s=route.total_timeout_s or 0,
            aliases=route.aliases,
        )

    async def probe(self, route: ResolvedRoute) -> list[JsonObject]:
        """Ask the upstream, the way a sandbox's request goes.

        Raises:
            NotVerified: what was found, in words.
            TryLater: it did not end.
        """
        core = self._core
        wire = route.to_wire(with_credential=True)
        deadline = PROBE_STEPS * route.timeout_s + PROBE_MARGIN_S
        scope = f"{PROBE_SCOPE}-{next(self._probes)}"
        await core.announce([{"op": "inference", "scope": scope, "route": wire}])
        try:
            proxy = core.supervisor.of_kind("proxy")[0].peer
            answer = await proxy.ask("probe", {"route": wire}, deadline_s=deadline)
        except PeerRefused as failure:
            raise NotVerified(failure.message, **failure.details) from failure
        except (PeerClosed, TimeoutError) as failure:
            raise TryLater("the probe did not end; try again, or use --no-verify") from failure
        finally:
            await core.announce([{"op": "inference", "scope": scope, "route": None}])
        validated: list[JsonObject] = answer.body["validated"]
        return validated

    async def _announce_routes_of(self, provider: str) -> None:
        core = self._core
        ops: list[Op] = []
        for route in await core.on_store(core.store.inference.all):
            if route.provider == provider:
                wire = (await self.resolve(route)).to_wire(with_credential=True)
                ops += core.roster.set_route(self.scope_of(route).key, wire)
        if ops:
            await core.announce(ops)

    # -- scopes ----------------------------------------------------------------------------

    def scope_of(self, route: InferenceRoute) -> Scope:
        """Whose route it is, by name."""
        return Scope(self._sandbox_name(route.scope), route.label)

    def _sandbox_name(self, number: int | None) -> str | None:
        if number is None:
            return None
        resident = self._core.residents.numbered(number)
        if resident is None:
            raise NetmgrError(f"a route of sandbox {number}, which does not exist")
        return resident.row.name


def revocation(*, provider: str | None = None, scope: str | None = None) -> Op:
    """The operation that ends calls under way: those to a provider, or else those of a scope."""
    return {"op": "inference.revoke", "provider": provider, "scope": scope}


def _emptied(credentials: Mapping[str, Secret]) -> set[str]:
    return {key for key, value in credentials.items() if not value.reveal()}
