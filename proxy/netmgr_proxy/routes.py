"""Owns: which inference route is in force for which sandbox, and the TLS context of each.

A route is replaced whole; a request keeps the one that it began with. Knows nothing of requests.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, NamedTuple

from netmgr.inference.dialect import AuthStyle
from netmgr.inference.options import CLIENT_KEY, PROXY_CREDENTIAL
from netmgr.inference.route import InferenceRoute
from netmgr.inference.scope import endpoint_scope, narrowest_first
from netmgr.inference.sigv4 import Signer
from netmgr.keys.client_pair import client_pair
from netmgr.process.view import SandboxView
from netmgr.routing.generation import Generation
from netmgr.routing.language import Failure
from netmgr.routing.single import generation_of
from netmgr_proxy.inference.echo import spellings
from netmgr_proxy.tunnel import render_connect
from netmgr_proxy.upstream_tls import make_client_context


@dataclass(frozen=True, slots=True)
class LiveRoute:
    """A route as it was put in force.

    Attributes:
        serial: differs after every change, so that no pooled connection outlives its credential.
        context: for TLS to the provider; None means the worker's own roots.
        connect: what to ask of the upstream proxy; b'' where there is none.
        signer: for a provider that wants each request signed.
        scope: whose route it is; see netmgr.inference.scope.
        keys: what no answer may repeat; see netmgr_proxy.inference.echo.
    """

    route: InferenceRoute
    serial: int
    context: ssl.SSLContext | None
    scope: str | None = None
    signer: Signer | None = None
    connect: bytes = field(default=b"", repr=False)
    keys: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Revoked:
    """What may not be used any more, not even by calls that are under way: every route to a
    provider (`provider`), or every one that a scope had (`scope`, where `provider` is None)."""

    provider: str | None
    scope: str | None

    def covers(self, live: LiveRoute) -> bool:
        """Whether a call by that route has to end."""
        if self.provider is not None:
            return live.route.provider == self.provider
        return live.scope == self.scope


class _Bounded(NamedTuple):
    """An endpoint's route, and the same under the deadlines of a file."""

    origin: LiveRoute
    failure: Failure
    live: LiveRoute


class Routes:
    """Routes by scope, see netmgr.inference.scope."""

    def __init__(self) -> None:
        self._by_scope: dict[str | None, LiveRoute] = {}
        self._shut: set[str | None] = set()
        self._bounded: dict[str, _Bounded] = {}
        self._singles: dict[int, Generation] = {}
        self._serials = count(1)
        self._roots = ""
        self._load: Callable[[ssl.SSLContext, str], None] | None = None
        self._labelled = 0  # routes of labels: without one, no sandbox's labels are looked at
        self.revoked: Revoked | None = None  # while live calls are judged by it

    def trust(self, roots: str, load: Callable[[ssl.SSLContext, str], None]) -> None:
        """Take what contexts are made of.

        Args:
            roots: PEM text of the authorities that every other origin is verified against.
            load: puts a key and its chain into a context.
        """
        self._roots = roots
        self._load = load

    def apply(self, op: dict[str, Any]) -> None:
        """Apply an `inference` operation: {scope, route: {...} or None}; with `shut`, the scope's
        own route cannot be used, and no wider one holds in its place."""
        scope: str | None = op["scope"]
        self._shut.discard(scope)
        if op.get("shut"):
            self._shut.add(scope)
        if op["route"] is None:
            self._by_scope.pop(scope, None)
        else:
            self._by_scope[scope] = self.make(op["route"], scope)
        self._singles.clear()
        self._labelled = sum(1 for key in self._by_scope if key is not None and "=" in key)

    def make(self, wire: dict[str, Any], scope: str | None = None) -> LiveRoute:
        """A route that is not in force (a candidate that is verified)."""
        route = InferenceRoute.from_wire(wire)
        return LiveRoute(
            route,
            next(self._serials),
            self._context(route),
            scope,
            signer=_signer(route),
            connect=_connect(route),
            keys=spellings(route),
        )

    def _context(self, route: InferenceRoute) -> ssl.SSLContext | None:
        if route.ca_pem is None and route.client_cert_pem is None:
            return None
        context = make_client_context(route.ca_pem or self._roots)
        if route.client_cert_pem is not None:
            assert self._load is not None  # `trust` comes before any route
            self._load(context, client_pair(route.client_cert_pem, _key(route, CLIENT_KEY)))
        return context

    def get(self, sandbox: SandboxView) -> LiveRoute | None:
        """The route in force for that sandbox."""
        return self.holding(sandbox.name, sandbox.labels)

    def holding(self, name: str, labels: Mapping[str, str]) -> LiveRoute | None:
        """The route in force for a sandbox of that name with those labels; for '' without any, the
        default."""
        own = self._by_scope.get(name)
        if own is not None or not (self._labelled or self._shut):
            return own or self._by_scope.get(None)
        for scope in narrowest_first(name, labels):
            if (found := self._by_scope.get(scope)) is not None or scope in self._shut:
                return found
        return None

    def endpoint(self, endpoint: str) -> LiveRoute | None:
        """The route to an endpoint of the routing file."""
        return self._by_scope.get(endpoint_scope(endpoint))

    def bounded(self, endpoint: str, failure: Failure) -> LiveRoute | None:
        """The same under a file's deadlines; one value as long as both are in force, so that
        connections and admissions are found again by it."""
        live = self.endpoint(endpoint)
        if live is None:
            self._bounded.pop(endpoint, None)
            return None
        kept = self._bounded.get(endpoint)
        if kept is None or kept.origin is not live or kept.failure is not failure:
            kept = self._bounded[endpoint] = _Bounded(live, failure, _bound(live, failure))
        return kept.live

    def single(self, live: LiveRoute) -> Generation:
        """The generation that `inference set` wrote with that route."""
        kept = self._singles.get(live.serial)
        if kept is None:
            kept = self._singles[live.serial] = generation_of(live.route)
        return kept

    def by_id(self, route_id: str) -> LiveRoute | None:
        """The route in force with that id."""
        return next((r for r in self._by_scope.values() if r.route.id == route_id), None)


def _bound(live: LiveRoute, failure: Failure) -> LiveRoute:
    route = replace(
        live.route,
        timeout_s=failure.deadline_s,
        first_byte_timeout_s=min(failure.first_byte_s, failure.deadline_s),
        idle_timeout_s=failure.idle_s,
    )
    return replace(live, route=route)


def _signer(route: InferenceRoute) -> Signer | None:
    auth = route.dialect.auth
    if auth.style is not AuthStyle.SIGV4:
        return None
    key_id, secret_key = (_key(route, name) for name in auth.credentials)
    tokens = [_key(route, name) for name in auth.optional if name in route.credentials]
    token = tokens[0] if tokens else None
    return Signer(key_id, secret_key, token, auth.region, auth.service)


def _connect(route: InferenceRoute) -> bytes:
    if route.proxy is None:
        return b""
    known = PROXY_CREDENTIAL in route.credentials
    base = route.base
    host = f"[{base.host}]" if ":" in base.host else base.host
    credential = _key(route, PROXY_CREDENTIAL) if known else None
    return render_connect(f"{host}:{base.port}", credential)


def _key(route: InferenceRoute, name: str) -> str:
    return route.credentials[name].reveal()
