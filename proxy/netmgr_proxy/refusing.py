"""Owns: what a client is told where no endpoint may answer its call, or the operator's key ended.

Knows nothing of how that was decided.
"""

import time
from typing import Final

from netmgr.inference.protocols import Shape
from netmgr.reasons import Reason
from netmgr.routing.contract import Plan, RouteContext
from netmgr.routing.generation import Generation
from netmgr_proxy.admission import Admission, ModelRefused
from netmgr_proxy.inference.admit import expired
from netmgr_proxy.inference.errors import Refusal

SET_ROUTING: Final = "netmgr route set FILE"


def refuse_expired(admission: Admission) -> None:
    """The operator's key has ended: it is not sent on to be refused elsewhere.

    Raises:
        ModelRefused: so it is.
    """
    ends = admission.live.route.expires_at
    if ends is not None and ends <= time.time():
        raise ModelRefused(expired(admission.admitted.shape))


def nobody_to_ask(generation: Generation, shape: Shape) -> Refusal:
    """No endpoint of the file in force is known to this worker: an operator can mend that."""
    why, remedy = "the routing file has no endpoint that can be asked", None
    if generation.unreadable:
        why = "the routing file that is stored cannot be read by this version of netmgr"
        remedy = SET_ROUTING
    return Refusal(503, Reason.NOT_CONFIGURED, why, remedy, close=False, shape=shape)


def denied(
    decided: Plan, context: RouteContext, admission: Admission, retry_after_s: int = 0
) -> Refusal:
    """What the client is told where nothing is permitted: rules, and no endpoint.

    Args:
        retry_after_s: when a budget that is used up may have room.
    """
    rules = tuple(dict.fromkeys(decided.rejected.values()))
    if spent := [rule for rule in rules if rule in context.exceeded]:
        return Refusal(
            429,
            Reason.BUDGET_EXCEEDED,
            f"the budget for this call is used up: {', '.join(spent)}",
            close=False,
            shape=admission.admitted.shape,
            retry_after_s=retry_after_s or None,
            final=True,
            rule=",".join(rules),
        )
    why = "no model endpoint may answer this call"
    if rules:
        why += f"; what rules them out: {', '.join(rules)}"
    if context.unscanned:
        stages = ", ".join(context.unscanned)
        why += f"; it counts as {context.label}, since it is unscanned by {stages}"
    return Refusal(
        403,
        Reason.NO_PERMITTED_ENDPOINT,
        why,
        close=False,
        shape=admission.admitted.shape,
        final=True,
        rule=",".join(rules) or None,
    )
