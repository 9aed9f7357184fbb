"""Owns: which inference route is in force for which sandbox, and the TLS context of each.

A route is replaced whole; a request keeps the one that it began with. Knows nothing of requests.
"""

import ssl
from dataclasses import dataclass
from itertools import count
from typing import Any

from netmgr.inference.route import InferenceRoute
from netmgr_proxy.upstream_tls import make_client_context


@dataclass(frozen=True, slots=True)
class LiveRoute:
    """A route as it was put in force.

    Attributes:
        serial: differs after every change, so that no pooled connection outlives its credential.
        context: for TLS to the provider; None means the worker's own roots.
    """

    route: InferenceRoute
    serial: int
    context: ssl.SSLContext | None


class Routes:
    """Routes by scope: a sandbox's name, or None for the default of all."""

    def __init__(self) -> None:
        self._by_scope: dict[str | None, LiveRoute] = {}
        self._serials = count(1)

    def apply(self, op: dict[str, Any]) -> None:
        """Apply an `inference` operation: {scope, route: {...} or None}."""
        scope: str | None = op["scope"]
        if op["route"] is None:
            self._by_scope.pop(scope, None)
            return
        self._by_scope[scope] = self.make(op["route"])

    def make(self, wire: dict[str, Any]) -> LiveRoute:
        """A route that is not in force (a candidate that is verified)."""
        route = InferenceRoute.from_wire(wire)
        context = make_client_context(route.ca_pem) if route.ca_pem else None
        return LiveRoute(route, next(self._serials), context)

    def get(self, sandbox: str) -> LiveRoute | None:
        """The route in force for that sandbox."""
        return self._by_scope.get(sandbox) or self._by_scope.get(None)

    def by_id(self, route_id: str) -> LiveRoute | None:
        """The route in force with that id."""
        return next((r for r in self._by_scope.values() if r.route.id == route_id), None)
