"""Owns: what the ledger proves: that it is whole, and where data of a label went.

Every answer is made from records and from the routing file of the revision that decided, never from
the file of today.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from netmgr.daemon.core import Core
from netmgr.errors import BadInput, NetmgrError, did_you_mean
from netmgr.inference.declared import OPERATORS
from netmgr.journal import MAX_LIMIT, Filter
from netmgr.reasons import Kind, Reason
from netmgr.routing.contract import Facts
from netmgr.routing.language import RoutingFile
from netmgr.routing.schema import parse_routing
from netmgr.routing.single import NUMBER as SINGLE

JsonObject = dict[str, Any]

MAX_EXCEPTIONS: Final = 1000  # told one by one; the number is of all
# Attempts of which no byte of the request can have left.
_NOTHING_SENT: Final = frozenset(
    (Reason.ADDRESS_BLOCKED.value, Reason.NAME_NOT_RESOLVED.value, Reason.UPSTREAM_TLS.value)
)


class AuditDesk:
    """Answers /v1/audit."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def verify(self) -> JsonObject:
        """Whether the records are those that were written."""
        return (await self._core.journal.verify()).to_doc()

    async def prove(
        self, label: str, operated_by: str | None, residency: str | None, since: float
    ) -> JsonObject:
        """That no call of that label or a higher one was sent to such an endpoint; or which were.

        Args:
            operated_by: whom the endpoint may not be operated by.
            residency: outside of which it may not be.
            since: epoch seconds.

        Raises:
            BadInput: nothing, or nothing that can be, is asked.
        """
        if (operated_by is None) is (residency is None):
            raise BadInput("expected one of operated_by and residency")
        if operated_by is not None and operated_by not in OPERATORS:
            hint = did_you_mean(operated_by, OPERATORS)
            raise BadInput(f"operated_by {operated_by!r}: expected {', '.join(OPERATORS)}{hint}")
        chain = await self._core.journal.verify()
        wanted = Filter(kind=Kind.INFERENCE.value, since=since, limit=MAX_LIMIT)
        records = await self._core.journal.query(wanted)
        files = await self._files({_generation(record) for record in records})
        _judge_label(label, files.values())
        proof = _Proof(label, operated_by, residency)
        for record in records:
            proof.take(record, files)
        if len(records) == MAX_LIMIT:
            proof.unknown += 1  # there may be more than were read
        return proof.to_doc() | {"since": since, "chain": chain.to_doc()}

    async def _files(self, numbers: set[int | None]) -> dict[int, RoutingFile]:
        core, found = self._core, dict[int, RoutingFile]()
        for number in numbers:
            if number is None:
                continue
            try:
                kept = await core.on_store(core.store.routing.get, number)
                found[number] = parse_routing(kept.text, kept.source)
            except NetmgrError:
                continue  # its calls are told as unknown
        return found


class _Proof:
    """Goes through calls."""

    def __init__(self, label: str, operated_by: str | None, residency: str | None) -> None:
        self._label = label
        self._operated_by = operated_by
        self._residency = residency
        self.checked = self.matching = self.unknown = self.found = 0
        self.exceptions: list[JsonObject] = []

    def take(self, record: Mapping[str, Any], files: Mapping[int, RoutingFile]) -> None:
        """One record of calls; `count` of them where equal ones were summed."""
        call = record.get("inference") or {}
        count = record.get("count") or 1
        self.checked += count
        if not call.get("tried"):
            if not call.get("attempts"):
                return  # denied or answered here: nothing was sent
            self.unknown += count
            return
        file = files.get(_generation(record) or 0)
        order = file.sensitivity.order if file is not None else ()
        if _generation(record) == SINGLE:
            if self._is_exception(_declared(call)):  # its label is not known, where it went is
                self.unknown += count
            return
        if file is None or call.get("label") not in order or self._label not in order:
            self.unknown += count
            return
        if order.index(call["label"]) < order.index(self._label):
            return
        self.matching += count
        for attempt in call["tried"]:
            if attempt.get("reason") in _NOTHING_SENT and attempt.get("status") is None:
                continue
            endpoint = file.endpoint(attempt["endpoint"])
            if endpoint is None or self._is_exception(endpoint.facts):
                self._except(record, call, attempt["endpoint"], count)
                return

    def _is_exception(self, facts: Facts) -> bool:
        if self._operated_by is not None:
            return facts.operated_by in (self._operated_by, None)
        return not facts.residency or not facts.residency <= {self._residency}

    def _except(
        self, record: Mapping[str, Any], call: Mapping[str, Any], endpoint: str, count: int
    ) -> None:
        self.found += count
        if len(self.exceptions) < MAX_EXCEPTIONS:
            self.exceptions.append(
                {
                    "seq": record["seq"],
                    "time": record["time"],
                    "request_id": call.get("request_id"),
                    "sandbox": record["sandbox"],
                    "tenant": record["tenant"],
                    "label": call["label"],
                    "endpoint": endpoint,
                }
            )

    def to_doc(self) -> JsonObject:
        """As the API tells it; `unknown`: calls that no file decided and that went where they must
        not or to nobody knows whom, and calls whose file is not kept."""
        return {
            "checked": self.checked,
            "matching": self.matching,
            "exceptions": self.exceptions,
            "found": self.found,
            "unknown": self.unknown,
        }


def _judge_label(label: str, files: Iterable[RoutingFile]) -> None:
    """Refuse a label that no file has: a mistyped one would prove nothing.

    Raises:
        BadInput: with the nearest.
    """
    known = {word for file in files for word in file.sensitivity.order}
    if known and label not in known:
        hint = did_you_mean(label, known) or f"; known: {', '.join(sorted(known))}"
        raise BadInput(f"label {label!r}: no routing file that decided a call has it{hint}")


def _declared(call: Mapping[str, Any]) -> Facts:
    """What was declared of the provider of a call that no file decided."""
    said = call.get("declared") or {}
    return Facts(
        residency=frozenset(said.get("residency") or ()), operated_by=said.get("operated_by")
    )


def _generation(record: Mapping[str, Any]) -> int | None:
    number = (record.get("inference") or {}).get("generation")
    return number if isinstance(number, int) else None
