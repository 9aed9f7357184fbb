"""Owns: what `inference set` means in the language of routing files: one endpoint, no rules, router
`single`.

So a call over such a route is planned, explained and recorded by the code that does it for a
file, and there is no other. Nobody has declared facts about the endpoint, and nobody asks for any:
whether it can do what a call needs is for the provider to say.
"""

import re
from functools import lru_cache
from typing import Any, Final

from netmgr.routing.generation import Generation
from netmgr.routing.language import RoutingFile
from netmgr.routing.needs import NEEDS
from netmgr.routing.schema import routing_from_doc

NUMBER: Final = 0  # of no revision
KEPT: Final = 256  # pairs of provider and model that a busy process has routes to
_NO_ID: Final = re.compile(r"[^A-Za-z0-9_.-]")


def single_file(provider: str, model: str) -> RoutingFile:
    """The file that says the same."""
    endpoint: dict[str, Any] = {
        "provider": provider,
        "model": model,
        "facts": {"capabilities": sorted(NEEDS)},
    }
    name = _NO_ID.sub("-", provider)
    return routing_from_doc({"version": 1, "router": "single", "endpoints": {name: endpoint}})


@lru_cache(KEPT)
def single_generation(provider: str, model: str) -> Generation:
    """The same, compiled. What the provider speaks has been judged with the call's head."""
    return Generation(single_file(provider, model), NUMBER)
