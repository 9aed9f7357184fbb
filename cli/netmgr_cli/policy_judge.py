"""Owns: `netmgr policy validate`, `test` and `explain`. Files are asked without a daemon."""

import time
from typing import Any, Final

import click

from netmgr.errors import BadInput
from netmgr_cli import render, screen
from netmgr_cli.options import Format, Session, read_policy, shows, speaks

FAILED: Final = 1
DENIED: Final = 6
INVALID: Final = 2


def split_scope(
    words: tuple[str, ...], everywhere: bool, rest: tuple[str, ...], optional: int = 0
) -> tuple[str | None, tuple[str, ...]]:
    """A sandbox's name (None with --global) and the further words.

    Args:
        rest: what the further words are called.
        optional: how many of the last ones may be missing.

    Raises:
        BadInput: too few or too many words.
    """
    wanted = rest if everywhere else ("NAME", *rest)
    if not len(wanted) - optional <= len(words) <= len(wanted):
        form = " ".join(wanted) or "no further word"
        given = " ".join(words) or "nothing"
        scope = "--global " if everywhere else ""
        raise BadInput(f"expected {scope}{form}, given {given!r}")
    return (None, words) if everywhere else (words[0], words[1:])


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@shows
def validate(files: tuple[str, ...], output: Format) -> int:
    """Judge policy files without a daemon; status 2 where one is not valid.

    Every problem is told, as file:line: key: what was expected.

    \b
    Examples:
      netmgr policy validate policy.yaml
      netmgr policy validate policies/*.yaml -o json
    """
    reports = [_judge(path) for path in files]
    if output is Format.TABLE:
        for report in reports:
            _say(report)
    else:
        screen.show({"files": reports}, (), output)
    return 0 if all(report["ok"] for report in reports) else INVALID


def _judge(path: str) -> dict[str, Any]:
    from netmgr.policy.expiry import lapsed_warnings
    from netmgr.policy.policy import parse_policy

    try:
        found = read_policy(path)
        parsed = parse_policy(found["text"], found["source"])
    except BadInput as error:
        problems = error.message.splitlines()
        return {"file": path, "ok": False, "digest": None, "problems": problems, "warnings": []}
    return {
        "file": path,
        "ok": True,
        "digest": parsed.digest,
        "problems": [],
        "warnings": [*parsed.warnings, *lapsed_warnings(parsed.entries, time.time())],
    }


def _say(report: dict[str, Any]) -> None:
    for warning in report["warnings"]:
        screen.note(f"{report['file']}: warning: {warning}")
    for problem in report["problems"]:
        screen.note(problem)
    if report["ok"]:
        click.echo(f"{report['file']}: valid")


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@shows
def test(files: tuple[str, ...], output: Format) -> int:
    """Run the tests that policy files carry; status 1 where one fails.

    A file with a failing test is not loaded by `policy set` either.

    \b
    Example:
      netmgr policy test policy.yaml
    """
    answer = {"files": [_run_tests(path) for path in files]}
    screen.show(answer, render.policy_tests(answer), output)
    return 0 if all(report["ok"] for report in answer["files"]) else FAILED


def _run_tests(path: str) -> dict[str, Any]:
    from netmgr.policy.cases import run_cases
    from netmgr.policy.policy import Policy
    from netmgr.policy.schema import read_text

    found = read_policy(path)
    outcomes = run_cases(Policy(read_text(found["text"], found["source"])))
    return {
        "file": path,
        "ok": all(outcome.passed for outcome in outcomes),
        "tests": [outcome.to_doc() for outcome in outcomes],
    }


@click.command()
@click.argument("words", nargs=-1, metavar="[NAME] TARGET")
@click.option("--policy", "path", metavar="FILE", help="Ask this file, without a daemon.")
@click.option("--method", metavar="M", help="HTTP method.  [default: GET]")
@click.option(
    "--binary",
    "binaries",
    multiple=True,
    metavar="PATH",
    help="The program that connects, then its ancestors.  [default: whatever may]",
)
@click.option(
    "--operation", metavar="OP", help="What it asks for inside: GraphQL, JSON-RPC or MCP."
)
@shows
@speaks
def explain(
    session: Session,
    words: tuple[str, ...],
    path: str | None,
    output: Format,
    **asked: Any,
) -> int:
    """Say what would become of TARGET in the sandbox NAME, and why; status 6 where it is denied.

    TARGET is https://host/path or host:port. The object that enforces is the one that answers.

    \b
    Examples:
      netmgr policy explain demo https://api.example.com/v1/items --method POST
      netmgr policy explain demo https://api.example.com/ --binary /usr/bin/curl
      netmgr policy explain --policy policy.yaml db.example.com:5432
      netmgr policy explain demo https://api.test/gql --operation 'query { a }'
      netmgr policy explain demo https://mcp.test --operation 'tools/call read'
    """
    if path is not None:
        _, (target,) = split_scope(words, True, ("TARGET",))
        answer = _explain_file(path, target, asked)
    else:
        name, (target,) = split_scope(words, False, ("TARGET",))
        answer = _explain_live(session, name or "", target, asked)
    screen.show(answer, render.explanation(answer, target), output)
    return DENIED if answer["verdict"] == "denied" else 0


def _explain_live(session: Session, name: str, target: str, asked: dict[str, Any]) -> Any:
    from netmgr import calls

    with session.client() as client:
        return client.send(calls.explain(name, target, **asked))


def _explain_file(path: str, target: str, asked: dict[str, Any]) -> Any:
    from netmgr.guard import Surroundings
    from netmgr.policy.explain import explain as ask
    from netmgr.policy.policy import parse_policy
    from netmgr.settings.table import Settings

    found = read_policy(path)
    policy = parse_policy(found["text"], found["source"])
    # No daemon is asked, so its settings are those that every daemon begins with.
    around = Surroundings(control_plane_ports=frozenset(Settings().control_plane_ports))
    answer = ask(policy, target, **asked, around=around).to_doc(None)
    if str(answer.get("remedy") or "").startswith("--"):  # flags alone: no sandbox was named
        answer["remedy"] = f"netmgr policy update NAME {answer['remedy']}"
    return answer
