"""Owns: the routing file as an operator sets, sees and takes it back. In force at the return.

A change: the whole file is judged (schema, its own tests, providers, router, what it would widen)
before anything is stored -> one transaction, a new revision -> endpoints' routes and the generation
to every proxy worker, acknowledged -> reply. What does not load changes nothing: the last good file
stays. Calls under way keep the plan that they have.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from netmgr.daemon.audit_desk import AuditDesk
from netmgr.daemon.core import Core
from netmgr.daemon.endpoint_routes import EndpointRoutes, Held
from netmgr.daemon.inference_desk import InferenceDesk
from netmgr.daemon.routing_history import RoutingHistory
from netmgr.errors import BY_CODE, BadInput, Conflict, NetmgrError, NotFound, TryLater, did_you_mean
from netmgr.policy.problems import PolicyError, Problem
from netmgr.process.ipc import PeerClosed, PeerRefused
from netmgr.reasons import Kind
from netmgr.routing.cases import require_cases
from netmgr.routing.difference import not_compared, widened
from netmgr.routing.generation import Generation
from netmgr.routing.language import RoutingFile
from netmgr.routing.schema import parse_routing
from netmgr.routing.survey import survey, tenants_of
from netmgr.store import RoutingRevision

JsonObject = dict[str, Any]

ASK_S: Final = 5.0  # a worker answers from memory; it may be busy for a moment
MAX_WIDENED: Final = 10  # cells named in a refusal


@dataclass(frozen=True, slots=True)
class RoutingChange:
    """How the routing file is to be changed.

    Attributes:
        if_revision: refuse where another revision is in force; 0: where any is.
        dry_run: judge everything, change nothing.
        accept_widening: the operator means to permit what was not permitted.
    """

    if_revision: int | None = None
    dry_run: bool = False
    accept_widening: bool = False


class RoutingDesk:
    """Answers /v1/routing; `audit` answers /v1/audit."""

    def __init__(self, core: Core, inference: InferenceDesk) -> None:
        self._core = core
        self._endpoints: EndpointRoutes = inference.endpoints
        self.affinity = inference.affinity
        self._past = RoutingHistory(core.journal)
        self.audit = AuditDesk(core)

    # -- looking ---------------------------------------------------------------------------

    async def get(self, revision: int | None = None) -> JsonObject:
        """One revision; without a number the one in force, or else the one on trial.

        Raises:
            NotFound: no such revision, or none is set.
        """
        core = self._core
        files = core.store.routing
        if revision is not None:
            found: RoutingRevision | None = await core.on_store(files.get, revision)
        else:
            found = await core.on_store(files.at, "live") or await core.on_store(files.at, "shadow")
        if found is None:
            raise NotFound("no routing file is set: `netmgr route set FILE` does it")
        shadow = self._endpoints.shadow
        held = (self._endpoints.live, shadow)
        broken = next((e.unreadable for e in held if e and e.number == found.revision), "")
        return _revision_object(found) | {
            "text": found.text,
            "shadow": shadow.number if shadow else None,
            "unreadable": broken or None,
        }

    async def history(self) -> list[JsonObject]:
        """Every kept revision, newest first."""
        kept = await self._core.on_store(self._core.store.routing.history)
        return [_revision_object(each) for each in kept]

    # -- changing --------------------------------------------------------------------------

    async def set(self, change: RoutingChange, text: str, source: str) -> JsonObject:
        """Put a file in force, or on trial where it says `mode: shadow`.

        Raises:
            BadInput: every problem of the text, as source:line: key: message; a failing test.
            Conflict: `if_revision` does not match, or the file permits more than the one in force.
        """
        file = parse_routing(text, source)
        async with self._core.change():
            return await self._put(change, file, text, source)

    async def roll_back(self, change: RoutingChange, revision: int) -> JsonObject:
        """Make an earlier revision's content the newest revision.

        Raises:
            NotFound: the revision is not kept.
            BadInput, Conflict: as `set`.
        """
        core = self._core
        old = await core.on_store(core.store.routing.get, revision)
        source = f"rollback to revision {revision}"
        file = parse_routing(old.text, source)
        async with core.change():
            return await self._put(change, file, old.text, source)

    async def delete(self, *, shadow_only: bool, if_revision: int | None) -> bool:
        """End a trial, or all routing by file: then the routes of `inference set` hold again.

        Raises:
            Conflict: `if_revision` does not match.
        """
        core, endpoints = self._core, self._endpoints
        async with core.change():
            await core.on_store(core.store.routing.require, if_revision)
            had = await core.on_store(core.store.routing.remove, shadow_only=shadow_only)
            live = endpoints.live if shadow_only else None
            await core.announce(await core.on_store(endpoints.take, live, None))
        if had:
            what = "trial of a routing file ended" if shadow_only else "routing file removed"
            core.record(Kind.CONFIG, what)
        return had

    async def _put(
        self, change: RoutingChange, file: RoutingFile, text: str, source: str
    ) -> JsonObject:
        core, endpoints = self._core, self._endpoints
        bound = await core.on_store(endpoints.judge, file, source)
        generation = Generation(file, 0, bound.bindings)
        require_cases(generation, source)
        await self._judge_router(file, source)
        more, warnings = await asyncio.to_thread(self._look_over, generation)
        shadow = file.mode == "shadow"
        await core.on_store(core.store.routing.require, change.if_revision)
        unseen = not_compared(endpoints.live.file, file) if endpoints.live else ()
        if not (change.accept_widening or change.dry_run or shadow):
            self._guard_widening(more, unseen)
        result: JsonObject = {
            "revision": endpoints.live.number if endpoints.live else 0,
            "digest": file.digest,
            "mode": file.mode,
            "changed": endpoints.live is None or endpoints.live.file.digest != file.digest,
            "dry_run": change.dry_run,
            "tests": len(file.cases),
            "widened": more,
            "not_compared": list(unseen),
            "warnings": [*file.warnings, *warnings, *self._strangers(file)],
        }
        if change.dry_run:
            return result
        stored, new = await core.on_store(
            core.store.routing.put,
            RoutingRevision(
                revision=0, digest=file.digest, text=text, source=source, created=time.time()
            ),
            shadow=shadow,
            keep=core.settings.policy_history,
            if_revision=change.if_revision,
        )
        held = Held(file, stored.revision)
        places = (endpoints.live, held) if shadow else (held, None)
        await core.announce(await core.on_store(endpoints.take, *places))
        if new:
            where = "on trial" if shadow else "in force"
            core.record(
                Kind.CONFIG, f"routing revision {stored.revision} {where}, from {stored.source}"
            )
        return result | {"revision": stored.revision, "changed": new}

    def _guard_widening(self, more: list[JsonObject], unseen: tuple[str, ...]) -> None:
        """Refuse what nobody has said that it is meant.

        Raises:
            Conflict: the file permits more than the one in force, or may.
        """
        live = self._endpoints.live
        if live is not None and live.unreadable:
            raise Conflict(_UNKNOWN.format(number=live.number))
        if more:
            raise Conflict(_widening(more), widened=more[:MAX_WIDENED])
        if unseen:
            raise Conflict(_uncertain(unseen), not_compared=list(unseen))

    def _look_over(self, generation: Generation) -> tuple[list[JsonObject], list[str]]:
        """What the file permits more than the one in force, and what is odd about it. Every cell is
        decided: on a thread, so that nobody waits for it."""
        live = self._endpoints.live
        more = [each.to_doc() for each in widened(live.file, generation.file)] if live else []
        return more, [f"{each.key}: {each.message}" for each in survey(generation)]

    def _strangers(self, file: RoutingFile) -> list[str]:
        """Tenants of the file that no sandbox has now: it may come, or it is a slip of the pen."""
        known = {each.row.tenant for each in self._core.residents.values() if each.row.tenant}
        return [
            f"{place}: no sandbox has the tenant {name!r} now{did_you_mean(name, known)}"
            for name, place in tenants_of(file).items()
            if name not in known
        ]

    async def _judge_router(self, file: RoutingFile, source: str) -> None:
        """Whether the workers have the file's router. Foreign code never runs as root: one that
        runs it is asked."""
        answer = await self.ask_worker("judge_router", {"doc": dict(file.doc)})
        problems = [Problem(0, key, message) for key, message in answer["problems"]]
        if problems:
            raise PolicyError(problems, source)

    # -- asking a worker -----------------------------------------------------------------------

    async def explain(self, asked: Mapping[str, Any]) -> JsonObject:
        """What would become of a call: told by the object that decides, with its view of health.

        Raises:
            NotFound: no such sandbox; neither a file is in force nor a route of `inference set`.
            BadInput: what is asked cannot be meant.
        """
        request = dict(asked["request"])
        if (name := request.get("sandbox")) is not None:
            row = self._core.resident(name).row
            request = {"tenant": row.tenant, "workload": dict(row.labels)} | request
        return await self.ask_worker("explain_route", dict(asked) | {"request": request})

    async def why(self, request_id: str) -> JsonObject:
        """The stored decision on one call, and its attempts.

        Raises:
            NotFound: there is no such record.
        """
        return await self._past.why(request_id)

    async def replay(self, since: float, text: str, source: str) -> JsonObject:
        """Stored decisions since a time, decided anew by another file. Nothing changes.

        Raises:
            BadInput: every problem of the file.
        """
        file = parse_routing(text, source)
        bound = await self._core.on_store(self._endpoints.bind, file, 0)
        return await self._past.replay(since, Generation(file, 0, bound.bindings), self._kept)

    async def _kept(self, number: int) -> Generation | None:
        """A kept revision as it would decide today; None where it is not kept any more."""
        try:
            kept = await self._core.on_store(self._core.store.routing.get, number)
            file = parse_routing(kept.text, kept.source)
        except NetmgrError:
            return None
        bound = await self._core.on_store(self._endpoints.bind, file, number)
        return Generation(file, number, bound.bindings)

    async def ask_worker(self, what: str, body: JsonObject) -> JsonObject:
        """Ask the first proxy worker.

        Raises:
            TryLater: none is there, or it did not answer.
        """
        try:
            proxy = self._core.supervisor.of_kind("proxy")[0].peer
            return dict((await proxy.ask(what, body, deadline_s=ASK_S)).body)
        except PeerRefused as refused:
            raise BY_CODE.get(refused.code, BadInput)(refused.message) from refused
        except (IndexError, PeerClosed, TimeoutError) as failure:
            raise TryLater("no proxy worker answered; try again") from failure


_UNKNOWN: Final = (
    "routing revision {number} is in force and cannot be read, so whether the file permits more is "
    "not known; --accept-widening means it"
)


def _widening(cells: list[JsonObject]) -> str:
    shown = "; ".join(f"{each['cell']}: {', '.join(each['added'])}" for each in cells[:3])
    more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
    return (
        f"the file permits what the one in force does not ({shown}{more}); "
        "`netmgr route matrix FILE --diff OLD` shows all; --accept-widening means it"
    )


def _uncertain(unseen: tuple[str, ...]) -> str:
    return (
        "the files tell too many kinds of requests apart to compare them all, and the new one may "
        f"permit more (not compared: {', '.join(unseen)}); --accept-widening means it"
    )


def _revision_object(revision: RoutingRevision) -> JsonObject:
    return {
        "revision": revision.revision,
        "digest": revision.digest,
        "source": revision.source,
        "created": revision.created,
        "state": revision.state,
    }
