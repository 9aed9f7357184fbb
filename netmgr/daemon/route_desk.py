"""Owns: which routes inference.local has: set, updated, shown, tested and deleted, scope by scope.

A change: validate -> probe the upstream through a proxy worker and the dialer, as a sandbox's
request would go -> store -> workers acknowledge -> reply. Calls under way finish on the route that
they began with, unless a deletion says `cut`.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from netmgr.daemon.core import Core
from netmgr.daemon.inference_desk import InferenceDesk, JsonObject, revocation
from netmgr.errors import BadInput, NotFound
from netmgr.inference.rules import CallRules
from netmgr.inference.scope import Scope, narrowest_first, parse_scope
from netmgr.reasons import Kind
from netmgr.store import InferenceRoute


class RouteDesk:
    """Answers /v1/inference."""

    def __init__(self, core: Core, providers: InferenceDesk) -> None:
        self._core = core
        self._providers = providers

    async def get(self, sandbox: str | None, label: str | None = None) -> list[JsonObject]:
        """Every route; the one that holds in a sandbox; or the one of a label.

        Raises:
            NotFound: no such sandbox.
        """
        core = self._core
        if sandbox is None and label is None:
            found = await core.on_store(core.store.inference.all)
            if (default := self._providers.defaults.route()) is not None:
                found = (default, *found)
            return [await self._route_object(route) for route in found]
        if label is not None:
            one = await self._find(parse_scope(sandbox, label))
        else:
            one = await self._holding(sandbox)
        return [await self._route_object(one)] if one else []

    async def set(
        self, fields: Mapping[str, Any], *, verify: bool, if_version: int | None = None
    ) -> JsonObject:
        """Set the route of a scope whole.

        Args:
            if_version: the version that the route must have when it is stored; 0: none is set.

        Raises:
            NotFound: no such provider or sandbox.
            BadInput: a model, alias, label, rule or time-out that cannot be meant.
            Conflict: the route has another version; nothing was saved.
            NotVerified: what the probe found, in words; nothing was saved.
        """
        core = self._core
        scope = parse_scope(fields["sandbox"], fields.get("label"))
        candidate = InferenceRoute(
            scope=self._sandbox_id(scope),
            label=scope.label,
            provider=fields["provider"],
            model=fields["model"],
            aliases=fields.get("aliases") or {},
            rules=self._judged(CallRules.from_doc(fields.get("rules") or {})).to_doc(),
            timeout_s=fields["timeout_s"] or None,
            total_timeout_s=fields["total_timeout_s"] or None,
            version=0,
            updated=time.time(),
        )
        resolved = await self._providers.resolve(candidate)
        # A slow upstream must not keep others from creating sandboxes: no lock while probing.
        validated = await self._providers.probe(resolved) if verify else []
        if verify:
            candidate = replace(candidate, verified=time.time())
        async with core.change():
            put = core.store.inference.put
            stored = await core.on_store(put, candidate, if_version=if_version)
            wire = (await self._providers.resolve(stored)).to_wire(with_credential=True)
            ops = core.roster.set_route(scope.key, wire)
            await self._providers.defaults.refresh(*ops)
        self._record(scope, f"{stored.provider}, model {stored.model}")
        return await self._route_object(stored) | {"validated": validated}

    async def update(
        self,
        scope: Scope,
        given: Mapping[str, Any],
        *,
        verify: bool,
        if_version: int | None = None,
    ) -> JsonObject:
        """Change only what is given. What another caller changes while the provider is being
        probed is never overwritten.

        Args:
            given: fields of `set`; `aliases` are added, one with an empty model is removed;
                of `rules` only those that are named change.

        Raises:
            BadInput: nothing is given.
            NotFound: the scope has no route yet.
            Conflict: the route has another version than `if_version`, or got one meanwhile.
        """
        if not given:
            raise BadInput("nothing to update: give --provider, --model, --timeout or more")
        now = await self._find(scope)
        if now is None:
            raise NotFound("inference is not configured here; use `netmgr inference set`")
        aliases = dict(now.aliases) | dict(given.get("aliases") or {})
        fields = {
            "sandbox": scope.sandbox,
            "label": scope.label,
            "provider": now.provider,
            "model": now.model,
            "timeout_s": now.timeout_s or 0,
            "total_timeout_s": now.total_timeout_s or 0,
            **given,
            "aliases": {name: model for name, model in aliases.items() if model},
            "rules": self._judged(
                CallRules.from_doc(now.rules).changed(given.get("rules") or {})
            ).to_doc(),
        }
        version = now.version if if_version is None else if_version
        return await self.set(fields, verify=verify, if_version=version)

    async def delete(self, scope: Scope, *, cut: bool) -> bool:
        """Forget a scope's route; whether there was one.

        Args:
            cut: end calls that are under way on it, too.
        """
        core = self._core
        async with core.change():
            number = self._sandbox_id(scope)
            had = await core.on_store(core.store.inference.remove, number, scope.label)
            # Of the default: what takes its place is announced in the same change.
            ops = core.roster.set_route(scope.key, None) if scope.key is not None else []
            ops += [revocation(scope=scope.key)] if cut else []
            await self._providers.defaults.refresh(*ops)
        if had:
            self._record(scope, "removed")
        return had

    async def test(
        self, sandbox: str | None, label: str | None = None, *, timeout_s: float = 0
    ) -> JsonObject:
        """Probe the route that holds in a scope; nothing changes but what is known of its health.

        Args:
            timeout_s: of this probe; 0 is the route's own.

        Raises:
            NotFound: no route.
            NotVerified: what the probe found, in words.
        """
        if label is not None:
            route = await self._find(parse_scope(sandbox, label))
        else:
            route = await self._holding(sandbox)
        if route is None:
            raise NotFound("inference is not configured; use `netmgr inference set`")
        probed = replace(route, timeout_s=timeout_s or route.timeout_s)
        validated = await self._providers.probe(await self._providers.resolve(probed))
        if route.version:  # the default route is nobody's row
            at = time.time()
            await self._core.on_store(self._core.store.inference.note_verified, route, at)
            route = replace(route, verified=at)
        return await self._route_object(route) | {"validated": validated}

    def standbys(self) -> list[JsonObject]:
        """Local stand-ins for the default, and whether they are healthy."""
        return self._providers.defaults.standbys()

    # -- which one holds -------------------------------------------------------------------

    async def _find(self, scope: Scope) -> InferenceRoute | None:
        core = self._core
        return await core.on_store(core.store.inference.find, self._sandbox_id(scope), scope.label)

    async def _holding(self, sandbox: str | None) -> InferenceRoute | None:
        """The route that holds in a sandbox; the default where none is named."""
        core = self._core
        found = await core.on_store(core.store.inference.all)
        routes = {self._providers.scope_of(route).key: route for route in found}
        if (default := self._providers.defaults.route()) is not None:
            routes[None] = default
        if sandbox is None:
            return routes.get(None)
        row = core.resident(sandbox).row
        keys = narrowest_first(row.name, row.labels)
        return next((routes[key] for key in keys if key in routes), None)

    def _judged(self, rules: CallRules) -> CallRules:
        """The rules, if this daemon can keep them.

        Raises:
            BadInput: the dialer gives up earlier than the route would, or a pattern that nobody
                would ever ask for by name.
        """
        most = self._core.settings.connect_timeout_s
        if rules.connect_timeout_s is not None and rules.connect_timeout_s > most:
            raise BadInput(
                f"connect_timeout_s: {rules.connect_timeout_s:g}: no connection is waited for "
                f"longer than the setting connect_timeout_s ({most:g} seconds)"
            )
        if (pattern := next((name for name in rules.models if "*" in name), None)) is not None:
            raise BadInput(
                f"models: {pattern!r}: expected a model's whole name; no '*' stands for others here"
            )
        return rules

    def _sandbox_id(self, scope: Scope) -> int | None:
        return None if scope.sandbox is None else self._core.resident(scope.sandbox).row.id

    # -- telling ---------------------------------------------------------------------------

    def _record(self, scope: Scope, what: str) -> None:
        core = self._core
        resident = core.resident(scope.sandbox) if scope.sandbox else None
        core.record(Kind.CONFIG, f"inference of {scope}: {what}", resident=resident)

    def _source(self, route: InferenceRoute) -> str:
        """Who chose it: the operator, or a provider's own DEFAULT_MODEL or STANDBY."""
        chosen = self._providers.defaults.chosen
        if route.version or chosen is None:
            return "operator"
        return "standby" if chosen.standby else "default"

    async def _route_object(self, route: InferenceRoute) -> JsonObject:
        core = self._core
        row = await core.on_store(core.store.providers.get, route.provider)
        resolved = await self._providers.resolve(route)
        key = self._providers.scope_of(route).key
        live = self._providers.endpoints.live
        # The file stands over every route: who sets one has to see that it waits.
        waits = {"waits_behind": f"routing revision {live.number}"} if live else {}
        return waits | {
            "scope": key or "all",
            "provider": route.provider,
            "type": row.type,
            "model": route.model,
            "aliases": dict(route.aliases),
            "base_url": str(resolved.base),
            "urls": await self._providers.urls(resolved),
            "protocols": [str(protocol) for protocol in resolved.dialect.protocols],
            "timeout_s": route.timeout_s or core.settings.inference_timeout_s,
            "total_timeout_s": route.total_timeout_s or 0,
            "rules": CallRules.from_doc(route.rules).to_shown(),
            "version": route.version,
            "source": self._source(route),
            "health": {"verified": route.verified is not None, "at": route.verified},
        }
