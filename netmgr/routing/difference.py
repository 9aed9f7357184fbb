"""Owns: what one routing file permits that another one does not, cell by cell."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from netmgr.routing.cells import Cell, axes, cells, left_out
from netmgr.routing.contract import EndpointId
from netmgr.routing.generation import Generation
from netmgr.routing.language import Endpoint, RoutingFile


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
    or is operated by another or elsewhere, is another endpoint."""
    before, after = Generation(old), Generation(new)
    same = {each.id for each in new.endpoints if _is_same(old.endpoint(each.id), each)}
    for cell in cells(new, axes(new, old)):
        then = _permitted(before, cell)
        now = frozenset(after.decide(cell.context).endpoints)
        added = tuple(sorted(now - (then & same)))
        removed = tuple(sorted(then - now))
        if added or removed:
            yield Difference(cell, added, removed)


def widened(old: RoutingFile, new: RoutingFile) -> list[Difference]:
    """The cells in which the newer file permits more."""
    return [each for each in differences(old, new) if each.added]


def not_compared(old: RoutingFile, new: RoutingFile) -> tuple[str, ...]:
    """In what requests differ besides, of files that tell too many kinds of them apart: along these
    axes `widened` sees nothing, so that it does not prove that nothing is."""
    return left_out(axes(new, old)) if old.digest != new.digest else ()


def _permitted(generation: Generation, cell: Cell) -> frozenset[EndpointId]:
    """A label that the older file does not have is no label that it permits anything for."""
    ctx = cell.context
    if ctx.label not in generation.file.sensitivity.order:
        return frozenset()
    if ctx.route not in generation.file.routes:
        ctx = ctx._replace(route="default")
    return frozenset(generation.decide(ctx).endpoints)


def _is_same(old: Endpoint | None, new: Endpoint) -> bool:
    return (
        old is not None
        and (old.provider, old.model) == (new.provider, new.model)
        and old.facts.residency == new.facts.residency
        and old.facts.operated_by == new.facts.operated_by
    )
