"""Owns: what an operator declares of a provider itself: who runs it, and where it computes.

The words are those of routing files, where each endpoint declares its own. Knows nothing of routes.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from netmgr.errors import BadInput, did_you_mean

OPERATED_BY: Final = "OPERATED_BY"
RESIDENCY: Final = "RESIDENCY"
OPERATORS: Final = ("self", "processor", "third_party")
MAX_PLACES: Final = 64
_PLACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Declared(NamedTuple):
    """What a provider's config says; None and empty: nothing."""

    operated_by: str | None = None
    residency: tuple[str, ...] = ()


NOTHING: Final = Declared()


def parse_declared(config: Mapping[str, str]) -> Declared:
    """What a config declares.

    Raises:
        BadInput: a value that cannot be meant, by its key.
    """
    if OPERATED_BY not in config and RESIDENCY not in config:  # nearly always
        return NOTHING
    who, where = config.get(OPERATED_BY), config.get(RESIDENCY)
    if who is not None and who not in OPERATORS:
        hint = did_you_mean(who, OPERATORS)
        raise BadInput(
            f"config key {OPERATED_BY}: {who!r}: expected one of {', '.join(OPERATORS)}{hint}"
        )
    places = [name.strip() for name in where.split(",")] if where is not None else []
    if len(places) > MAX_PLACES or not all(map(_PLACE.fullmatch, places)):
        raise BadInput(f"config key {RESIDENCY}: {where!r:.80}: expected places like eu or eu,de")
    return Declared(who, tuple(dict.fromkeys(places)))
