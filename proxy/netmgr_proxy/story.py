"""Owns: how a model call came to its plan, in the words of a record's `inference`, and what those
words depend on.

Facts, labels and ids only: no prompt, no URL, no credential. Decides nothing.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from netmgr.routing.contract import Plan, RouteContext
from netmgr.routing.generation import Generation
from netmgr.routing.single import NUMBER as SINGLE
from netmgr_proxy.admission import Admission
from netmgr_proxy.inference.rewrite import CallBody, PinnedBody

# Of a call that has not come to a plan.
NO_STORY: Final[Mapping[str, Any]] = MappingProxyType(
    dict.fromkeys(("protocol", "requested_model", "model", "provider", "route"))
)
_TOKENS_IN: Final = RouteContext._fields.index("tokens_in")
_SANDBOX: Final = RouteContext._fields.index("sandbox_id")


class Story(NamedTuple):
    """What is known of a call.

    Attributes:
        admission: of the call's head, by whichever route.
        chosen: by the route that the call was made ready for; None: by none, nobody was asked.
        pinned: the body as that route's provider gets it.
        trial: what a routing file on trial would have done; None where there is none.
        by_file: whether a routing file decided.
        generation: it, or what `inference set` wrote as one; None before the plan.
        decided, context: the plan, and all that it was decided by; None before it.
    """

    admission: Admission | None
    chosen: Admission | None
    call: CallBody | None
    pinned: PinnedBody | None
    trial: dict[str, Any] | None
    by_file: bool
    generation: Generation | None
    decided: Plan | None
    context: RouteContext | None

    def told(self) -> dict[str, Any]:
        """As the record's `inference` has it."""
        story = self._asked()
        if self.trial is not None:
            story["shadow"] = self.trial
        decided, context, generation = self.decided, self.context, self.generation
        if decided is not None and context is not None and generation is not None:
            story |= _decision(decided, context, generation)
            if self.by_file:
                story["route"] = decided.route
        return story

    def _asked(self) -> dict[str, Any]:
        """What was asked, and of whom."""
        admission, chosen, pinned = self.admission, self.chosen, self.pinned
        route = chosen.admitted.route if chosen is not None else None
        return {
            "protocol": admission.admitted.pattern.protocol.value if admission else None,
            "requested_model": self.call.requested_model if self.call else None,
            "model": pinned.model if pinned else route.model if route else None,
            "provider": route.provider if route else None,
            "route": route.id if route else None,
        }

    @property
    def same(self) -> tuple[object, ...] | None:
        """Of what makes `told`, the values that stay the same from call to call: an admission
        holds for one head and one route, a plan is remembered by what it was decided by. None
        where the story is not an ordinary one."""
        if self.trial is not None or self.decided is None:
            return None
        return self.admission, self.chosen, self.decided, self.generation

    @property
    def equal(self) -> tuple[object, ...]:
        """The rest of it, but for `tokens_in`."""
        assert self.context is not None
        asked = self.call.requested_model if self.call else None
        got = self.pinned.model if self.pinned else None
        facts = self.context
        return (asked, got, self.by_file, *facts[_SANDBOX:_TOKENS_IN], *facts[_TOKENS_IN + 1 :])

    @property
    def tokens_in(self) -> int | None:
        """Of the facts."""
        return self.context.tokens_in if self.context is not None else None


def _decision(decided: Plan, context: RouteContext, generation: Generation) -> dict[str, Any]:
    """What the generation said, and what it said it by."""
    told: dict[str, Any] = {}
    if decided.generation == SINGLE and decided.endpoints:  # no file is kept to look it up in
        facts = generation.endpoint(decided.endpoints[0]).facts
        if facts.operated_by or facts.residency:
            told["declared"] = {
                "operated_by": facts.operated_by,
                "residency": sorted(facts.residency),
            }
    return told | {
        "label": decided.label,
        "generation": decided.generation,
        "plan": list(decided.endpoints),
        "rejected": generation.told(context),
        "unscanned": list(context.unscanned),
        "facts": context.to_doc(),
    }
