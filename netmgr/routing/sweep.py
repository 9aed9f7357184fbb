"""Owns: the permitted set of every cell of a matrix, at once.

Every condition and every rule that is always on looks at one axis of the matrix. So what each value
of each axis rules out is asked once, of the generation's own predicates, and a cell is an AND of a
few integers: ten thousand cells take milliseconds, and `Generation.decide` says the same of each
(tests/property/test_routing.py).
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from netmgr.routing.cells import Axis, base_of, kept_of, with_value
from netmgr.routing.contract import EndpointId, RouteContext
from netmgr.routing.generation import Generation
from netmgr.routing.language import Condition

# Rules that no file can remove -> the axis that each looks at; the others look at none.
_ALWAYS: Final = {
    "protocol": "protocol",
    "capability": "needs",
    "context": "tokens",
    "clearance": "label",
    "route": "route",
}


class _Part(NamedTuple):
    """What one value of one axis leaves: endpoints, and rules that may still hold (a bit each)."""

    endpoints: int
    rules: int


class Sweep:
    """One file over the axes of a matrix.

    Args:
        over: may be of another file as well; words that this one does not know are nothing to it.
    """

    def __init__(self, generation: Generation, over: Sequence[Axis]) -> None:
        self._generation = generation
        self._rules = generation.compiled_rules()
        self._kept = kept_of(over)
        base = base_of(generation.file)
        names = {axis.name for axis in self._kept}
        none = set(_ALWAYS.values()) - names
        self._static = self._part(base, [*none, ""], [*self._axes_of_rules() - names])
        self._parts = [
            [self._value(base, axis.name, value) for value in axis.values.values()]
            for axis in self._kept
        ]
        self._masks: dict[int, int] = {}
        self._ids: dict[int, frozenset[EndpointId]] = {}

    def __iter__(self) -> Iterator[int]:
        """The permitted endpoints of each cell, a bit each, in the order of `cells`."""
        return self._walk(0, self._static.endpoints, self._static.rules)

    def ids(self, mask: int) -> frozenset[EndpointId]:
        """Whose bits those are."""
        found = self._ids.get(mask)
        if found is None:
            found = self._ids[mask] = self._generation.named(mask)
        return found

    def _walk(self, level: int, endpoints: int, rules: int) -> Iterator[int]:
        if level == len(self._parts):
            yield endpoints & self._left_by(rules)
            return
        last = level == len(self._parts) - 1
        for part in self._parts[level]:
            left, hold = endpoints & part.endpoints, rules & part.rules
            if last:
                yield left & self._left_by(hold)
            else:
                yield from self._walk(level + 1, left, hold)

    def _left_by(self, rules: int) -> int:
        """What rules that hold leave."""
        mask = self._masks.get(rules)
        if mask is None:
            mask = -1
            for number, rule in enumerate(self._rules):
                if rules >> number & 1:
                    mask &= rule.mask
            self._masks[rules] = mask
        return mask

    def _value(self, base: RouteContext, axis: str, value: object) -> _Part:
        file = self._generation.file
        if axis == "label" and value not in file.sensitivity.order:
            return _Part(0, 0)  # a label that the file does not have is none that it permits
        if axis == "route" and value not in file.routes:
            value = base.route
        always = [axis] if axis in _ALWAYS.values() else []
        return self._part(with_value(base, axis, value), always, [axis])

    def _part(self, ctx: RouteContext, always: Sequence[str], asked: Sequence[str]) -> _Part:
        """What a context leaves, as far as some axes are concerned."""
        endpoints = -1
        for name, mask in self._generation.always_on(ctx):
            if _ALWAYS.get(name, "") in always:
                endpoints &= mask
        rules = 0
        for number, rule in enumerate(self._rules):
            pairs = zip(rule.conditions, rule.when, strict=True)
            if all(holds(ctx) for condition, holds in pairs if _axis_of(condition) in asked):
                rules |= 1 << number
        return _Part(endpoints, rules)

    def _axes_of_rules(self) -> set[str]:
        return {_axis_of(each) for rule in self._rules for each in rule.conditions}


def _axis_of(condition: Condition) -> str:
    if condition.fact == "workload":
        return f"workload.{condition.key}"
    return "label" if condition.fact == "sensitivity" else condition.fact
