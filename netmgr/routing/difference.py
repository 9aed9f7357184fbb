"""Owns: what one routing file permits that another one does not, cell by cell."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from netmgr.routing.cells import Cell, axes, base_of, cell_at, left_out, places
from netmgr.routing.contract import EndpointId
from netmgr.routing.generation import Generation
from netmgr.routing.language import Endpoint, RoutingFile
from netmgr.routing.sweep import Sweep

_Ids = tuple[EndpointId, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One cell in which two files permit different endpoints.

    Attributes:
        added: permitted by the newer file only, or there with other facts.
        removed: permitted by the older one only.
    """

    cell: Cell
    added: tuple[EndpointId, ...]
    removed: tuple[EndpointId, ...]

    def to_doc(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "cell": str(self.cell),
            "place": dict(self.cell.place),
            "added": list(self.added),
            "removed": list(self.removed),
        }


def differences(old: RoutingFile, new: RoutingFile) -> Iterator[Difference]:
    """Every cell that differs. An endpoint of the same id that leads to another provider or model,
    or is operated by another or elsewhere, or whose provider may do more, is another endpoint."""
    over = axes(new, old)
    before, after = Sweep(Generation(old), over), Sweep(Generation(new), over)
    same = {each.id for each in new.endpoints if _is_same(old.endpoint(each.id), each)}
    base, seen = base_of(new), dict[tuple[int, int], tuple[_Ids, _Ids]]()
    for place, then, now in zip(places(over), before, after, strict=True):
        found = seen.get((then, now))
        if found is None:
            found = seen[then, now] = _changes(before.ids(then), after.ids(now), same)
        if found[0] or found[1]:
            yield Difference(cell_at(base, place), *found)


def _changes(then: frozenset[str], now: frozenset[str], same: set[str]) -> tuple[_Ids, _Ids]:
    return tuple(sorted(now - (then & same))), tuple(sorted(then - now))


def widened(old: RoutingFile, new: RoutingFile) -> list[Difference]:
    """The cells in which the newer file permits more."""
    return [each for each in differences(old, new) if each.added]


def not_compared(old: RoutingFile, new: RoutingFile) -> tuple[str, ...]:
    """In what requests differ besides, of files that tell too many kinds of them apart: along these
    axes `widened` sees nothing, so that it does not prove that nothing is."""
    return left_out(axes(new, old)) if old.digest != new.digest else ()


def _is_same(old: Endpoint | None, new: Endpoint) -> bool:
    return (
        old is not None
        and (old.provider, old.model) == (new.provider, new.model)
        and old.facts.residency == new.facts.residency
        and old.facts.operated_by == new.facts.operated_by
        and new.allows.is_within(old.allows)
    )
