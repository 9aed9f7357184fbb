"""Owns: the route that holds where the operator set none, and the looks at local stand-ins.

The choice is netmgr.inference.defaults'; here are the store, the workers and the clock. Every
switch is a config record. The looks are made by a proxy worker through the dialer: an answer is
hostile bytes, and the daemon parses none.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from netmgr.daemon.core import Core
from netmgr.daemon.roster import Op
from netmgr.errors import NetmgrError
from netmgr.inference.defaults import (
    LOOK_AGAIN_S,
    MAX_STANDBYS,
    Candidate,
    Health,
    candidate,
    choose,
)
from netmgr.inference.route import InferenceRoute as ResolvedRoute
from netmgr.process.ipc import PeerClosed, PeerRefused
from netmgr.reasons import Kind
from netmgr.store import InferenceRoute

JsonObject = dict[str, Any]

LOOK_S: Final = 2.0  # for one look, whole
LOOK_MARGIN_S: Final = 1.0  # for the worker itself
STANDBY_SCOPE: Final = "?standby-"  # no sandbox can be called so

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Standby:
    """A stand-in that is looked at."""

    route: ResolvedRoute
    health: Health = field(default_factory=Health)
    since: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class _Picture:
    """What the store says: read in one go, on its thread."""

    is_set: bool
    candidates: tuple[Candidate, ...]
    routes: dict[str, ResolvedRoute]


class DefaultRoute:
    """Chooses, announces and watches.

    Args:
        resolve_now: what a stored route comes to; called on the store's thread.
    """

    def __init__(self, core: Core, resolve_now: Callable[[InferenceRoute], ResolvedRoute]) -> None:
        self._core = core
        self._resolve_now = resolve_now
        self._standbys: dict[str, _Standby] = {}
        self.chosen: Candidate | None = None

    # -- what holds ------------------------------------------------------------------------

    def route(self) -> InferenceRoute | None:
        """The chosen default, as if it were stored."""
        return _as_stored(self.chosen) if self.chosen else None

    def standbys(self) -> list[JsonObject]:
        """Stand-ins and how they are."""
        return [
            {"provider": name, "healthy": each.health.healthy, "since": each.since}
            for name, each in sorted(self._standbys.items())
        ]

    def restore(self) -> None:
        """Choose at start, on the store's thread, before workers are told anything."""
        self._take(self._look_at_store())

    async def refresh(self, *ops: Op) -> None:
        """Choose again: a provider or the default route has changed. The caller holds the lock.

        Args:
            ops: what else changes; it is announced together with the choice.

        Raises:
            TryLater: a worker did not take the change.
        """
        before = self.chosen
        chosen = self._take(await self._core.on_store(self._look_at_store))
        if ops or chosen:
            await self._core.announce([*ops, *chosen])
        self._tell_switch(before)

    def _look_at_store(self) -> _Picture:
        store = self._core.store
        found: list[Candidate] = []
        routes: dict[str, ResolvedRoute] = {}
        for row in store.providers.all():
            each = candidate(row.name, row.config, row.created)
            if each is None:
                continue
            try:
                routes[row.name] = self._resolve_now(_as_stored(each))
            except NetmgrError as fault:
                log.warning("provider %s cannot serve as the default: %s", row.name, fault.message)
                continue
            found.append(each)
        return _Picture(store.inference.find(None) is not None, tuple(found), routes)

    def _take(self, picture: _Picture) -> list[Op]:
        """Bring stand-ins and choice up to date; the operations that tell the workers."""
        ops = self._take_standbys(picture)
        healthy = {name for name, each in self._standbys.items() if each.health.healthy}
        roster = self._core.roster
        if picture.is_set:
            self.chosen = None
            return ops
        self.chosen = choose(picture.candidates, healthy)
        wire = None
        if self.chosen is not None:
            wire = picture.routes[self.chosen.provider].to_wire(with_credential=True)
        if roster.route(None) != wire:
            ops += roster.set_route(None, wire)
        return ops

    def _take_standbys(self, picture: _Picture) -> list[Op]:
        wanted = [each.provider for each in picture.candidates if each.standby][:MAX_STANDBYS]
        roster, ops = self._core.roster, list[Op]()
        for name in self._standbys.keys() - set(wanted):
            del self._standbys[name]
            ops += roster.set_route(STANDBY_SCOPE + name, None)
        for name in wanted:
            route = picture.routes[name]
            known = self._standbys.get(name)
            if known is None:
                self._standbys[name] = _Standby(route)
            elif known.route == route:
                continue
            else:
                known.route = route
            ops += roster.set_route(STANDBY_SCOPE + name, route.to_wire(with_credential=True))
        return ops

    # -- looking ---------------------------------------------------------------------------

    async def keep_looking(self) -> None:
        """Look at every stand-in, again and again; switch when one has come or gone."""
        due: dict[str, float] = {}
        switched = True
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            now = time.monotonic()
            names = [name for name in self._standbys if due.get(name, 0.0) <= now]
            outcomes = await asyncio.gather(*(self._look(name) for name in names))
            due = {name: due.get(name, 0.0) for name in self._standbys}
            for name in names:
                if name in self._standbys:
                    due[name] = now + self._standbys[name].health.wait_s
            if any(outcomes) or not switched:
                switched = await self._switch()

    async def _look(self, name: str) -> bool:
        """One look; whether the stand-in's health has changed."""
        standby = self._standbys[name]
        well = await self._ask(standby.route)
        if not standby.health.note(well):
            return False
        standby.since = time.time()
        return True

    async def _ask(self, route: ResolvedRoute) -> bool:
        wire = route.to_wire(with_credential=True)
        try:
            proxy = self._core.supervisor.of_kind("proxy")[0].peer
            body = {"route": wire, "timeout_s": LOOK_S}
            answer = await proxy.ask("look", body, deadline_s=LOOK_S + LOOK_MARGIN_S)
        except (PeerClosed, PeerRefused, TimeoutError, NetmgrError):
            return False
        return answer.body.get("well") is True

    async def _switch(self) -> bool:
        """Choose by the health that is known now; False where it has to be tried again."""
        try:
            async with self._core.change():
                await self.refresh()
        except NetmgrError as failure:  # a full disk, a worker that does not come up
            log.warning("the default route was not switched: %s", failure.message)
            return False
        return True

    def _tell_switch(self, before: Candidate | None) -> None:
        after = self.chosen
        if after == before:
            return
        if after is None:
            what = "no default any more" if before else "set by the operator"
        else:
            what = f"default {after.provider}, model {after.model}"
            if after.standby:
                what += " (the local stand-in is healthy)"
            elif before is not None and before.standby:
                what += f" (the stand-in {before.provider} is gone)"
        self._core.record(Kind.CONFIG, f"inference of all sandboxes: {what}")


def _as_stored(chosen: Candidate) -> InferenceRoute:
    return InferenceRoute(
        scope=None,
        provider=chosen.provider,
        model=chosen.model,
        timeout_s=None,
        total_timeout_s=None,
        version=0,
        updated=chosen.created,
    )
