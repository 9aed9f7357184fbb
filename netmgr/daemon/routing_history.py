"""Owns: what is told of past routing decisions: why one went as it did, and how another file would
have decided. Read from the journal's records, which hold facts and labels and never a text.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from netmgr.errors import NotFound
from netmgr.journal import Filter, Journal
from netmgr.journal.repeats import MAX_IDS
from netmgr.reasons import Kind
from netmgr.routing.contract import DEFAULT_ROUTE, RouteContext
from netmgr.routing.generation import Generation
from netmgr.routing.single import NUMBER as SINGLE

JsonObject = dict[str, Any]
Known = Callable[[int], Awaitable[Generation | None]]

MAX_REPLAYED: Final = 20_000  # the newest ones; a second of deciding
MAX_CHANGES: Final = 1000  # told one by one; the numbers are of all
MILLION: Final = 1_000_000


class RoutingHistory:
    """Reads the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def why(self, request_id: str) -> JsonObject:
        """The record of one model call; equal denials share one, which says how many they are.

        Raises:
            NotFound: there is none, or it is no longer kept.
        """
        held = self._journal.counted(request_id)  # first: it may be written meanwhile
        await self._journal.flush()
        wanted = Filter(kind=Kind.INFERENCE.value, request_id=request_id, limit=1)
        found = await self._journal.query(wanted) or ([held] if held else [])
        if not found:
            raise NotFound(
                f"there is no record of a model call {request_id!r:.80}; of a sandbox's denials a "
                f"hundred a second are kept by their ids, of equal ones {MAX_IDS} in ten seconds"
            )
        return found[0] | {"request_id": request_id}

    async def replay(self, since: float, generation: Generation, known: Known) -> JsonObject:
        """Decide stored calls anew.

        Args:
            since: epoch seconds.
            generation: of the file that is tried.
            known: the generation of a kept revision, by its number; None where it is gone.
        """
        await self._journal.flush()
        wanted = Filter(kind=Kind.INFERENCE.value, since=since, limit=MAX_REPLAYED)
        records = await self._journal.query(wanted)
        numbers = {(record.get("inference") or {}).get("generation") for record in records}
        then = {number: await known(number) for number in numbers if number}
        result = _Replay(generation, then)
        for record in records:
            result.take(record)
        return result.to_doc()


class _Replay:
    """Sums over stored decisions.

    Args:
        then: what decided: asked again, so that what only latency or a plug-in ordered otherwise
            is no difference between two files.
    """

    def __init__(self, generation: Generation, then: Mapping[int, Generation | None]) -> None:
        self._generation = generation
        self._then = then
        self._changes: list[JsonObject] = []
        self._replayed = self._skipped = self._changed = self._denied = 0
        self._cost_was = self._cost_would_be = 0.0

    def take(self, record: Mapping[str, Any]) -> None:
        """One record of a model call."""
        call = record.get("inference") or {}
        context = context_of(record, self._generation)
        if context is None:
            self._skipped += 1
            return
        self._replayed += 1
        was = list(call["plan"])
        would_be = list(self._generation.decide(context).endpoints)
        self._cost_was += self._cost(was, call)
        self._cost_would_be += self._cost(would_be, call)
        if self._at_rest(was, record, call) == would_be or self._is_the_same(would_be, call):
            return
        self._changed += 1
        self._denied += not would_be
        if len(self._changes) < MAX_CHANGES:
            self._changes.append(
                {
                    "request_id": call.get("request_id"),
                    "sandbox": record["sandbox"],
                    "label": context.label,
                    "was": was,
                    "would_be": would_be,
                    "rejected": self._generation.rejected(context),
                }
            )

    def _at_rest(
        self, was: list[str], record: Mapping[str, Any], call: Mapping[str, Any]
    ) -> list[str]:
        """The plan of the file that decided, without any say of health; as it was where that file
        is not kept, or would permit something else by today's providers."""
        then = self._then.get(call.get("generation") or 0)
        context = context_of(record, then) if then is not None else None
        if then is None or context is None:
            return was
        again = list(then.decide(context).endpoints)
        return again if set(again) == set(was) else was

    def _is_the_same(self, would_be: list[str], call: Mapping[str, Any]) -> bool:
        """Whether a call that no file decided would go where it went, and nowhere else."""
        if call.get("generation") != SINGLE or len(would_be) != 1:
            return False
        only = self._generation.endpoint(would_be[0])
        return (only.provider, only.model) == (call.get("provider"), call.get("model"))

    def _cost(self, plan: list[str], call: Mapping[str, Any]) -> float:
        """Of the first choice, at the prices of the file that is tried, for the tokens used."""
        endpoint = self._generation.file.endpoint(plan[0]) if plan else None
        if endpoint is None:
            return 0.0
        tokens_in, tokens_out = call.get("tokens_in") or 0, call.get("tokens_out") or 0
        facts = endpoint.facts
        spent = tokens_in * (facts.price_in or 0.0) + tokens_out * (facts.price_out or 0.0)
        return spent / MILLION

    def to_doc(self) -> JsonObject:
        """As the API tells it."""
        return {
            "replayed": self._replayed,
            "skipped": self._skipped,
            "changed": self._changed,
            "denied": self._denied,
            "cost_was": round(self._cost_was, 6),
            "cost_would_be": round(self._cost_would_be, 6),
            "changes": self._changes,
        }


def context_of(record: Mapping[str, Any], generation: Generation) -> RouteContext | None:
    """What a stored decision depended on, as the other file sees it; None where the record has no
    facts, or a label that the file does not have."""
    call = record.get("inference") or {}
    facts, label = call.get("facts"), call.get("label")
    if call.get("generation") == SINGLE:  # no file was in force: nobody has looked at it
        label = generation.file.sensitivity.unlabelled
    if facts is None or call.get("plan") is None or label not in generation.file.sensitivity.order:
        return None
    model = call.get("requested_model")
    return RouteContext(
        request_id=str(call.get("request_id") or ""),
        sandbox_id=str(record["sandbox"]),
        tenant=record["tenant"],
        workload=MappingProxyType(dict(facts["workload"])),
        protocol=str(call["protocol"]),
        route=str(model) if model in generation.file.routes else DEFAULT_ROUTE,
        stream=facts["stream"],
        needs=frozenset(facts["needs"]),
        tokens_in=facts["tokens_in"],
        tokens_out_max=facts["tokens_out_max"],
        label=label,
        flags=frozenset(facts["flags"]),
        sets=MappingProxyType({k: frozenset(v) for k, v in facts["sets"].items()}),
        unscanned=tuple(facts["unscanned"]),
        exceeded=frozenset(facts["exceeded"]),
        generation=generation.number,
    )
