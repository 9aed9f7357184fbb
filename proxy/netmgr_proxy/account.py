"""Owns: the records of one connection: who, where to, by which rule, how much, how long.

Bytes are counted as the sandbox sees them: `bytes_out` left it, `bytes_in` reached it. Knows
nothing of protocols; does no I/O but asking which process it was.
"""

import asyncio
from typing import Any, Final

from netmgr.ipc import Peer, PeerClosed, PeerRefused
from netmgr.model import Destination, Record
from netmgr.policy.decision import Decision, Target
from netmgr.reasons import Kind, Reason, Verdict
from netmgr.view import SandboxView
from netmgr_proxy.peer import Caller
from netmgr_proxy.recorder import Recorder
from netmgr_proxy.wire.face import Refusal

# A denial has to be seen within 200 ms (contract); a record without its process beats a late one.
OWNER_DEADLINE_S: Final = 0.15

Process = dict[str, Any] | None


async def find_process(daemon: Peer, caller: Caller) -> Process:
    """Which process opened the connection; None where it cannot be told in time."""
    body = {
        "address": caller.address,
        "sport": caller.sport,
        "ip": caller.ip,
        "dport": caller.port,
    }
    try:
        answer = await daemon.ask("owner", body, deadline_s=OWNER_DEADLINE_S)
    except (PeerRefused, PeerClosed, TimeoutError):
        return None
    process: Process = answer.body.get("process")
    return process


class Account:
    """What all records of one connection have in common.

    Args:
        owner: the question for the process, under way.
    """

    __slots__ = ("_destination", "_owner", "_recorder", "_sandbox", "caller", "target")

    def __init__(
        self,
        recorder: Recorder,
        caller: Caller,
        sandbox: SandboxView | None,
        target: Target,
        owner: asyncio.Task[Process],
    ) -> None:
        self._recorder = recorder
        self._sandbox = sandbox
        self._owner = owner
        self._destination = Destination(target.name, caller.ip, caller.port, "tcp")
        self.caller = caller
        self.target = target

    def refused(self, kind: Kind, refusal: Refusal, **extra: Any) -> None:
        """Something was denied or failed."""
        self._write(
            Record(
                time=self._recorder.now(),
                sandbox=self.sandbox_name,
                kind=kind,
                verdict=refusal.verdict,
                reason=refusal.reason,
                destination=self._destination,
                tenant=self._sandbox.tenant if self._sandbox else None,
                rule=refusal.rule,
                policy_revision=self._sandbox.revision if self._sandbox else None,
                message=refusal.message,
                remedy=refusal.remedy,
                extra=extra,
            )
        )

    def permitted(
        self, kind: Kind, decision: Decision, *, single: bool = False, **extra: Any
    ) -> None:
        """Something was let through.

        Args:
            single: never counted as a repeat of another (the end of a flow, a model call).
        """
        record = Record(
            time=self._recorder.now(),
            sandbox=self.sandbox_name,
            kind=kind,
            verdict=decision.verdict,
            reason=decision.reason,
            destination=self._destination,
            tenant=self._sandbox.tenant if self._sandbox else None,
            rule=decision.rule,
            policy_revision=self._sandbox.revision if self._sandbox else None,
            message=decision.message if decision.verdict is Verdict.AUDITED else "",
            remedy=decision.remedy(self.sandbox_name or "") if decision.remedy_args else None,
            extra=extra,
        )
        self._write(record, single=single)

    @property
    def sandbox_name(self) -> str | None:
        """Whose connection it is; None where nobody's."""
        return self._sandbox.name if self._sandbox else None

    def moved_to(self, sandbox: SandboxView) -> None:
        """The sandbox's policy has changed; what follows is recorded under the new revision."""
        self._sandbox = sandbox

    def _write(self, record: Record, *, single: bool = False) -> None:
        if self._owner.done():
            self._write_with_process(record, single)
        else:
            self._owner.add_done_callback(lambda _: self._write_with_process(record, single))

    def _write_with_process(self, record: Record, single: bool) -> None:
        if not self._owner.cancelled():
            record.extra["process"] = self._owner.result()
        if single:
            self._recorder.record_single(record)
        else:
            self._recorder.record(record)


ALLOWED: Final = Decision(Verdict.ALLOWED, Reason.ALLOWED)  # where no policy has a say
