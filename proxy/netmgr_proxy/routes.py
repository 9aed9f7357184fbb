"""Owns: which inference route is in force for which sandbox, and the TLS context of each.

A route is replaced whole; a request keeps the one that it began with. Knows nothing of requests.
"""

import ssl
from dataclasses import dataclass
from itertools import count
from typing import Any

from netmgr.inference.dialect import AuthStyle
from netmgr.inference.route import InferenceRoute
from netmgr.inference.scope import narrowest_first
from netmgr.process.view import SandboxView
from netmgr_proxy.inference.sigv4 import Signer
from netmgr_proxy.upstream_tls import make_client_context


@dataclass(frozen=True, slots=True)
class LiveRoute:
    """A route as it was put in force.

    Attributes:
        serial: differs after every change, so that no pooled connection outlives its credential.
        context: for TLS to the provider; None means the worker's own roots.
        signer: for a provider that wants each request signed.
        scope: whose route it is; see netmgr.inference.scope.
    """

    route: InferenceRoute
    serial: int
    context: ssl.SSLContext | None
    scope: str | None = None
    signer: Signer | None = None


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


class Routes:
    """Routes by scope, see netmgr.inference.scope."""

    def __init__(self) -> None:
        self._by_scope: dict[str | None, LiveRoute] = {}
        self._serials = count(1)
        self._labelled = 0  # routes of labels: without one, no sandbox's labels are looked at
        self.revoked: Revoked | None = None  # while live calls are judged by it

    def apply(self, op: dict[str, Any]) -> None:
        """Apply an `inference` operation: {scope, route: {...} or None}."""
        scope: str | None = op["scope"]
        if op["route"] is None:
            self._by_scope.pop(scope, None)
        else:
            self._by_scope[scope] = self.make(op["route"], scope)
        self._labelled = sum(1 for key in self._by_scope if key is not None and "=" in key)

    def make(self, wire: dict[str, Any], scope: str | None = None) -> LiveRoute:
        """A route that is not in force (a candidate that is verified)."""
        route = InferenceRoute.from_wire(wire)
        context = make_client_context(route.ca_pem) if route.ca_pem else None
        return LiveRoute(route, next(self._serials), context, scope, _signer(route))

    def get(self, sandbox: SandboxView) -> LiveRoute | None:
        """The route in force for that sandbox."""
        own = self._by_scope.get(sandbox.name)
        if own is not None or not self._labelled:
            return own or self._by_scope.get(None)
        for scope in narrowest_first(sandbox.name, sandbox.labels):
            if (found := self._by_scope.get(scope)) is not None:
                return found
        return None

    def by_id(self, route_id: str) -> LiveRoute | None:
        """The route in force with that id."""
        return next((r for r in self._by_scope.values() if r.route.id == route_id), None)


def _signer(route: InferenceRoute) -> Signer | None:
    auth = route.dialect.auth
    if auth.style is not AuthStyle.SIGV4:
        return None
    key_id, secret_key = (route.credentials[name].reveal() for name in auth.credentials)
    tokens = [route.credentials[name] for name in auth.optional if name in route.credentials]
    token = tokens[0].reveal() if tokens else None
    return Signer(key_id, secret_key, token, auth.region, auth.service)
