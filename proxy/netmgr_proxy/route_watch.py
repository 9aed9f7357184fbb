"""Owns: what is told beside a routing decision: what a router plug-in did wrong, and what the file
on trial would have decided. Nothing here changes what happens to a call.
"""

from collections.abc import Sequence
from typing import Any

from netmgr.middleware.contract import StageResult
from netmgr.model import Destination, Record
from netmgr.process.view import SandboxView
from netmgr.reasons import Kind, Reason, Verdict
from netmgr.routing.contract import Plan, Request
from netmgr_proxy.room import Room


def tell_findings(room: Room, sandbox: SandboxView, plan: Plan) -> None:
    """A record of each misdeed; repeats are counted."""
    for message in plan.findings:
        record = Record(
            time=room.recorder.now(),
            sandbox=sandbox.name,
            kind=Kind.FINDING,
            verdict=Verdict.AUDITED,
            reason=Reason.ALLOWED,
            destination=Destination(),
            tenant=sandbox.tenant,
            message=message,
        )
        room.recorder.record(None, record)


def on_trial(
    room: Room, request: Request, stages: Sequence[StageResult], decided: Plan | None
) -> dict[str, Any] | None:
    """What the file on trial says otherwise; None where there is none, or it says the same.

    Args:
        decided: by the file in force; None where there is none.
    """
    shadow = room.generations.shadow
    if shadow is None:
        return None
    context = shadow.context(request, stages)
    plan = shadow.decide(context, room.availability.board(room.now()))
    if decided is not None and plan.endpoints == decided.endpoints:
        return None
    return {
        "generation": plan.generation,
        "label": plan.label,
        "plan": list(plan.endpoints)[:32],
        "rejected": dict(list(shadow.rejected(context).items())[:64]),
    }
