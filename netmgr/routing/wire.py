"""Owns: a generation between processes: document, number, and what is known of its providers.

Whoever receives it reads the document with the schema that judged it, so both sides decide alike.
No credential and no URL is in it: those go with the endpoint's own inference route.
"""

from collections.abc import Mapping
from typing import Any, Final

from netmgr.policy.problems import PolicyError
from netmgr.routing.contract import EndpointId
from netmgr.routing.generation import Binding, Generation
from netmgr.routing.plugins import NO_PLUGINS, Plugins, make_router
from netmgr.routing.schema import routing_from_doc

UNREADABLE: Final = (
    "routing revision {number} is in force and cannot be read by this version of netmgr: every "
    "call is answered with 503 not_configured; `netmgr route set FILE` mends it"
)


def generation_to_wire(
    doc: Mapping[str, Any], number: int, bindings: Mapping[EndpointId, Binding]
) -> dict[str, Any]:
    """As one of the parts of a `routing` operation."""
    return {
        "number": number,
        "doc": dict(doc),
        "bindings": {
            name: {
                "protocols": None if each.protocols is None else sorted(each.protocols),
                "credential": each.credential,
            }
            for name, each in bindings.items()
        },
    }


def generation_from_wire(body: Mapping[str, Any], plugins: Plugins = NO_PLUGINS) -> Generation:
    """The generation that `generation_to_wire` described. A router that is not enabled here any
    more is left out, with a `trouble`: it only orders, the constraints hold without it.

    Raises:
        PolicyError: the document is no routing file.
        KeyError: a part is missing.
    """
    file = routing_from_doc(body["doc"])
    bindings = {
        name: Binding(
            None if each["protocols"] is None else frozenset(each["protocols"]),
            each["credential"],
        )
        for name, each in body["bindings"].items()
    }
    try:
        router, trouble = make_router(file, body["number"], plugins), ""
    except PolicyError as fault:
        router, trouble = None, fault.message
    generation = Generation(file, body["number"], bindings, router, trouble)
    generation.unreadable = body.get("unreadable", False)
    return generation
