"""Owns: the `limits` of an entry: how much may be moved under it.

Knows nothing of who counts. Sizes are bytes, as a whole number or with a binary unit (`64KiB`).
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from netmgr.policy.fields import Fields, describe
from netmgr.policy.tree import Scalar

MAX_SIZE: Final = 1 << 50  # a pebibyte: beyond it somebody mistyped
_UNITS: Final = {"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}
_SIZE = re.compile(r"([0-9]{1,16})[ ]?([A-Za-z]*)")
_FORM: Final = "expected bytes: a whole number, or one with KiB, MiB, GiB or TiB"


@dataclass(frozen=True, slots=True)
class EntryLimits:
    """How much may be moved under one entry. Bytes; None is no limit.

    Attributes:
        request_bytes: body of one request; what one client sends in all on a connection that is
            not looked into.
        bytes_per_hour: both ways, of one sandbox, over an hour.
    """

    request_bytes: int | None = None
    bytes_per_hour: int | None = None

    def to_doc(self) -> dict[str, Any]:
        """As it stands in a document; empty where nothing is limited."""
        both = (("request_bytes", self.request_bytes), ("bytes_per_hour", self.bytes_per_hour))
        return {name: _spell(size) for name, size in both if size is not None}


NO_LIMITS: Final = EntryLimits()


def parse_limits(entry: Fields) -> EntryLimits:
    """The limits of an entry."""
    fields = entry.section("limits", ("request_bytes", "bytes_per_hour"))
    if fields is None:
        return NO_LIMITS
    request = _parse_size(fields, "request_bytes")
    return EntryLimits(request, _parse_size(fields, "bytes_per_hour"))


def _parse_size(fields: Fields, key: str) -> int | None:
    node = fields.node(key)
    if node is None:
        return None
    value = node.value if isinstance(node, Scalar) else None
    found = _SIZE.fullmatch(str(value)) if type(value) in (int, str) else None
    if found is None:
        fields.problem(key, f"{_FORM}, got {describe(node)}")
        return None
    if found[2] not in _UNITS:
        fields.problem(key, f"{_FORM}, got the unit {found[2]!r}{_nearest_unit(found[2])}")
        return None
    size = int(found[1]) << _UNITS[found[2]]
    if not 0 < size <= MAX_SIZE:
        fields.problem(key, f"expected 1 byte to {_spell(MAX_SIZE)}, got {describe(node)}")
        return None
    return size


def _nearest_unit(word: str) -> str:
    """The unit in its one spelling; decimal ones were probably meant to be binary."""
    prefix = word[:1].upper()
    return f"; did you mean '{prefix}iB'?" if f"{prefix}iB" in _UNITS else ""


def _spell(size: int) -> str | int:
    """The shortest exact form."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size % (1 << _UNITS[unit]) == 0:
            return f"{size >> _UNITS[unit]}{unit}"
    return size
