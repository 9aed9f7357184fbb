"""Owns: how a model call came to its plan, in the words of a record's `inference`.

Facts, labels and ids only: no prompt, no URL, no credential. Decides nothing.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from netmgr.routing.contract import Plan, RouteContext
from netmgr.routing.generation import Generation
from netmgr_proxy.admission import Admission
from netmgr_proxy.inference.rewrite import CallBody, PinnedBody

# Of a call that has not come to a plan.
NO_STORY: Final[Mapping[str, Any]] = MappingProxyType(
    dict.fromkeys(("protocol", "requested_model", "model", "provider", "route"))
)


def tell_story(
    admission: Admission | None,
    chosen: Admission | None,
    call: CallBody | None,
    pinned: PinnedBody | None,
) -> dict[str, Any]:
    """What was asked, and of whom.

    Args:
        admission: of the call's head, by whichever route.
        chosen: by the route that the call was made ready for; None: by none, nobody was asked.
        pinned: the body as that route's provider gets it.
    """
    route = chosen.admitted.route if chosen is not None else None
    return {
        "protocol": admission.admitted.pattern.protocol.value if admission else None,
        "requested_model": call.requested_model if call else None,
        "model": pinned.model if pinned else route.model if route else None,
        "provider": route.provider if route else None,
        "route": route.id if route else None,
    }


def tell_decision(decided: Plan, context: RouteContext, generation: Generation) -> dict[str, Any]:
    """What the generation said, and what it said it by."""
    return {
        "label": decided.label,
        "generation": decided.generation,
        "plan": list(decided.endpoints),
        "rejected": generation.told(context),
        "unscanned": list(context.unscanned),
        "facts": context.to_doc(),
    }
