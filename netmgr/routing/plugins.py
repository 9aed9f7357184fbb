"""Owns: which router a file gets: a shipped one, or a plug-in that the daemon's settings name.

Knows nothing of where plug-ins come from; whoever loads them hands them over as `Plugins`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from netmgr.policy.problems import PolicyError, Problem
from netmgr.routing.contract import (
    Diagnostic,
    EndpointView,
    Ordering,
    Ratings,
    RoutingSnapshot,
)
from netmgr.routing.guarded import Guard, GuardedRouter, GuardedScorer
from netmgr.routing.language import RoutingFile
from netmgr.routing.order import BUILT_IN_SCORERS, Delegated, Router, Weighted
from netmgr.routing.schema import ROUTERS

MAX_WEIGHTS: Final = 32
MAX_WEIGHT: Final = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Plugins:
    """What a process may use. Every call of one has its own deadline."""

    routers: Mapping[str, Ordering] = field(default_factory=lambda: MappingProxyType({}))
    scorers: Mapping[str, Ratings] = field(default_factory=lambda: MappingProxyType({}))


NO_PLUGINS: Final = Plugins()


def make_router(file: RoutingFile, number: int, plugins: Plugins) -> Router | None:
    """The file's router; None where the `prefer` lists alone decide. A plug-in is not asked what it
    thinks of the config: whoever sets a file has done that, and here it may not run yet.

    Raises:
        PolicyError: there is no such router here.
    """
    problems = _judge_name(file, plugins)
    if problems:
        raise PolicyError([Problem(0, d.key, d.message) for d in problems], "<routing>")
    if file.router == "weighted":
        weights, _ = _weights(file.router_config)
        scorers = {
            name: GuardedScorer(plugins.scorers[name])
            for name in weights
            if name not in BUILT_IN_SCORERS
        }
        return Weighted(weights, scorers)
    if file.router in ROUTERS:
        return None
    router = plugins.routers[file.router]
    snapshot = RoutingSnapshot(number, _views(file), MappingProxyType(dict(file.router_config)))
    _, fault = Guard(file.router).ask(lambda: router.prepare(snapshot))
    if fault:
        raise PolicyError([Problem(0, "router", f"prepare: {fault}")], "<routing>")
    return Delegated(GuardedRouter(router))


def judge_router(file: RoutingFile, plugins: Plugins) -> list[Diagnostic]:
    """What is wrong with the file's `router`, seen from a process with these plug-ins."""
    found = _judge_name(file, plugins)
    if found or file.router in ROUTERS:
        return found
    router = plugins.routers[file.router]
    config = MappingProxyType(dict(file.router_config))
    answer, fault = Guard(file.router).ask(lambda: list(router.validate(config, _views(file))))
    if fault:
        return [Diagnostic("error", "router", f"validate: {fault}")]
    if not all(isinstance(each, Diagnostic) for each in answer):
        return [Diagnostic("error", "router", "validate answered what is no Diagnostic")]
    return [each for each in answer if each.severity == "error"]


def _judge_name(file: RoutingFile, plugins: Plugins) -> list[Diagnostic]:
    """Whether there is such a router, and what a shipped one says of its config."""
    match file.router:
        case "single":
            return _judge_single(file)
        case "ordered":
            return _no_config(file)
        case "weighted":
            return _judge_weighted(file, plugins)
    if file.router in plugins.routers:
        return []
    return [Diagnostic("error", "router", _not_enabled("router", file.router, plugins.routers))]


def _judge_single(file: RoutingFile) -> list[Diagnostic]:
    found = _no_config(file)
    found += [
        Diagnostic("error", f"routes.{name}", "router 'single' takes one endpoint in a route")
        for name, ids in file.routes.items()
        if len(ids) != 1
    ]
    return found


def _no_config(file: RoutingFile) -> list[Diagnostic]:
    if not file.router_config:
        return []
    return [Diagnostic("error", "router.config", f"router {file.router!r} takes no config")]


def _judge_weighted(file: RoutingFile, plugins: Plugins) -> list[Diagnostic]:
    weights, problem = _weights(file.router_config)
    if problem:
        return [Diagnostic("error", "router.config", problem)]
    return [
        Diagnostic("error", "router.config.weights", _not_enabled("scorer", name, plugins.scorers))
        for name in weights
        if name not in BUILT_IN_SCORERS and name not in plugins.scorers
    ]


def _weights(config: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    """(scorer -> weight, '') or ({}, what is wrong)."""
    given = config.get("weights")
    if set(config) != {"weights"} or not isinstance(given, dict) or not given:
        return {}, "expected {weights: {price: 2, latency: 1}}"
    if len(given) > MAX_WEIGHTS:
        return {}, f"more than {MAX_WEIGHTS} weights"
    found: dict[str, float] = {}
    for name, value in given.items():
        try:
            weight = -1.0 if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            weight = -1.0
        if not 0 < weight <= MAX_WEIGHT:
            return {}, f"weights.{name}: expected a number above 0, got {value!r:.40}"
        found[name] = weight
    return found, ""


def _not_enabled(what: str, name: str, known: Mapping[str, object]) -> str:
    shipped = ROUTERS if what == "router" else BUILT_IN_SCORERS
    there = ", ".join((*shipped, *sorted(known)))
    return (
        f"no {what} {name!r} is enabled; there are {there}. A plug-in is enabled by the daemon's "
        f"setting {'model_routers' if what == 'router' else 'route_scorers'}"
    )


def _views(file: RoutingFile) -> tuple[EndpointView, ...]:
    return tuple(EndpointView(each.id, each.model, each.facts) for each in file.endpoints)
