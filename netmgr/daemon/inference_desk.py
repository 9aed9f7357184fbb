"""Owns: what a route to a provider comes to, who is told of it, and asking it whether it works.

A credential goes from the vault to the proxy workers; it never comes back out of the API. Providers
are netmgr.daemon.provider_desk's business; which routes there are, netmgr.daemon.route_desk's.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, Final

from netmgr.daemon.affinity_desk import AffinityDesk
from netmgr.daemon.core import Core
from netmgr.daemon.default_route import DefaultRoute
from netmgr.daemon.endpoint_routes import EndpointRoutes
from netmgr.daemon.roster import Op
from netmgr.errors import BadInput, NetmgrError, NotVerified, TryLater
from netmgr.inference import profiles
from netmgr.inference.provider_type import ProviderType
from netmgr.inference.resolve import judge_model, resolve_route
from netmgr.inference.route import InferenceRoute as ResolvedRoute
from netmgr.inference.rules import CallRules
from netmgr.inference.scope import Scope
from netmgr.process.ipc import PeerClosed, PeerRefused
from netmgr.reasons import Kind
from netmgr.store import InferenceRoute

log = logging.getLogger(__name__)

JsonObject = dict[str, Any]

PROBE_SCOPE: Final = "?probe"  # no sandbox can be called so
PROBE_STEPS: Final = 6  # of one route: chat twice, messages, responses, completions, embeddings
URLS_S: Final = 2.0  # a worker computes them from what it is given
_MENDED_BY: Final = "`netmgr provider update` the provider, or `netmgr inference set` another one"
PROBE_MARGIN_S: Final = 5.0  # for connecting and for the worker itself


class InferenceDesk:
    """Resolves routes, tells the workers, probes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._probes = count(1)
        self._unusable: list[str] = []
        self.defaults = DefaultRoute(core, self._resolve_now)
        self.endpoints = EndpointRoutes(core, self._resolve_now)
        self.affinity = AffinityDesk(core, self.endpoints)

    def restore(self) -> None:
        """Bring every stored route into the roster, at start, on the store's thread. What this
        version, or a type's file, takes no more shuts its own scope and not the host: the command
        that mends it needs a daemon.

        Raises:
            HostFailed: a credential cannot be opened.
        """
        for route in self._core.store.inference.all():
            scope = self.scope_of(route).key
            try:
                wire = self._resolve_now(route).to_wire(with_credential=True)
            except BadInput as fault:
                what = f"inference of {scope or 'all'}: provider {route.provider} cannot be used"
                self._unusable.append(f"{what}: {fault.message}")
                self._core.roster.shut_route(scope)
                continue
            self._core.roster.set_route(scope, wire)
        self.defaults.restore()
        self.endpoints.restore()
        self.affinity.restore()

    def tell_unusable(self) -> None:
        """What could not be restored becomes a finding; once, in the daemon's loop."""
        for told in self._unusable:
            log.error("%s", told)
            self._core.record(Kind.FINDING, told, remedy=_MENDED_BY)
        self._unusable.clear()

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
        kind = core.types.get(row.type)
        provider = profiles.Provider(row.name, row.type, credentials, dict(row.config), kind)
        resolved = resolve_route(
            provider,
            route.model,
            route_id=f"{route.label or route.scope or 'all'}-{route.version}-{row.updated:.6f}",
            timeout_s=route.timeout_s or core.settings.inference_timeout_s,
            total_timeout_s=route.total_timeout_s or 0,
            aliases=route.aliases,
        )
        resolved = resolved.with_rules(CallRules.from_doc(route.rules))
        return replace(resolved, expires_at=min(row.expires.values(), default=None))

    async def probe(self, route: ResolvedRoute) -> list[JsonObject]:
        """Ask the upstream, the way a sandbox's request goes.

        Raises:
            NotVerified: what was found, in words.
            TryLater: it did not end.
        """
        if route.made_up:
            return [{"url": str(route.base), "protocol": route.dialect.protocols[0].value}]
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

    async def urls(self, route: ResolvedRoute) -> list[JsonObject]:
        """Where each request goes, as a proxy worker would send it; nothing where none is up."""
        if route.made_up or not (workers := self._core.supervisor.of_kind("proxy")):
            return []
        question = {"route": route.to_wire(with_credential=False)}
        try:
            answer = await workers[0].peer.ask("urls", question, deadline_s=URLS_S)
        except (PeerClosed, PeerRefused, TimeoutError):
            return []  # what is shown besides holds all the same
        found: list[JsonObject] = answer.body["urls"]
        return found

    # -- for providers ---------------------------------------------------------------------

    async def judge_routes_of(
        self, provider: str, kind: ProviderType, config: Mapping[str, str]
    ) -> None:
        """Whether every route to a provider would still be one with that type and config.

        Raises:
            BadInput: one would not; it names the model.
        """
        core = self._core
        for route in await core.on_store(core.store.inference.all):
            if route.provider == provider:
                judge_model(kind, config, route.model, route.aliases)

    async def announce_routes_of(self, provider: str, *, cut: bool = False) -> None:
        """Put a provider's new credentials and settings in force wherever it is used.

        Args:
            cut: calls that are under way with the old ones end.
        """
        core = self._core
        ops: list[Op] = []
        for route in await core.on_store(core.store.inference.all):
            if route.provider == provider:
                wire = (await self.resolve(route)).to_wire(with_credential=True)
                ops += core.roster.set_route(self.scope_of(route).key, wire)
        ops += await self.endpoints.refresh(provider)
        if cut:
            ops.append(revocation(provider=provider))
        await self.defaults.refresh(*ops)

    async def drop_routes(self, provider: str, routes: Iterable[InferenceRoute]) -> None:
        """Routes that went with their provider: no worker keeps them, and their calls end."""
        core = self._core
        ops: list[Op] = []
        for route in routes:
            ops += core.roster.set_route(self.scope_of(route).key, None)
        ops += await self.endpoints.refresh(provider)
        await self.defaults.refresh(*ops, revocation(provider=provider))

    async def scopes_of(self, provider: str) -> list[str]:
        """Where a provider is used: names of sandboxes, labels, `all`, endpoints."""
        core = self._core
        routes = await core.on_store(core.store.inference.all)
        if (default := self.defaults.route()) is not None:
            routes = (default, *routes)
        scopes = [self.scope_of(r).key or "all" for r in routes if r.provider == provider]
        return scopes + self.endpoints.uses_of(provider)

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
