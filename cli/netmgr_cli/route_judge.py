"""Owns: `netmgr route check`, `matrix` and `explain`: files are judged without a daemon."""

from typing import TYPE_CHECKING, Any, Final

import click

from netmgr.errors import BadInput
from netmgr_cli import render_routing, screen
from netmgr_cli.options import Format, Session, parse_pairs, read_policy, read_text, shows, speaks

if TYPE_CHECKING:
    from netmgr.routing.generation import Generation
    from netmgr.routing.language import RoutingFile

FAILED: Final = 1
INVALID: Final = 2
DENIED: Final = 6
MISTYPED: Final = 0.8  # how near a router's name is to one of ours that is misspelt
OF_THE_REQUEST: Final = ("tokens", "protocol", "stream")  # told apart with --all only


def read_routing(path: str) -> "RoutingFile":
    """A routing file, read and judged by its schema.

    Raises:
        BadInput: it cannot be read, or every problem of it.
    """
    from netmgr.routing.schema import parse_routing

    found = read_policy(path)
    return parse_routing(found["text"], found["source"])


def _generation(path: str) -> "Generation":
    from netmgr.routing.generation import Generation

    return Generation(read_routing(path))


@click.command()
@click.argument("path", metavar="FILE")
@shows
def check(path: str, output: Format) -> int:
    """Judge a routing file without a daemon: 2 where it is not valid, 1 where a test fails.

    Whether its providers exist, and what a plug-in router says, is the daemon's to know:
    `netmgr route set --dry-run`.

    \b
    Example:
      netmgr route check routing.yaml
    """
    try:
        answer = _judged(path)
    except BadInput as problem:
        if output is Format.TABLE:
            raise
        problems = problem.message.splitlines()
        answer = {"file": path, "ok": False, "problems": problems, "warnings": [], "tests": []}
        screen.show(answer, (), output)
        return INVALID
    for warning in answer["warnings"]:
        screen.note(f"{path}: warning: {warning}")
    screen.show(answer, render_routing.check(answer), output)
    return 0 if answer["ok"] else FAILED


def _judged(path: str) -> dict[str, Any]:
    from difflib import get_close_matches

    from netmgr.policy.problems import PolicyError, Problem
    from netmgr.routing.cases import run_cases
    from netmgr.routing.plugins import NO_PLUGINS, judge_router
    from netmgr.routing.schema import ROUTERS
    from netmgr.routing.survey import survey

    generation = _generation(path)
    file = generation.file
    warnings = [*file.warnings, *(f"{each.key}: {each.message}" for each in survey(generation))]
    if file.router in ROUTERS:
        problems = [Problem(0, d.key, d.message) for d in judge_router(file, NO_PLUGINS)]
        if problems:
            raise PolicyError(problems, path)
    elif meant := get_close_matches(file.router, ROUTERS, n=1, cutoff=MISTYPED):
        why = f"unknown {file.router!r}; did you mean {meant[0]!r}? No plug-in is called so nearly"
        raise PolicyError([Problem(0, "router", why)], path)
    else:
        warnings.append(f"router: {file.router!r} is a plug-in; the daemon judges its config")
    tests = [
        {"name": outcome.case.name, "line": outcome.case.line, "differences": outcome.differences}
        for outcome in run_cases(generation)
    ]
    return {
        "file": path,
        "ok": not any(test["differences"] for test in tests),
        "digest": file.digest,
        "problems": [],
        "warnings": warnings,
        "tests": tests,
    }


@click.command()
@click.argument("path", required=False, metavar="[FILE]")
@click.option("--diff", "old", metavar="OLD", help="Show what FILE permits otherwise than OLD.")
@click.option(
    "--accept-widening", is_flag=True, help="With --diff: status 0 also if it permits more."
)
@click.option("--all", "every", is_flag=True, help="By size, protocol and stream, too.")
@shows
@speaks
def matrix(
    session: Session,
    path: str | None,
    old: str | None,
    accept_widening: bool,
    every: bool,
    output: Format,
) -> int:
    """Show which endpoints each kind of request may go to; FILE or the file in force.

    With --diff: status 1 where FILE permits in some cell what OLD does not, or where
    not all could be compared, unless --accept-widening.

    \b
    Examples:
      netmgr route matrix
      netmgr route matrix new.yaml --diff old.yaml
    """
    new = read_routing(path) if path is not None else _in_force(session)
    if old is None:
        answer = _cells(new, every=every)
        screen.show(answer, render_routing.matrix(answer), output)
        return 0
    from netmgr.routing.difference import differences, not_compared

    before = read_routing(old)
    found = [each.to_doc() for each in differences(before, new)]
    unseen = list(not_compared(before, new))
    wider = sum(1 for each in found if each["added"])
    answer = {"differences": found, "widened": wider, "not_compared": unseen}
    screen.show(answer, render_routing.diff(answer), output)
    if unseen:
        screen.note(f"too many kinds of requests; not compared: {', '.join(unseen)}")
    if (wider or unseen) and not accept_widening:
        what = "permits" if wider else "may permit"
        screen.note(f"it {what} more than before; --accept-widening means it")
        return FAILED
    return 0


def _in_force(session: Session) -> "RoutingFile":
    from netmgr import routing_calls
    from netmgr.routing.schema import parse_routing

    with session.client() as client:
        answer = client.send(routing_calls.routing_get())
    return parse_routing(answer["text"], answer["source"])


def _cells(file: "RoutingFile", *, every: bool) -> dict[str, Any]:
    from netmgr.routing.cells import axes, cells, left_out
    from netmgr.routing.generation import Generation

    generation = Generation(file)
    over = [axis for axis in axes(file) if every or axis.name not in OF_THE_REQUEST]
    found = [
        {
            "place": dict(each.place),
            "permitted": list(generation.decide(each.context).endpoints),
            "rejected": generation.rejected(each.context),
        }
        for each in cells(file, over)
    ]
    without = left_out(over)
    if without:
        screen.note(f"too many cells: told apart without {', '.join(without)}")
    return {
        "axes": [axis.name for axis in over if axis.name not in without],
        "cells": found,
        "empty": sum(1 for each in found if not each["permitted"]),
    }


@click.command()
@click.option("--file", "path", metavar="FILE", help="Ask this file, without a daemon.")
@click.option("--sandbox", metavar="NAME", help="A call of this sandbox: its tenant and labels.")
@click.option("--tenant", metavar="T", help="Of this tenant.")
@click.option(
    "--label", "labels", multiple=True, metavar="K=V", help="With this label.  [repeatable]"
)
@click.option("--model", metavar="NAME", help="The model that is asked for.")
@click.option("--protocol", metavar="P", help="The API.  [default: openai_chat_completions]")
@click.option("--body", metavar="FILE", help="A request's JSON: what it needs, and its size.")
@click.option(
    "--need", "needs", multiple=True, metavar="CAPABILITY", help="It needs that, too.  [repeatable]"
)
@click.option("--tokens", type=click.IntRange(min=0), metavar="N", help="Tokens of the prompt.")
@click.option("--stream", is_flag=True, help="A stream is asked for.")
@click.option(
    "--finding",
    "findings",
    multiple=True,
    metavar="TYPE[:CONFIDENCE]",
    help="A scanner found that.  [repeatable]",
)
@click.option(
    "--stage",
    "stages",
    multiple=True,
    metavar="NAME=STATUS",
    help="How a middleware stage ended: ok, failed, skipped, ...  [repeatable]",
)
@click.option("--says", multiple=True, metavar="NAME=VALUE", help="A promoted value.  [repeatable]")
@shows
@speaks
def explain(session: Session, path: str | None, output: Format, **given: Any) -> int:
    """Say where a call would go, and which rule removes each other endpoint; status 6: denied.

    The object that decides is the one that answers. A body is read here: only what it needs and
    how long it is goes to the daemon.

    \b
    Examples:
      netmgr route explain --sandbox demo --finding secret:high
      netmgr route explain --sandbox demo --body request.json
      netmgr route explain --file routing.yaml --stage privacy-guard=failed
    """
    asked = _asked(given)
    if path is not None:
        from netmgr.routing.explain import explain as ask

        answer = ask(_generation(path), asked)
    else:
        from netmgr import routing_calls

        with session.client() as client:
            answer = client.send(routing_calls.routing_explain(asked))
    screen.show(answer, render_routing.explanation(answer), output)
    return DENIED if answer["verdict"] == "denied" else 0


def _asked(given: dict[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = _request_of_body(given["body"]) if given["body"] else {}
    for name, key in (
        ("sandbox", "sandbox"),
        ("tenant", "tenant"),
        ("protocol", "protocol"),
        ("model", "model"),
        ("tokens", "tokens_in"),
    ):
        if given[name] is not None:
            request[key] = given[name]
    if given["labels"]:
        request["workload"] = parse_pairs(given["labels"], "--label")
    if given["stream"]:
        request["stream"] = True
    if given["needs"]:
        request["needs"] = sorted({*request.get("needs", ()), *given["needs"]})
    return {
        "request": request,
        "findings": list(given["findings"]),
        "stages": parse_pairs(given["stages"], "--stage"),
        "says": parse_pairs(given["says"], "--says"),
    }


def _request_of_body(path: str) -> dict[str, Any]:
    from netmgr_proxy.inference.rewrite import MalformedBody, asks_for_stream, read_call
    from netmgr_proxy.routing.facts import facts_of

    body = read_text(path, "body").encode()
    try:
        call = read_call(body)
    except MalformedBody as fault:
        raise BadInput(f"body {path}: {fault}") from fault
    facts = facts_of(call.document)
    found: dict[str, Any] = {
        "needs": sorted(facts.needs),
        "tokens_in": facts.tokens_in,
        "tokens_out_max": facts.tokens_out_max,
    }
    if call.requested_model is not None:
        found["model"] = call.requested_model
    return found | {"stream": asks_for_stream(call.document)}
