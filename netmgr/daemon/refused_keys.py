"""Owns: which providers have refused the operator's credential, as calls' records tell.

A mark stays until the provider answers a call well, or its record is changed. It says and decides
nothing of calls: a refused key is a matter for the operator, and no call goes elsewhere for it.
"""

from collections.abc import Mapping
from typing import Any, Final

from netmgr.reasons import Kind, Reason

MAX_MARKS: Final = 1000  # as many as there may be providers
_REFUSED: Final = (401, 403)
_GOOD: Final = range(200, 300)


class RefusedKeys:
    """Marks of providers."""

    def __init__(self) -> None:
        self._since: dict[str, str] = {}

    def note(self, record: Mapping[str, Any]) -> None:
        """Hear one record."""
        if record["kind"] != Kind.INFERENCE.value:
            return
        call = record.get("inference") or {}
        relayed = record["reason"] == Reason.UPSTREAM_AUTH.value  # without a routing file
        for attempt in call.get("tried") or ():
            provider, reason = attempt.get("provider"), attempt.get("reason")
            refused = relayed and attempt.get("status") in _REFUSED
            if refused or reason == Reason.UPSTREAM_AUTH.value:
                if len(self._since) < MAX_MARKS:
                    self._since.setdefault(provider, record["time"])
            elif self._since and attempt.get("status") in _GOOD:
                self._since.pop(provider, None)

    def forget(self, provider: str) -> None:
        """The provider was changed or is gone."""
        self._since.pop(provider, None)

    def since(self, provider: str) -> str | None:
        """When its credential was refused first; None: it was not, or has been good since."""
        return self._since.get(provider)

    def warning(self, provider: str) -> str | None:
        """The same as a sentence for the operator."""
        since = self._since.get(provider)
        if since is None:
            return None
        return f"provider {provider} refuses its credential since {since}"

    def all(self) -> list[tuple[str, str]]:
        """(provider, warning) of every mark."""
        return [(name, self.warning(name) or "") for name in sorted(self._since)]
