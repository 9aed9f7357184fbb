"""Owns: routes of inference.local as blocks of text. No I/O, no rich, no click."""

from collections.abc import Iterator, Mapping
from typing import Final

from netmgr_cli.render import Block, Fields, Grid, Json, Text, Title, cell, moment, printable

# What a person looks for in a route, in that order; what is not named here follows.
_ROUTE_HEAD: Final = ("model", "aliases", "provider", "health", "type", "base_url", "protocols")


def inference(answer: Json) -> list[Block]:
    """Routes of inference.local, one after the other: URLs are long."""
    blocks = [block for route in answer["routes"] for block in route_blocks(route)]
    blocks = blocks or [Text("inference.local is not configured")]
    if standbys := answer.get("standby"):
        rows = tuple(
            (cell(s["provider"]), "healthy" if s["healthy"] else "not healthy", moment(s["since"]))
            for s in standbys
        )
        blocks += [Title("local stand-ins"), Grid(("PROVIDER", "STATE", "SINCE"), rows)]
    return blocks


def route_blocks(route: Json) -> list[Block]:
    """One route, and what its verification found where it was just verified."""
    scope = route.get("scope")
    where = "every sandbox" if scope in (None, "all") else f"sandbox {cell(scope)}"
    if scope is not None and "=" in str(scope):
        where = f"label {cell(scope)}"
    pairs = tuple(_route_pair(name, route[name]) for name in _told_of(route))
    pairs += tuple((name, cell(value)) for name, value in _unusual(route.get("rules") or {}))
    blocks: list[Block] = [Title(f"inference.local ({where})"), Fields(pairs)]
    if urls := route.get("urls"):
        rows = tuple((cell(item.get("request")), cell(item.get("url"))) for item in urls)
        blocks += [Title("where requests go"), Grid(("REQUEST", "URL"), rows)]
    if validated := route.get("validated"):
        rows = tuple((cell(item.get("protocol")), cell(item.get("url"))) for item in validated)
        blocks += [Title("verified just now"), Grid(("PROTOCOL", "URL"), rows)]
    if inside := route.get("inside"):
        pairs = tuple((key, cell(value)) for key, value in inside.items())
        blocks += [Title("called from inside the sandbox"), Fields(pairs)]
    return blocks


def _told_of(route: Json) -> Iterator[str]:
    """The names of a route's lines, in order; what is told elsewhere and what is empty has none."""
    hidden = {"scope", "validated", "inside", "urls", "rules"}
    if not route.get("aliases"):
        hidden.add("aliases")
    yield from (name for name in _ROUTE_HEAD if name in route and name not in hidden)
    yield from (name for name in route if name not in _ROUTE_HEAD and name not in hidden)


def _unusual(rules: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Rules of a route that are not as they are without a word of the operator's."""
    for name, value in rules.items():
        if value and value != "override":
            yield name.removesuffix("_s").replace("_", " "), value


def _route_pair(name: str, value: object) -> tuple[str, str]:
    match name, value:
        case "health", {"verified": verified, "at": at}:
            return "verified", moment(at) if verified else "no: `netmgr inference test` does it"
        case (("timeout_s" | "total_timeout_s"), int() | float() | None):
            return name.removesuffix("_s").replace(
                "_", " "
            ), f"{cell(value)} s" if value else "none"
    return printable(name.replace("_", " ")), cell(value)
