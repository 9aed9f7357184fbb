"""Owns: which records somebody wants to see, for stored ones (SQL) and live ones alike. Pure."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

DEFAULT_LIMIT: Final = 1000
MAX_LIMIT: Final = 100_000  # one answer's worth; whoever wants more asks again with `after`


@dataclass(frozen=True)
class Filter:
    """What to show. None means: whatever.

    Attributes:
        sandbox: its name.
        verdict: a netmgr.reasons.Verdict.
        kind: a netmgr.reasons.Kind.
        name: destination name or address; `*` is any text, `?` any one character.
        since: epoch seconds of the oldest.
        after: seq that the first one follows; with it the limit cuts the end, else the beginning.
        limit: how many at most, of stored ones.
    """

    sandbox: str | None = None
    verdict: str | None = None
    kind: str | None = None
    name: str | None = None
    since: float | None = None
    after: int | None = None
    limit: int = field(default=DEFAULT_LIMIT)

    def matches(self, record: dict[str, Any], time: float) -> bool:
        """Whether a live record is wanted. `time` is the record's, in epoch seconds."""
        return (
            self.sandbox in (None, record["sandbox"])
            and self.verdict in (None, record["verdict"])
            and self.kind in (None, record["kind"])
            and (self.since is None or time >= self.since)
            and (self.name is None or bool(self._pattern.fullmatch(target_of(record))))
        )

    def where(self) -> tuple[str, list[Any]]:
        """The same as an SQL condition with its values; without `after` and `limit`."""
        terms, values = ["1"], []
        for column in ("sandbox", "verdict", "kind"):
            wanted = getattr(self, column)
            if wanted is not None:
                terms.append(f"{column} = ?")
                values.append(wanted)
        if self.since is not None:
            terms.append("time >= ?")
            values.append(self.since)
        if self.name is not None:
            terms.append("target GLOB ?")
            values.append(self.name.lower().replace("[", "[[]"))  # to GLOB a set, to us a letter
        return " AND ".join(terms), values

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        signs = {"*": ".*", "?": "."}
        glob = (self.name or "").lower()
        return re.compile("".join(signs.get(c) or re.escape(c) for c in glob), re.DOTALL)


def target_of(record: dict[str, Any]) -> str:
    """What `name` is compared with: the destination's name, else its address, in lower case."""
    destination = record["destination"] or {}
    return str(destination.get("name") or destination.get("ip") or "").lower()
