"""Owns: `netmgr policy ...`: what changes and what shows policies. policy_judge.py asks them."""

import time
from typing import TYPE_CHECKING, Any, Final

import click

from netmgr.errors import BadInput
from netmgr_cli import render, screen
from netmgr_cli.observe import parse_since
from netmgr_cli.options import Format, Session, need_root, read_policy, shows, speaks
from netmgr_cli.policy_judge import explain, split_scope, test, validate

if TYPE_CHECKING:
    from netmgr.client import Client

# Flags of `update` in the order in which they are applied: what goes, goes first.
OPERATIONS: Final = (
    ("--rule-name", "NAME", "Work on this entry of the policy."),
    ("--binary", "PATH", "Added endpoints are for this program."),
    ("--expires", "WHEN", "What is added or named ends then: a date, a time, or 'never'."),
    ("--remove-rule", "NAME", "Remove a whole entry."),
    ("--remove-binary", "PATH", "This program may use the entries no longer."),
    ("--remove-endpoint", "HOST:PORT[/PATH]", "Allow it no longer."),
    (
        "--add-endpoint",
        "HOST:PORT[/PATH][:ACCESS[:PROTOCOL[:ENFORCEMENT[:OPTIONS]]]]",
        "Allow it, or a path; ACCESS is read-only, read-write or full.",
    ),
    ("--add-allow", "HOST:PORT:METHOD:PATH", "Allow a method and path of a rest endpoint."),
    ("--add-deny", "HOST:PORT:METHOD:PATH", "Deny a method and path of a rest endpoint."),
    (
        "--allow-operation",
        "HOST:PORT[/PATH]:OPERATION",
        "Allow an operation, method or tool inside of requests.",
    ),
    ("--deny-operation", "HOST:PORT[/PATH]:OPERATION", "Deny one."),
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


policy.add_command(validate)
policy.add_command(explain)
policy.add_command(test)


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


def _revision(word: str) -> int:
    if not (word.isascii() and word.isdecimal()):
        raise BadInput(f"revision {word!r}: expected a number (see `netmgr policy history`)")
    return int(word)


def _warn(answer: Any) -> None:
    for warning in (*(answer.get("warnings") or ()), *(answer.get("notes") or ())):
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
      netmgr policy update demo --allow-operation 'm.example:443:tools/call *'
      netmgr policy update demo --add-endpoint b.example:443 --expires 2030-12-31
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
@click.argument("name")
@click.option("--since", metavar="T", help="From then on: 90s, 15m, 2h, 3d ago, or RFC 3339.")
@shows
@speaks
def propose(session: Session, name: str, since: str | None, output: Format) -> None:
    """Propose the smallest rules that would have allowed what was denied or audited in NAME.

    Each with how often it was wanted, when, and by which programs; as lines to apply, and with
    -o yaml as entries for a file too. Metadata services, internal and local addresses are never
    among them.

    \b
    Examples:
      netmgr policy propose demo --since 2h
      netmgr policy propose demo -o json | jq -r .proposals[].command
    """
    from netmgr import calls

    moment = parse_since(since, time.time()) if since else None
    with session.client() as client:
        answer = client.send(calls.policy_propose(name, since=moment))
    screen.show(answer, render.policy_proposals(answer), output)


@policy.command()
@click.argument("words", nargs=-1, metavar="NAME REV [REV]")
@_everywhere
@shows
@speaks
def diff(session: Session, words: tuple[str, ...], everywhere: bool, output: Format) -> None:
    """Compare a revision of NAME's policy with another, or with the one in force.

    \b
    Examples:
      netmgr policy diff demo 2
      netmgr policy diff demo 2 3
    """
    scope, revisions = split_scope(words, everywhere, ("REV", "REV"), optional=1)
    with session.client() as client:
        old = _fetch(client, scope, _revision(revisions[0]))
        new = _fetch(client, scope, _revision(revisions[1]) if len(revisions) > 1 else None)
    lines = _difference(old, new)
    document = {"from": old["revision"], "to": new["revision"], "lines": lines}
    screen.show(document, [render.Text(render.printable(line)) for line in lines], output)


def _difference(old: Any, new: Any) -> list[str]:
    """What decides otherwise; comments and the order of keys do not."""
    from netmgr.policy.difference import difference
    from netmgr.policy.policy import Policy
    from netmgr.policy.schema import read_text

    names = [f"revision {each['revision']}" for each in (old, new)]
    before, after = (
        Policy(read_text(old["text"], names[0])),
        Policy(read_text(new["text"], names[1])),
    )
    return difference(before, after, *names)


def _fetch(client: "Client", scope: str | None, revision: int | None) -> Any:
    from netmgr import calls

    return client.send(calls.policy_get(scope, revision=revision))


@policy.command()
@click.argument("words", nargs=-1, metavar="NAME REV")
@_writes
@shows
@speaks
def rollback(
    session: Session,
    words: tuple[str, ...],
    everywhere: bool,
    if_revision: int | None,
    dry_run: bool,
    output: Format,
) -> None:
    """Put the text of an earlier revision in force again, as a new revision.

    \b
    Example:
      netmgr policy rollback demo 2
    """
    from netmgr import calls

    scope, (revision,) = split_scope(words, everywhere, ("REV",))
    call = calls.policy_rollback(
        scope, _revision(revision), if_revision=if_revision, dry_run=dry_run
    )
    need_root("policy rollback")
    with session.client() as client:
        answer = client.send(call)
    _warn(answer)
    screen.show(answer, render.policy_change(answer, dry_run=dry_run), output)


@policy.command()
@_everywhere
@click.option("--if-revision", type=int, metavar="N", help="Only where N is in force (else 4).")
@speaks
def delete(session: Session, everywhere: bool, if_revision: int | None) -> None:
    """Take the global policy away: every sandbox's own is in force again.

    A sandbox always has a policy; one that is empty denies everything.

    \b
    Example:
      netmgr policy delete --global
    """
    from netmgr import calls

    if not everywhere:
        raise BadInput("only the policy over all sandboxes can be deleted: give --global")
    need_root("policy delete")
    with session.client() as client:
        answer = client.send(calls.policy_delete_global(if_revision=if_revision))
    screen.note("deleted" if answer.get("deleted", True) else "nothing was set")
