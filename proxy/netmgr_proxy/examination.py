"""Owns: what a chain's outcome means for a request: a refusal, other header fields, records.

Knows nothing of how stages are run, and of which kind of exchange it is.
"""

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any, Final

from netmgr.middleware.bounds import CHAIN_S
from netmgr.middleware.chain import NOTHING_ASKED, Outcome, Stage
from netmgr.middleware.contract import StageResult, Status
from netmgr.middleware.request import Phase, StageRequest, visible
from netmgr.policy.decision import Target
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason, Verdict
from netmgr_proxy.account import Account
from netmgr_proxy.client import ClientConnection
from netmgr_proxy.room import Room
from netmgr_proxy.wire.face import Refusal, Refused
from netmgr_proxy.wire.request import Head

MAX_TOLD: Final = 128  # characters of one text of a stage in a record: stages say more to routing
MAX_ITEMS: Final = 32  # findings, and metadata, of one record


class Examination:
    """The stages that look at one request, and what they said.

    Attributes:
        outcome: of the chain that was asked last.
    """

    def __init__(
        self, room: Room, client: ClientConnection, account: Account, stages: Sequence[Stage]
    ) -> None:
        self._room = room
        self._client = client
        self._account = account
        self.stages = tuple(stages)
        self.outcome: Outcome = NOTHING_ASKED

    def require_room(self) -> None:
        """Before a body is read.

        Raises:
            Refused: limit_exceeded (503); too many requests are with middlewares.
        """
        if refusal := self._room.scanner.crowd(self._account.caller.address):
            raise Refused(refusal)

    async def ask(
        self, request: StageRequest, tolerated: Collection[str] = (), within_s: float = CHAIN_S
    ) -> Outcome:
        """What the chain says; given up when the client goes.

        Args:
            tolerated: stages whose failure somebody else decides on.
            within_s: how long it may take.

        Raises:
            Refused: a stage says no, or a required one could not look.
        """
        address = self._account.caller.address
        asking = self._room.tasks.start(
            self._room.scanner.ask(address, request, self.stages, within_s),
            name=f"chain for {address}",
        )
        asking.add_done_callback(lambda _: self._client.wake())
        self._client.within(2 * CHAIN_S)  # the chain's own, and its turn before
        try:
            while not asking.done():
                await self._client.wait()
        except BaseException:
            asking.cancel()
            raise
        said = asking.result()
        if isinstance(said, Refusal):
            raise Refused(said)
        return self.take(said, tolerated)

    def take(self, outcome: Outcome, tolerated: Collection[str] = ()) -> Outcome:
        """Keep what was said, and tell what was found.

        Raises:
            Refused: see `ask`.
        """
        self.outcome = outcome
        refusal = refusal_of(outcome, tolerated)
        self._tell_findings(refusal)
        self._tell_bypasses()
        if refusal is not None:
            raise Refused(refusal)
        return outcome

    @property
    def parts(self) -> dict[str, Any]:
        """The record's part that a chain has, once it has said something."""
        return {"middleware": part_of(self.outcome)} if self.outcome.results else {}

    def _tell_findings(self, refusal: Refusal | None) -> None:
        found = self.outcome.findings
        if not found:
            return
        verdict, reason = Verdict.ALLOWED, Reason.ALLOWED
        if refusal is not None:
            verdict, reason = refusal.verdict, refusal.reason
        told = ", ".join(f"{f.count} {f.label} ({f.mitigation})" for f in found)
        self._account.found(verdict, reason, f"middleware found {told}", part_of(self.outcome))

    def _tell_bypasses(self) -> None:
        for result in self.outcome.results:
            if result.status is Status.BYPASSED:
                why = f"middleware {result.stage!r} did not look ({result.trouble}), and may fail"
                part = part_of(self.outcome)
                self._account.found(Verdict.AUDITED, Reason.MIDDLEWARE_FAILED, why, part)


def stage_request(
    phase: Phase, sandbox: SandboxView, target: Target, head: Head, body: bytes
) -> StageRequest:
    """What stages are told of a request."""
    return StageRequest(
        phase=phase,
        sandbox=sandbox.name,
        tenant=sandbox.tenant,
        labels=sandbox.labels,
        host=target.name or target.ip or "",
        port=target.port,
        method=head.method,
        target=head.target.decode("latin-1"),
        headers=visible(head.fields),
        body=body,
    )


def refusal_of(outcome: Outcome, tolerated: Collection[str] = ()) -> Refusal | None:
    """Why the request goes no further; None where it does.

    Args:
        tolerated: stages whose failure somebody else decides on.
    """
    if (no := outcome.denied_by) is not None:
        code = f" ({no.reason_code})" if no.reason_code else ""
        why = f"middleware {no.stage!r} denied the request{code}"
        return Refusal(Reason.MIDDLEWARE_DENIED, why, details=_details(no))
    if (failed := outcome.failed_at) is not None and failed.stage not in tolerated:
        why = f"middleware {failed.stage!r} must look at the request and did not: {failed.trouble}"
        return Refusal(Reason.MIDDLEWARE_FAILED, why, details=_details(failed))
    return None


def _details(result: StageResult) -> tuple[tuple[str, str], ...]:
    details = (("middleware", result.stage),)
    return (*details, ("reason_code", result.reason_code)) if result.reason_code else details


def part_of(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a record's part: flat lists and texts, short enough for any record."""
    stages, findings, metadata = list[Any](), list[Any](), dict[str, str]()
    for result in outcome.results:
        told = result.to_record()
        findings += [
            {"stage": result.stage, **each, "label": each["label"][:MAX_TOLD]}
            for each in told.pop("findings", ())
        ]
        for key, value in told.pop("metadata", {}).items():
            metadata[f"{result.stage}.{key}"[:MAX_TOLD]] = value[:MAX_TOLD]
        stages.append(told)
    kept = dict(islice(metadata.items(), MAX_ITEMS))
    return {"stages": stages, "findings": findings[:MAX_ITEMS], "metadata": kept}
