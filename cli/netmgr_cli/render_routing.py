"""Owns: routing answers as blocks of text. No I/O, no rich, no click."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from netmgr_cli.render import NOTHING, Block, Fields, Grid, Json, Text, Title, cell, moment

MAX_ROWS: Final = 200  # of a matrix on a terminal; -o json has all


def change(answer: Json) -> list[Block]:
    """What setting a file did, or would do."""
    if answer["dry_run"]:
        what = "would change" if answer["changed"] else "would change nothing"
        blocks: list[Block] = [Text(f"{what}; {answer['tests']} tests passed")]
        return blocks + widened(answer["widened"])
    where = "on trial (mode: shadow)" if answer["mode"] == "shadow" else "in force"
    new = "" if answer["changed"] else ", unchanged"
    return [Text(f"routing revision {answer['revision']} {where}{new}")]


def history(answer: Json) -> list[Block]:
    """Every kept revision."""
    rows = tuple(
        (
            cell(each["revision"]),
            cell(each["state"]),
            moment(each["created"]),
            cell(each["digest"][:12]),
            cell(each["source"]),
        )
        for each in answer["revisions"]
    )
    return [Grid(("REVISION", "STATE", "CREATED", "DIGEST", "SOURCE"), rows, "no routing file")]


def check(answer: Json) -> list[Block]:
    """The judgement of a file: its tests."""
    rows = tuple(
        ("pass" if not test["differences"] else "FAIL", cell(test["name"]))
        for test in answer["tests"]
    )
    blocks: list[Block] = [Grid(("RESULT", "TEST"), rows, "the file has no tests")]
    blocks += [
        Text(f"{test['name']}: {difference}")
        for test in answer["tests"]
        for difference in test["differences"]
    ]
    return blocks


def matrix(answer: Json) -> list[Block]:
    """Which endpoints each kind of request may go to; empty cells stand out."""
    axes = answer["axes"]
    rows = tuple(
        (*(cell(each["place"][axis]) for axis in axes), _endpoints(each["permitted"]))
        for each in answer["cells"][:MAX_ROWS]
    )
    columns = (*(axis.upper() for axis in axes), "PERMITTED, IN ORDER")
    blocks: list[Block] = [Grid(columns, rows)]
    if len(answer["cells"]) > MAX_ROWS:
        blocks.append(Text(f"... {len(answer['cells']) - MAX_ROWS} more: -o json"))
    blocks.append(Text(f"{len(answer['cells'])} cells, {answer['empty']} of them denied"))
    return blocks


def _endpoints(ids: Iterable[str]) -> str:
    return ", ".join(ids) or "DENIED"


def diff(answer: Json) -> list[Block]:
    """Cells that differ between two files."""
    rows = tuple(
        (
            cell(each["cell"]),
            " ".join([*(f"+{x}" for x in each["added"]), *(f"-{x}" for x in each["removed"])]),
        )
        for each in answer["differences"][:MAX_ROWS]
    )
    blocks: list[Block] = [Grid(("REQUESTS", "CHANGE"), rows, "no difference")]
    if len(answer["differences"]) > MAX_ROWS:
        blocks.append(Text(f"... {len(answer['differences']) - MAX_ROWS} more: -o json"))
    blocks.append(Text(f"widened in {answer['widened']} cells"))
    return blocks


def widened(cells: Iterable[Mapping[str, Any]]) -> list[Block]:
    """Cells in which more is permitted."""
    found = list(cells)
    if not found:
        return []
    rows = tuple((cell(each["cell"]), cell(each["added"])) for each in found[:MAX_ROWS])
    blocks: list[Block] = [Title("permits more than the file in force")]
    blocks.append(Grid(("REQUESTS", "ADDED"), rows))
    if len(found) > MAX_ROWS:
        blocks.append(Text(f"... {len(found) - MAX_ROWS} more: -o json"))
    return blocks


def explanation(answer: Json) -> list[Block]:
    """A decision, endpoint by endpoint."""
    pairs = [
        ("verdict", cell(answer["verdict"])),
        ("reason", cell(answer["reason"])),
        ("label", cell(answer["label"])),
        ("route", cell(answer["route"])),
        ("generation", cell(answer["generation"])),
    ]
    for name in ("unscanned", "flags", "sets", "findings"):
        if answer.get(name):
            pairs.append((name, cell(answer[name])))
    rows = tuple(
        (
            cell(each["place"]),
            cell(each["endpoint"]),
            cell(each["model"]),
            cell(each["rule"]) if not each["permitted"] else NOTHING,
            "yes" if each["available"] else "no",
        )
        for each in answer["candidates"]
    )
    columns = ("TRY", "ENDPOINT", "MODEL", "REMOVED BY", "AVAILABLE")
    return [Fields(tuple(pairs)), Grid(columns, rows)]


def why(answer: Json) -> list[Block]:
    """The story of one request."""
    call = answer["inference"]
    pairs = [
        ("request", cell(answer["request_id"])),
        ("time", cell(answer["time"])),
        ("sandbox", cell(answer["sandbox"])),
        ("tenant", cell(answer["tenant"])),
        ("verdict", cell(answer["verdict"])),
        ("reason", cell(answer["reason"])),
        ("message", cell(answer["message"])),
        *_counted(answer),
        ("model", cell(call.get("model"))),
        ("endpoint", cell(call.get("endpoint"))),
        ("tokens", f"{cell(call.get('tokens_in'))} in, {cell(call.get('tokens_out'))} out"),
        ("first byte", f"{cell(call.get('ttfb_ms'))} ms"),
    ]
    blocks: list[Block] = [Fields(tuple(pairs))]
    if call.get("plan") is not None:
        pairs = [(name, cell(call.get(name))) for name in ("label", "route", "generation")]
        pairs += [("permitted", _endpoints(call["plan"]))]
        pairs += [(f"not {name}", f"by {cell(rule)}") for name, rule in call["rejected"].items()]
        if call.get("unscanned"):
            pairs.append(("unscanned by", cell(call["unscanned"])))
        blocks += [Title("plan"), Fields(tuple(pairs))]
    if tried := call.get("tried"):
        rows = tuple(
            (
                cell(each.get("endpoint")),
                cell(each.get("status")),
                cell(each.get("reason") or "answered"),
                f"{cell(each.get('ms'))} ms",
                cell(each.get("cost")),
            )
            for each in tried
        )
        columns = ("ENDPOINT", "STATUS", "RESULT", "TOOK", "COST")
        blocks += [Title("attempts"), Grid(columns, rows)]
    return blocks


def _counted(answer: Json) -> list[tuple[str, str]]:
    count = answer.get("count") or 1
    return [("counted", f"one of {count} equal ones, told by their last")] if count > 1 else []


def replay(answer: Json) -> list[Block]:
    """What another file would have decided."""
    rows = tuple(
        (
            cell(each["request_id"]),
            cell(each["sandbox"]),
            cell(each["label"]),
            _endpoints(each["was"]),
            _endpoints(each["would_be"]),
        )
        for each in answer["changes"]
    )
    columns = ("REQUEST", "SANDBOX", "LABEL", "WAS", "WOULD BE")
    return [
        Text(
            f"{answer['replayed']} decisions, {answer['changed']} would change, "
            f"{answer['denied']} of them denied; {answer['skipped']} without a stored context"
        ),
        Text(f"cost of their first choices: {answer['cost_was']} -> {answer['cost_would_be']}"),
        Grid(columns, rows, "no decision would change"),
    ]


def chain(answer: Json) -> list[Block]:
    """The chain of records."""
    pairs = [("chain", "whole" if answer["ok"] else f"broken at {cell(answer['broken'])}")]
    pairs += [(name, cell(answer[name])) for name in ("records", "first", "last", "head")]
    if answer["unchained"]:
        pairs.append(("without a hash", cell(answer["unchained"])))
    return [Fields(tuple(pairs))]


def proof(answer: Json) -> list[Block]:
    """What was asked to be proven, and its exceptions."""
    whole = answer["chain"]["ok"]
    pairs = (
        ("exceptions", cell(answer["found"])),
        ("calls of that label", cell(answer["matching"])),
        ("calls in all", cell(answer["checked"])),
        ("cannot be told", cell(answer["unknown"])),
        ("chain", "whole" if whole else f"broken at {cell(answer['chain']['broken'])}"),
        ("head", cell(answer["chain"]["head"])),
    )
    rows = tuple(
        tuple(cell(each[name]) for name in ("time", "request_id", "sandbox", "label", "endpoint"))
        for each in answer["exceptions"]
    )
    blocks: list[Block] = [Fields(pairs)]
    if rows:
        blocks.append(Grid(("TIME", "REQUEST", "SANDBOX", "LABEL", "ENDPOINT"), rows))
    return blocks
