"""Owns: which records somebody wants to see, for stored ones (SQL) and live ones alike. Pure."""

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import Any, Final

from netmgr.errors import BadInput
from netmgr.journal.repeats import ids_of

DEFAULT_LIMIT: Final = 1000
MAX_STARS: Final = 8  # each one multiplies the ways in which a name can be compared
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
        request_id: of one model call, counted with others or not.

    Raises:
        BadInput: on construction, where a bound is broken.
    """

    sandbox: str | None = None
    verdict: str | None = None
    kind: str | None = None
    name: str | None = None
    since: float | None = None
    after: int | None = None
    limit: int = DEFAULT_LIMIT
    request_id: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise BadInput(f"limit {self.limit}: expected 1 to {MAX_LIMIT}")
        if self.name is not None and self.name.count("*") > MAX_STARS:
            raise BadInput(f"name {self.name!r}: expected {MAX_STARS} '*' at most")

    def matches(self, record: dict[str, Any], time: float) -> bool:
        """Whether a live record is wanted. `time` is the record's, in epoch seconds."""
        return (
            self.sandbox in (None, record["sandbox"])
            and self.verdict in (None, record["verdict"])
            and self.kind in (None, record["kind"])
            and (self.since is None or time >= self.since)
            and (self.request_id is None or self.request_id in ids_of(record))
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
        if self.request_id is not None:
            terms.append(
                "(json_extract(body, '$.inference.request_id') = ? OR ? IN "
                "(SELECT value FROM json_each(body, '$.inference.request_ids')))"
            )
            values += [self.request_id] * 2
        if self.name is not None:
            terms.append("target GLOB ?")
            values.append(self._glob)
        return " AND ".join(terms), values

    @cached_property
    def _glob(self) -> str:
        # A bracket opens a set in SQLite's GLOB and in fnmatch; to us it is a letter.
        return (self.name or "").lower().replace("[", "[[]")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(translate(self._glob))


def target_of(record: dict[str, Any]) -> str:
    """What `name` is compared with: the destination's name, else its address, in lower case."""
    destination = record["destination"] or {}
    return str(destination.get("name") or destination.get("ip") or "").lower()
