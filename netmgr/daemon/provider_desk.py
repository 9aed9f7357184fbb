"""Owns: providers and their credentials, from the caller into the vault, and their end.

A value goes in and never comes back out of the API: what is shown are names and times. What a
change means for routes is the inference desk's business; how a credential renews itself stands in
netmgr.daemon.refresher.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from netmgr.daemon.core import Core
from netmgr.daemon.inference_desk import InferenceDesk
from netmgr.errors import BadInput, Conflict, did_you_mean
from netmgr.inference import profiles
from netmgr.inference.catalogue import Catalogue
from netmgr.inference.expiry import MAX_MOMENT, moment, notices
from netmgr.inference.options import CLIENT_KEY
from netmgr.inference.provider_type import ProviderType
from netmgr.keys.client_pair import judge_client_pair
from netmgr.keys.vault import Sealed
from netmgr.reasons import Kind
from netmgr.secret import Secret
from netmgr.store import Provider

JsonObject = dict[str, Any]

MAX_PROVIDERS: Final = 1000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


@dataclass(frozen=True, slots=True)
class Given:
    """What a caller gave of a provider.

    Attributes:
        credentials: by name; an empty value removes it.
        config: an empty value removes the key.
        expires: when credentials end, epoch seconds; 0 is never.
    """

    credentials: Mapping[str, Secret] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    expires: Mapping[str, float] = field(default_factory=dict)

    @property
    def removed(self) -> set[str]:
        """Credentials that are to go."""
        return {key for key, value in self.credentials.items() if not value.reveal()}

    def ends(self) -> dict[str, float | None]:
        """When which credential ends; None is never."""
        return {key: at or None for key, at in self.expires.items()}


class ProviderDesk:
    """Answers /v1/providers and /v1/provider-types."""

    def __init__(self, core: Core, inference: InferenceDesk) -> None:
        self._core = core
        self._inference = inference

    def types(self) -> list[JsonObject]:
        """What `provider create --type` takes."""
        return [describe_type(kind) for kind in self._core.types.all()]

    async def use_types(self, types: Catalogue) -> None:
        """Take other provider types into use; routes that they change, change at once.

        Raises:
            BadInput: some provider that exists would not be valid any more; nothing is changed.
        """
        core = self._core
        async with core.change():
            rows = await core.on_store(core.store.providers.all)
            for row in rows:
                try:
                    profiles.validate_provider(row.type, row.credentials, row.config, types)
                    await self._inference.judge_routes_of(row.name, types.get(row.type), row.config)
                except BadInput as problem:
                    raise BadInput(f"provider {row.name}: {problem.message}") from problem
            before = {kind.name: kind for kind in core.types.all()}  # one may come back
            core.types = types
            for row in rows:
                if before.get(row.type) != types.get(row.type):
                    await self._inference.announce_routes_of(row.name)

    async def judge_new(
        self, name: str, kind: str, credentials: Iterable[str], config: Mapping[str, str]
    ) -> ProviderType:
        """Whether such a provider may be created, before anything is asked of anybody.

        Args:
            credentials: names of those that it will have.

        Raises:
            BadInput: a name, type, credential or config key that cannot be meant.
            Conflict: the name is taken.
        """
        core = self._core
        if not _NAME.fullmatch(name):
            raise BadInput(f"provider name {name!r}: expected letters, digits, '.', '_' and '-'")
        profile = profiles.validate_provider(kind, set(credentials), config, core.types)
        if await core.on_store(core.store.providers.find, name) is not None:
            raise Conflict(f"provider {name!r} exists")
        return profile

    async def create(
        self, name: str, kind: str, given: Given, also: Callable[[], None] | None = None
    ) -> JsonObject:
        """Store a provider.

        Args:
            also: stores what belongs to it, in the same transaction.

        Raises:
            BadInput: a name, type, credential, time or config key that cannot be meant.
            Conflict: the name is taken.
        """
        profile = await self.judge_new(name, kind, given.credentials, given.config)
        for key, value in given.credentials.items():
            profiles.validate_credential(key, value)
        _judge_ends(given.expires, given.credentials)
        self._judge_pair(name, given, given.config)
        core, now = self._core, time.time()
        ends = {key: at for key, at in given.expires.items() if at}
        row = Provider(
            name=name,
            type=profile.name,
            config=dict(given.config),
            created=now,
            updated=now,
            expires=ends,
        )
        sealed = {k: core.vault.seal(v, "provider", name, k) for k, v in given.credentials.items()}
        async with core.change():
            if len(await core.on_store(core.store.providers.all)) >= MAX_PROVIDERS:
                raise BadInput(f"{MAX_PROVIDERS} providers exist; delete one first")
            await core.on_store(self._add, row, sealed, also)
            # Endpoints of the routing file may have waited for one of that name.
            await self._inference.announce_routes_of(name)
        core.record(Kind.CONFIG, f"provider {name} created")
        return await self.get(name)

    def _add(
        self, row: Provider, sealed: Mapping[str, Sealed], also: Callable[[], None] | None
    ) -> None:
        with self._core.store.transaction():
            self._core.store.providers.add(row, sealed)
            if also is not None:
                also()

    async def list(self) -> list[JsonObject]:
        """Every provider; the names of credentials, never values."""
        core = self._core
        found = await core.on_store(core.store.providers.all)
        return [await self.get(provider.name) for provider in found]

    async def get(self, name: str) -> JsonObject:
        """One provider.

        Raises:
            NotFound: names the nearest one.
        """
        core = self._core
        row = await core.on_store(core.store.providers.get, name)
        warn_s = core.settings.credential_warning_s
        warnings = [n.message for n in notices(name, row.expires, time.time(), warn_s)]
        if (refused := core.refused_keys.warning(name)) is not None:
            warnings.append(refused)
        return {
            "name": row.name,
            "type": row.type,
            "credentials": list(row.credentials),
            "expires": {key: moment(at) for key, at in row.expires.items()},
            "warnings": warnings,
            "config": dict(row.config),
            "created": row.created,
            "updated": row.updated,
            "used_by": await self._inference.scopes_of(name),
        }

    async def update(self, name: str, given: Given, *, force: bool) -> JsonObject:
        """Change single credentials, their ends and config values. Routes that use the provider
        change at once; with `force`, calls that are under way with the old ones end.

        Raises:
            NotFound, BadInput: the provider would not be valid after it.
        """
        core = self._core
        async with core.change():
            row = await core.on_store(core.store.providers.get, name)
            kept = (set(row.credentials) | set(given.credentials)) - given.removed
            merged = {k: v for k, v in (dict(row.config) | dict(given.config)).items() if v}
            kind = profiles.validate_provider(row.type, kept, merged, core.types)
            await self._inference.judge_routes_of(name, kind, merged)
            await core.on_store(self._judge_pair, name, given, merged)
            _judge_ends(given.expires, kept)
            sealed = {}
            for key, value in given.credentials.items():
                if value.reveal():
                    profiles.validate_credential(key, value)
                    sealed[key] = core.vault.seal(value, "provider", name, key)
            await core.on_store(
                core.store.providers.update,
                name,
                time.time(),
                config=merged,
                credentials=dict.fromkeys(given.removed) | sealed,
                expires=given.ends(),
                unverify=bool(sealed) or merged != dict(row.config),
            )
            await self._inference.announce_routes_of(name, cut=force)
        core.refused_keys.forget(name)
        core.record(Kind.CONFIG, f"provider {name} updated")
        return await self.get(name)

    def _judge_pair(self, name: str, given: Given, config: Mapping[str, str]) -> None:
        """Whether a client certificate fits its key, which may be an older one.

        Raises:
            BadInput: it does not.
        """
        certificate = config.get("CLIENT_CERT_PEM")
        if certificate is None:
            return
        key = given.credentials.get(CLIENT_KEY)
        if key is None:
            sealed = self._core.store.providers.credentials(name)[CLIENT_KEY]
            key = self._core.vault.unseal(sealed, "provider", name, CLIENT_KEY)
        judge_client_pair(certificate, key)

    async def delete(self, name: str, *, force: bool) -> None:
        """Forget a provider; with `force` also the routes that use it, and calls under way end.

        Raises:
            NotFound: no such provider.
            Conflict: inference still uses it.
        """
        core = self._core
        async with core.change():
            if (uses := self._inference.endpoints.uses_of(name)) and not force:
                why = f"provider {name!r} answers {', '.join(uses)} of the routing file"
                raise Conflict(f"{why}; change that first, or force", scopes=uses)
            chosen = self._inference.defaults.chosen
            if chosen is not None and chosen.provider == name and not force:
                raise Conflict(
                    f"provider {name!r} is the default, and answers where no route is set; "
                    "set one first (netmgr inference set), or force"
                )
            routes = await core.on_store(core.store.providers.remove, name, force=force)
            await self._inference.drop_routes(name, routes)
        core.refused_keys.forget(name)
        core.record(Kind.CONFIG, f"provider {name} deleted")


def describe_type(kind: ProviderType) -> JsonObject:
    """A provider type, for `provider types`."""
    return {
        "type": kind.name,
        "aliases": list(kind.aliases),
        "title": kind.title,
        "source": kind.source,
        "base_url": kind.base_url or "",
        "protocols": [str(protocol) for protocol in kind.protocols],
        "credentials": [" and ".join(method.credentials) or "none" for method in kind.auth],
        "config": list(profiles.config_keys(kind)),
        "from_existing": list(kind.discovery),
        "from_adc": kind.adc,
    }


def _judge_ends(expires: Mapping[str, float], credentials: Any) -> None:
    """Times belong to credentials that are there.

    Raises:
        BadInput: one does not, or is no time.
    """
    for key, at in expires.items():
        if key not in credentials:
            raise BadInput(
                f"--credential-expires-at {key}: the provider has no such credential"
                + did_you_mean(key, credentials)
            )
        if not 0 <= at <= MAX_MOMENT:
            raise BadInput(f"--credential-expires-at {key}: expected a time between 1970 and 9999")
