"""Owns: which routing file is in force in this worker, and which one is on trial.

Knows nothing of calls: one that has its plan keeps it, whatever comes here meanwhile.
"""

import logging
from typing import Any

from netmgr.routing.generation import Generation
from netmgr.routing.plugins import NO_PLUGINS, Plugins
from netmgr.routing.wire import generation_from_wire

log = logging.getLogger(__name__)


class Generations:
    """The worker's routing files.

    Attributes:
        live: decides; None where there is none: then `inference set` says where calls go.
        shadow: is asked too, and what it would do otherwise is told; nothing follows from it.
        plugins: what this process may use.
    """

    def __init__(self) -> None:
        self.live: Generation | None = None
        self.shadow: Generation | None = None
        self.plugins: Plugins = NO_PLUGINS

    def apply(self, op: dict[str, Any]) -> None:
        """Apply a `routing` operation: {live: {...} or None, shadow: {...} or None}."""
        self.live = self._read(op["live"])
        self.shadow = self._read(op["shadow"])

    def _read(self, body: dict[str, Any] | None) -> Generation | None:
        if body is None:
            return None
        generation = generation_from_wire(body, self.plugins)
        if generation.trouble:
            log.error("the default order is used: %s", generation.trouble)
        return generation
