"""Owns: `netmgr policy ...`. `validate` and `explain --policy` work without a daemon."""

import difflib
from typing import TYPE_CHECKING, Any, Final

import click

from netmgr.errors import BadInput
from netmgr_cli import render, screen
from netmgr_cli.options import Format, Session, need_root, read_policy, shows, speaks

if TYPE_CHECKING:
    from netmgr.client import Client

DENIED: Final = 6
INVALID: Final = 2

# Flags of `update` in the order in which they are applied: what goes, goes first.
OPERATIONS: Final = (
    ("--rule-name", "NAME", "Work on this entry of the policy."),
    ("--binary", "PATH", "Added endpoints are for this program."),
    ("--remove-rule", "NAME", "Remove a whole entry."),
    ("--remove-endpoint", "HOST:PORT", "Allow it no longer."),
    (
        "--add-endpoint",
        "HOST:PORT[:ACCESS[:PROTOCOL[:ENFORCEMENT]]]",
        "Allow it; ACCESS is read-only, read-write or full.",
    ),
    ("--add-allow", "HOST:PORT:METHOD:PATH", "Allow a method and path of a rest endpoint."),
    ("--add-deny", "HOST:PORT:METHOD:PATH", "Deny a method and path of a rest endpoint."),
)


@click.group()
def policy() -> None:
    """Set, change, compare and explain network policies.

    NAME is a sandbox; --global stands for the policy over all of them.

    \b
    Examples:
      netmgr policy set demo policy.yaml
      netmgr policy explain demo https://api.example.com/v1/items
    """


def _everywhere(command: Any) -> Any:
    return click.option(
        "--global", "everywhere", is_flag=True, help="The policy over all sandboxes."
    )(command)


def _writes(command: Any) -> Any:
    for option in (
        click.option("--dry-run", is_flag=True, help="Judge everything, change nothing."),
        click.option(
            "--if-revision", type=int, metavar="N", help="Only where N is in force (else 4)."
        ),
        _everywhere,
    ):
        command = option(command)
    return command


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


def _revision(word: str) -> int:
    if not (word.isascii() and word.isdecimal()):
        raise BadInput(f"revision {word!r}: expected a number (see `netmgr policy history`)")
    return int(word)


def _warn(answer: Any) -> None:
    for warning in answer.get("warnings") or ():
        screen.note(f"warning: {warning}")


@policy.command(name="set")
@click.argument("words", nargs=-1, metavar="NAME FILE")
@_writes
@shows
@speaks
def set_(
    session: Session,
    words: tuple[str, ...],
    everywhere: bool,
    if_revision: int | None,
    dry_run: bool,
    output: Format,
) -> None:
    """Replace the policy of NAME with FILE ('-' is stdin). In force when the command returns.

    \b
    Examples:
      netmgr policy set demo policy.yaml
      netmgr policy set demo policy.yaml --if-revision 3 --dry-run
      netmgr policy set --global baseline.yaml
    """
    from netmgr import calls

    scope, (path,) = split_scope(words, everywhere, ("FILE",))
    need_root("policy set")
    call = calls.policy_set(scope, read_policy(path), if_revision=if_revision, dry_run=dry_run)
    with session.client() as client:
        answer = client.send(call)
    _warn(answer)
    screen.show(answer, render.policy_change(answer, dry_run=dry_run), output)


@policy.command()
@click.argument("words", nargs=-1, metavar="NAME")
@click.option("--revision", type=int, metavar="N", help="This one, not the one in force.")
@_everywhere
@shows
@speaks
def get(
    session: Session,
    words: tuple[str, ...],
    revision: int | None,
    everywhere: bool,
    output: Format,
) -> None:
    """Print the policy of NAME as a file that `policy set` takes again.

    \b
    Examples:
      netmgr policy get demo > policy.yaml
      netmgr policy get demo --revision 2 -o json
    """
    from netmgr import calls

    scope, _ = split_scope(words, everywhere, ())
    with session.client() as client:
        answer = client.send(calls.policy_get(scope, revision=revision))
    if output is Format.TABLE:
        screen.note(f"# revision {answer['revision']}, from {answer['source']}")
        click.echo(answer["text"], nl=not answer["text"].endswith("\n"))
    else:
        screen.show(answer, (), output)


def _operation_flags(command: Any) -> Any:
    for flag, form, text in reversed(OPERATIONS):
        command = click.option(flag, metavar=form, multiple=True, help=text)(command)
    return command


@policy.command()
@click.argument("words", nargs=-1, metavar="NAME")
@_operation_flags
@_writes
@shows
@speaks
def update(
    session: Session,
    words: tuple[str, ...],
    everywhere: bool,
    if_revision: int | None,
    dry_run: bool,
    output: Format,
    **given: tuple[str, ...],
) -> None:
    """Change parts of the policy of NAME: all flags are one batch and one revision, or nothing.

    \b
    Examples:
      netmgr policy update demo --add-endpoint api.example.com:443:read-only
      netmgr policy update demo --add-allow api.example.com:443:POST:/v1/items/*
      netmgr policy update demo --remove-endpoint old.example.com:443 --dry-run
    """
    from netmgr import calls

    scope, _ = split_scope(words, everywhere, ())
    operations = [
        {"op": flag.removeprefix("--"), "value": value}
        for flag, _, _ in OPERATIONS
        for value in given[flag.removeprefix("--").replace("-", "_")]
    ]
    if not operations:
        raise BadInput("nothing to change: give --add-endpoint or another flag (--help)")
    need_root("policy update")
    call = calls.policy_update(scope, operations, if_revision=if_revision, dry_run=dry_run)
    with session.client() as client:
        answer = client.send(call)
    _warn(answer)
    screen.show(answer, render.policy_change(answer, dry_run=dry_run), output)


@policy.command()
@click.argument("words", nargs=-1, metavar="NAME")
@_everywhere
@shows
@speaks
def history(session: Session, words: tuple[str, ...], everywhere: bool, output: Format) -> None:
    """List the revisions of the policy of NAME, newest first.

    \b
    Example:
      netmgr policy history demo
    """
    from netmgr import calls

    scope, _ = split_scope(words, everywhere, ())
    with session.client() as client:
        answer = client.send(calls.policy_history(scope))
    screen.show(answer, render.policy_history(answer), output)


@policy.command()
@click.argument("words", nargs=-1, metavar="NAME REV [REV]")
@_everywhere
@speaks
def diff(session: Session, words: tuple[str, ...], everywhere: bool) -> int:
    """Compare a revision of NAME's policy with another, or with the one in force.

    Status 1 where they differ, as diff(1) has it.

    \b
    Examples:
      netmgr policy diff demo 2
      netmgr policy diff demo 2 3
    """
    scope, revisions = split_scope(words, everywhere, ("REV", "REV"), optional=1)
    with session.client() as client:
        old = _fetch(client, scope, _revision(revisions[0]))
        new = _fetch(client, scope, _revision(revisions[1]) if len(revisions) > 1 else None)
    lines = list(
        difflib.unified_diff(
            old["text"].splitlines(),
            new["text"].splitlines(),
            f"revision {old['revision']}",
            f"revision {new['revision']}",
            lineterm="",
        )
    )
    for line in lines:
        click.echo(line)
    return 1 if lines else 0


def _fetch(client: "Client", scope: str | None, revision: int | None) -> Any:
    from netmgr import calls

    return client.send(calls.policy_get(scope, revision=revision))


@policy.command()
@click.argument("words", nargs=-1, metavar="NAME REV")
@click.option("--if-revision", type=int, metavar="N", help="Only where N is in force (else 4).")
@_everywhere
@shows
@speaks
def rollback(
    session: Session,
    words: tuple[str, ...],
    if_revision: int | None,
    everywhere: bool,
    output: Format,
) -> None:
    """Put the text of an earlier revision in force again, as a new revision.

    \b
    Example:
      netmgr policy rollback demo 2
    """
    from netmgr import calls

    scope, (revision,) = split_scope(words, everywhere, ("REV",))
    call = calls.policy_rollback(scope, _revision(revision), if_revision=if_revision)
    need_root("policy rollback")
    with session.client() as client:
        answer = client.send(call)
    screen.show(answer, render.policy_change(answer, dry_run=False), output)


@policy.command()
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
        "warnings": list(parsed.warnings),
    }


def _say(report: dict[str, Any]) -> None:
    for warning in report["warnings"]:
        screen.note(f"{report['file']}: warning: {warning}")
    for problem in report["problems"]:
        screen.note(problem)
    if report["ok"]:
        click.echo(f"{report['file']}: valid")


@policy.command()
@click.argument("words", nargs=-1, metavar="[NAME] TARGET")
@click.option("--policy", "path", metavar="FILE", help="Ask this file, without a daemon.")
@click.option("--method", metavar="M", help="HTTP method.  [default: GET]")
@shows
@speaks
def explain(
    session: Session, words: tuple[str, ...], path: str | None, method: str | None, output: Format
) -> int:
    """Say what would become of TARGET in the sandbox NAME, and why; status 6 where it is denied.

    TARGET is https://host/path or host:port. The object that enforces is the one that answers.

    \b
    Examples:
      netmgr policy explain demo https://api.example.com/v1/items --method POST
      netmgr policy explain --policy policy.yaml db.example.com:5432
    """
    if path is not None:
        _, (target,) = split_scope(words, True, ("TARGET",))
        answer = _explain_file(path, target, method or "GET")
    else:
        name, (target,) = split_scope(words, False, ("TARGET",))
        answer = _explain_live(session, name or "", target, method)
    screen.show(answer, render.explanation(answer, target), output)
    return DENIED if answer["verdict"] == "denied" else 0


def _explain_live(session: Session, name: str, target: str, method: str | None) -> Any:
    from netmgr import calls

    with session.client() as client:
        return client.send(calls.explain(name, target, method=method))


def _explain_file(path: str, target: str, method: str) -> Any:
    from netmgr.policy.explain import explain as ask
    from netmgr.policy.policy import parse_policy

    found = read_policy(path)
    return ask(parse_policy(found["text"], found["source"]), target, method).to_doc(None)
