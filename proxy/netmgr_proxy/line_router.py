"""Owns: routers and scorers that run in processes of their own, asked in JSON lines.

    > {"id": 1, "do": "validate", "config": {...}, "endpoints": [...]}
    < {"id": 1, "problems": []}
    > {"id": 2, "do": "prepare", "generation": 7, "config": {...}, "endpoints": [...]}
    > {"id": 3, "do": "order", "context": {...}, "permitted": [...]}
    < {"id": 3, "order": [...]}
    > {"id": 4, "do": "score", "context": {...}, "permitted": [...]}
    < {"id": 4, "scores": [0.5, 1]}
    > {"id": 5, "do": "observe", "outcome": {...}}
    < {"id": N, "fault": "ValueError: ..."}            instead of any answer

What runs there is an operator's program, or netmgr_proxy.plugin_host with an installed plug-in: a
user of its own in a network namespace with nothing in it. It gets facts and labels, never a prompt,
a URL or a credential. Answers are checked as any plug-in's are (netmgr.routing.guarded).
"""

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Final

from netmgr.routing.contract import (
    API_VERSION,
    AttemptOutcome,
    Diagnostic,
    EndpointId,
    EndpointView,
    RouteContext,
    RoutingSnapshot,
)
from netmgr_proxy.line_channel import LineChannel

ANSWER_S: Final = 0.002  # what ModelRouter promises; nobody else is served meanwhile
VALIDATE_S: Final = 0.5  # once per file
MAX_PROBLEMS: Final = 20


class _Views:
    """Endpoints as JSON, kept as long as nothing about them changes."""

    def __init__(self) -> None:
        self._texts: dict[EndpointId, tuple[EndpointView, str]] = {}

    def text(self, views: Sequence[EndpointView]) -> str:
        """A JSON list."""
        return f"[{','.join([self._one(view) for view in views])}]"

    def forget(self) -> None:
        """Another file: its endpoints may be others."""
        self._texts.clear()

    def _one(self, view: EndpointView) -> str:
        kept = self._texts.get(view.id)
        if kept is None or kept[0] is not view:
            text = json.dumps(_endpoint(view), separators=(",", ":"))
            kept = self._texts[view.id] = (view, text)
        return kept[1]


class LinePlugIn:
    """What routers and scorers have in common.

    Args:
        name: as the daemon's settings call it.
    """

    API_VERSION: ClassVar[int] = API_VERSION

    def __init__(self, name: str) -> None:
        self.NAME = name
        self._channel = LineChannel()
        self._views = _Views()

    def connect(self, sock: socket.socket) -> None:
        """Take a channel to a process that has just been started; one that was there is closed."""
        self._channel.use(sock)

    def _ask_of(
        self, what: str, ctx: RouteContext, permitted: Sequence[EndpointView]
    ) -> dict[str, Any]:
        context = json.dumps(_context(ctx), separators=(",", ":"))
        rest = f'"context":{context},"permitted":{self._views.text(permitted)}}}'
        return self._channel.answer(self._channel.tell_text(what, rest), ANSWER_S)


class LineRouter(LinePlugIn):
    """An Ordering; see there."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._snapshot: RoutingSnapshot | None = None

    def connect(self, sock: socket.socket) -> None:
        super().connect(sock)
        if self._snapshot is not None:
            self.prepare(self._snapshot)

    def validate(
        self, config: Mapping[str, Any], endpoints: Sequence[EndpointView]
    ) -> list[Diagnostic]:
        """See Ordering."""
        asked = {"config": dict(config), "endpoints": [_endpoint(each) for each in endpoints]}
        number = self._channel.tell("validate", asked)
        problems = self._channel.answer(number, VALIDATE_S).get("problems")
        if not isinstance(problems, list):
            raise ValueError("answered 'validate' without 'problems'")
        return [Diagnostic("error", "router", str(p)[:200]) for p in problems[:MAX_PROBLEMS]]

    def prepare(self, snapshot: RoutingSnapshot) -> None:
        """See Ordering. Where the program does not run yet, it is told when it does."""
        self._snapshot = snapshot
        self._views.forget()
        if not self._channel.open:
            return
        endpoints = [_endpoint(each) for each in snapshot.endpoints]
        told = {"generation": snapshot.generation, "config": dict(snapshot.config)}
        self._channel.tell("prepare", told | {"endpoints": endpoints})

    def order(self, ctx: RouteContext, permitted: Sequence[EndpointView]) -> Sequence[EndpointId]:
        """See Ordering."""
        answer: Sequence[EndpointId] = self._ask_of("order", ctx, permitted).get("order") or ()
        return answer

    def observe(self, outcome: AttemptOutcome) -> None:
        """See Ordering."""
        if self._channel.open:
            self._channel.tell("observe", {"outcome": asdict(outcome)})


class LineScorer(LinePlugIn):
    """A Ratings; see there."""

    def scores(self, ctx: RouteContext, permitted: Sequence[EndpointView]) -> Sequence[float]:
        """See Ratings."""
        answer: Sequence[float] = self._ask_of("score", ctx, permitted).get("scores") or ()
        return answer


def _context(ctx: RouteContext) -> dict[str, Any]:
    return ctx.to_doc() | {
        "request_id": ctx.request_id,
        "tenant": ctx.tenant,
        "sandbox": ctx.sandbox_id,
        "protocol": ctx.protocol,
        "route": ctx.route,
        "label": ctx.label,
        "generation": ctx.generation,
    }


def _endpoint(view: EndpointView) -> dict[str, Any]:
    facts = {
        key: sorted(value) if isinstance(value, frozenset) else value
        for key, value in asdict(view.facts).items()
    }
    return {"id": view.id, "model": view.model, "facts": facts, "health": asdict(view.health)}
