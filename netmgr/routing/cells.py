"""Owns: the kinds of requests that a file can tell apart: every cell of its matrix.

A cell is a request for each combination of what the file's conditions mention, and of what they do
not (`other`). Two files are compared over the words of both. Knows nothing of decisions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from netmgr.routing.contract import DEFAULT_ROUTE, RouteContext
from netmgr.routing.language import Condition, RoutingFile

MAX_CELLS: Final = 10_000  # a fifth of a second of deciding, and more nobody reads
OTHER: Final = "(other)"  # no tenant, label or sandbox is called so: conditions name none such
REQUEST_NEEDS: Final = ("tools", "vision", "audio", "json_schema")
_DEFAULT_PROTOCOL: Final = "openai_chat_completions"


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing in which requests differ.

    Attributes:
        name: as the file calls it (`tenant`, `workload.tier`, ...).
        values: what is told apart, as people read it -> the value.
    """

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of request: axis -> value as people read it, and the context of such a request."""

    place: Mapping[str, str]
    context: RouteContext

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.place.items())


@dataclass(slots=True)
class _Words:
    """What conditions mention."""

    values: dict[str, set[str]] = field(default_factory=dict)
    labels: dict[str, set[str]] = field(default_factory=dict)
    steps: set[int] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)

    def take(self, conditions: Iterable[Condition]) -> None:
        for each in conditions:
            self.asked.add(each.fact)
            if each.fact == "workload":
                self.labels.setdefault(each.key, set()).update(each.values)
            elif each.fact == "tokens":
                self.steps.update(each.values)
            elif each.kind != "is":
                self.values.setdefault(each.fact, set()).update(each.values)


def axes(*files: RoutingFile) -> tuple[Axis, ...]:
    """In what requests differ, as far as these files can tell. The most telling first."""
    words = _Words()
    for file in files:
        for rule in file.rules:
            words.take(rule.when)
    first = files[0]
    found = [Axis("label", {label: label for label in first.sensitivity.order})]
    found += [_axis(fact, words.values.get(fact, ())) for fact in ("tenant", "sandbox")]
    found += [_axis(f"workload.{key}", words.labels[key]) for key in sorted(words.labels)]
    flags = sorted(
        {
            p.name
            for f in files
            for s in f.stages
            for p in s.promotions
            if p.type == "bool" and p.name in words.asked
        }
    )
    found += [Axis(flag, {"off": False, "on": True}) for flag in flags]
    found.append(_needs(files))
    found.append(_routes(files))
    found.append(_axis("protocol", words.values.get("protocol", ())))
    if "stream" in words.asked:
        found.append(Axis("stream", {"no": False, "yes": True}))
    found += [_members(name, words.values[name]) for name in _sets(files) if name in words.values]
    found.append(_steps(files, words.steps))
    return tuple(axis for axis in found if len(axis.values) > 1)


def cells(file: RoutingFile, over: Sequence[Axis]) -> Iterator[Cell]:
    """Every combination, as a request to that file. Of too many the last axes are left out."""
    base = base_of(file)
    return (cell_at(base, place) for place in places(over))


def places(over: Sequence[Axis]) -> Iterator[tuple[tuple[str, str, Any], ...]]:
    """Every combination: of each axis its name, and one value as people read it and as it is."""
    values = [[(axis.name, *item) for item in axis.values.items()] for axis in kept_of(over)]
    return product(*values)


def cell_at(base: RouteContext, place: Sequence[tuple[str, str, Any]]) -> Cell:
    """One combination as a request."""
    context = base
    for name, _, value in place:
        context = with_value(context, name, value)
    return Cell({name: text for name, text, _ in place}, context)


def left_out(over: Sequence[Axis]) -> tuple[str, ...]:
    """The axes that would make too many cells."""
    return tuple(axis.name for axis in over[len(kept_of(over)) :])


def kept_of(over: Sequence[Axis]) -> tuple[Axis, ...]:
    """The axes that do not make too many cells."""
    size, kept = 1, list[Axis]()
    for axis in over:
        size *= len(axis.values)
        if size > MAX_CELLS:
            break
        kept.append(axis)
    return tuple(kept)


def base_of(file: RoutingFile) -> RouteContext:
    """A request that no axis has touched."""
    return RouteContext(
        request_id="",
        sandbox_id=OTHER,
        tenant=OTHER,
        workload={},
        protocol=_DEFAULT_PROTOCOL,
        route=DEFAULT_ROUTE,
        stream=False,
        needs=frozenset(),
        tokens_in=0,
        tokens_out_max=0,
        label=file.sensitivity.order[0],
    )


def with_value(context: RouteContext, axis: str, value: Any) -> RouteContext:
    """The same request with that value on that axis."""
    match axis:
        case "label" | "tenant" | "route" | "protocol" | "stream" | "needs":
            return context._replace(**{axis: value})
        case "sandbox":
            return context._replace(sandbox_id=value)
        case "tokens":
            return context._replace(tokens_in=value)
    if axis.startswith("workload."):
        key = axis.removeprefix("workload.")
        return context._replace(workload={**context.workload, key: value})
    if isinstance(value, bool):
        return context._replace(flags=context.flags | {axis}) if value else context
    return context._replace(sets={**context.sets, axis: value})


def _axis(name: str, values: Iterable[str]) -> Axis:
    return Axis(name, {value: value for value in (*sorted(values), OTHER)})


def _needs(files: Sequence[RoutingFile]) -> Axis:
    """What a request may need: nothing, each alone, and all that some endpoint can do together."""
    able = {c for file in files for each in file.endpoints for c in each.facts.capabilities}
    needs = [need for need in REQUEST_NEEDS if need in able]
    values = {"-": frozenset[str]()} | {need: frozenset((need,)) for need in needs}
    return Axis("needs", values)


def _routes(files: Sequence[RoutingFile]) -> Axis:
    shared = set(files[0].routes).intersection(*(file.routes for file in files[1:]))
    return Axis("route", {name: name for name in sorted(shared, key=lambda n: (n != "default", n))})


def _sets(files: Sequence[RoutingFile]) -> list[str]:
    return sorted(
        {p.name for f in files for s in f.stages for p in s.promotions if p.type == "set"}
    )


def _members(name: str, values: Iterable[str]) -> Axis:
    """A promoted set: empty, each member alone, and all of them."""
    found = {"-": frozenset[str]()} | {value: frozenset((value,)) for value in sorted(values)}
    return Axis(name, found | {"all": frozenset(values)})


def _steps(files: Sequence[RoutingFile], asked: Iterable[int]) -> Axis:
    windows = {each.facts.context + 1 for f in files for each in f.endpoints if each.facts.context}
    return Axis("tokens", {str(step): step for step in (0, *sorted(windows | set(asked)))})
