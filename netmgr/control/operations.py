"""Owns: what the OpenAPI document says of every operation: name, summary, answer, examples, errors.

An operation's name is that of its call in the client (netmgr.calls and its neighbours), so that the
document and the library speak of the same things.
"""

from collections.abc import Mapping
from typing import Final

from netmgr.control.operation import Operation
from netmgr.control.operations_models import CREDENTIALS, INFERENCE
from netmgr.control.operations_routing import ROUTING
from netmgr.control.operations_sandboxes import SANDBOXES

_DAEMON: Final = {
    ("GET", "/v1/version"): Operation("version", "The daemon's version", got={"version": "0.1.0"}),
    ("GET", "/v1/status"): Operation("status", "Health of every part", got={"healthy": True}),
    ("GET", "/v1/hub"): Operation(
        "hub", "The hub as the kernel has it", got={"netns": "/run/netns/netmgr-hub"}
    ),
    ("GET", "/v1/records"): Operation(
        "records", "Decision records, oldest first: one JSON object per line", got=None
    ),
    ("GET", "/metrics"): Operation("metrics", "Counters in the text format of Prometheus"),
    ("POST", "/v1/shutdown"): Operation(
        "shutdown",
        "End the daemon; with `remove`, sandboxes and the hub go too",
        sent={"remove": False},
        got={"stopping": True},
    ),
}

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    **SANDBOXES,
    **CREDENTIALS,
    **INFERENCE,
    **ROUTING,
    **_DAEMON,
}
