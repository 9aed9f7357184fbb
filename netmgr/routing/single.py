"""Owns: what `inference set` means in the language of routing files: one endpoint, no rules, router
`single`.

So a call over such a route is planned, explained and recorded by the code that does it for a
file, and there is no other. Nobody asks for facts about the endpoint: whether it can do what a call
needs is for the provider to say. What its config declares is for the ledger.
"""

import re
from functools import lru_cache
from typing import Any, Final

from netmgr.inference.declared import NOTHING, Declared, parse_declared
from netmgr.inference.route import InferenceRoute
from netmgr.routing.generation import Generation
from netmgr.routing.language import RoutingFile
from netmgr.routing.needs import NEEDS
from netmgr.routing.schema import routing_from_doc

NUMBER: Final = 0  # of no revision
KEPT: Final = 256  # pairs of provider and model that a busy process has routes to
_NO_ID: Final = re.compile(r"[^A-Za-z0-9_.-]")


def single_file(provider: str, model: str, declared: Declared = NOTHING) -> RoutingFile:
    """The file that says the same.

    Args:
        declared: of the provider.
    """
    facts: dict[str, Any] = {
        "capabilities": sorted(NEEDS),
        "residency": list(declared.residency),
    }
    if declared.operated_by is not None:
        facts["operated_by"] = declared.operated_by
    endpoint: dict[str, Any] = {"provider": provider, "model": model, "facts": facts}
    name = _NO_ID.sub("-", provider)
    return routing_from_doc({"version": 1, "router": "single", "endpoints": {name: endpoint}})


@lru_cache(KEPT)
def single_generation(provider: str, model: str, declared: Declared = NOTHING) -> Generation:
    """The same, compiled. What the provider speaks has been judged with the call's head."""
    return Generation(single_file(provider, model, declared), NUMBER)


def generation_of(route: InferenceRoute) -> Generation:
    """Of a route that `inference set` wrote, with what its provider's config declares."""
    return single_generation(route.provider, route.model, parse_declared(route.config))
