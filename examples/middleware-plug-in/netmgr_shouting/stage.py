"""Owns: one stage: how much of a body is in capital letters, as metadata; more than its limit is
denied.

    network_middlewares:
      manners:
        middleware: example/shouting
        config: {most_percent: 50}
        endpoints: {include: [api.example.com]}
"""

from collections.abc import Mapping
from typing import Any

from netmgr.middleware.request import StageRequest


class Shouting:
    """What the entry point loads to. One object serves all requests, from several threads."""

    def examine(self, request: StageRequest, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer to one request."""
        letters = [c for c in request.body.decode("utf-8", "replace") if c.isalpha()]
        percent = 100 * sum(c.isupper() for c in letters) // len(letters) if letters else 0
        answer: dict[str, Any] = {"decision": "allow", "metadata": {"percent": str(percent)}}
        if percent > config.get("most_percent", 100):
            answer |= {"decision": "deny", "reason_code": "shouting"}
        return answer
