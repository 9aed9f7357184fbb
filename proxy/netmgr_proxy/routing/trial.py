"""Owns: what a routing file on trial would have done with a call. Nothing follows from it. Pure."""

from collections.abc import Sequence
from typing import Any

from netmgr.errors import NetmgrError
from netmgr.middleware.contract import StageResult
from netmgr.routing.contract import HealthBoard, Plan, Request
from netmgr.routing.generation import Generation


def on_trial(
    shadow: Generation,
    request: Request,
    stages: Sequence[StageResult],
    board: HealthBoard,
    live: Plan | None,
) -> dict[str, Any]:
    """What the record says of it.

    Args:
        live: what was decided; None where no file is in force, so that all is different.
    """
    try:
        context = shadow.context(request, stages)
        plan = shadow.decide(context, board)
    except (NetmgrError, KeyError, ValueError) as fault:  # a trial must never end a call
        return {"generation": shadow.number, "differs": True, "trouble": str(fault)[:200]}
    differs = live is None or live.endpoints != plan.endpoints
    told: dict[str, Any] = {"generation": plan.generation, "differs": differs}
    if differs:
        told |= {
            "label": plan.label,
            "plan": list(plan.endpoints),
            "rejected": shadow.told(context),
        }
    return told
