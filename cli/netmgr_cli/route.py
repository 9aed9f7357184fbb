"""Owns: `netmgr route ...`: what changes and shows the routing file; route_judge.py asks it."""

import time
from typing import Any

import click

from netmgr_cli import render_routing, screen
from netmgr_cli.observe import parse_since
from netmgr_cli.options import Format, Session, need_root, read_policy, shows, speaks
from netmgr_cli.route_judge import check, explain, matrix


@click.group()
def route() -> None:
    """Say which model endpoint may answer which call, and in which order.

    A routing file declares endpoints and rules; rules only remove, preferences only order. While
    one is in force, the routes of `netmgr inference set` wait behind it.

    \b
    Examples:
      netmgr route check routing.yaml
      netmgr route set routing.yaml
      netmgr route explain --sandbox demo --finding secret:high
    """


for command in (check, matrix, explain):
    route.add_command(command)


def _writes(command: Any) -> Any:
    for option in (
        click.option("--dry-run", is_flag=True, help="Judge everything, change nothing."),
        click.option(
            "--if-revision", type=int, metavar="N", help="Only where N is in force (else 4)."
        ),
        click.option(
            "--accept-widening", is_flag=True, help="It may permit what was not permitted."
        ),
    ):
        command = option(command)
    return command


def _show_change(answer: Any, output: Format) -> None:
    for warning in answer["warnings"]:
        screen.note(f"warning: {warning}")
    screen.show(answer, render_routing.change(answer), output)


@route.command(name="set")
@click.argument("path", metavar="FILE")
@_writes
@shows
@speaks
def set_(session: Session, path: str, output: Format, **how: Any) -> None:
    """Put FILE ('-' is stdin) in force, or on trial where it says `mode: shadow`.

    Judged whole before anything is stored: schema, its own tests, providers, and whether it
    permits what the file in force does not (then --accept-widening is needed).

    \b
    Examples:
      netmgr route set routing.yaml
      netmgr route set routing.yaml --if-revision 3 --dry-run
    """
    from netmgr import routing_calls

    need_root("route set")
    with session.client() as client:
        _show_change(client.send(routing_calls.routing_set(read_policy(path), **how)), output)


@route.command()
@click.argument("revision", type=int, metavar="REV")
@_writes
@shows
@speaks
def rollback(session: Session, revision: int, output: Format, **how: Any) -> None:
    """Make the content of revision REV the newest one.

    \b
    Example:
      netmgr route rollback 3
    """
    from netmgr import routing_calls

    need_root("route rollback")
    with session.client() as client:
        _show_change(client.send(routing_calls.routing_rollback(revision, **how)), output)


@route.command()
@click.option("--revision", type=int, metavar="N", help="This one, not the one in force.")
@shows
@speaks
def get(session: Session, revision: int | None, output: Format) -> None:
    """Print the file in force; status 3 where none is.

    \b
    Examples:
      netmgr route get > routing.yaml
      netmgr route get --revision 3
    """
    from netmgr import routing_calls

    with session.client() as client:
        answer = client.send(routing_calls.routing_get(revision))
    if why := answer.get("unreadable"):
        screen.note(f"warning: it cannot be read, and every call is refused: {why}")
    if output is Format.TABLE:
        click.echo(answer["text"], nl=not answer["text"].endswith("\n"))
        return
    screen.show(answer, (), output)


@route.command()
@shows
@speaks
def history(session: Session, output: Format) -> None:
    """List every kept revision, newest first.

    \b
    Example:
      netmgr route history
    """
    from netmgr import routing_calls

    with session.client() as client:
        answer = client.send(routing_calls.routing_history())
    screen.show(answer, render_routing.history(answer), output)


@route.command()
@click.argument("sandbox", required=False, metavar="[SANDBOX]")
@click.option("--all", "everybody", is_flag=True, help="Of all sandboxes.")
@click.pass_obj
def reset(session: Session, sandbox: str | None, everybody: bool) -> None:
    """Let the label of a sandbox's calls fall again (`affinity: ratchet`).

    \b
    Examples:
      netmgr route reset web
      netmgr route reset --all
    """
    from netmgr import routing_calls

    if (sandbox is None) != everybody:
        raise click.UsageError("give a sandbox, or --all")
    need_root("route reset")
    with session.client() as client:
        answer = client.send(routing_calls.routing_reset(sandbox))
    screen.note(f"{answer['reset']} labels may fall again")


@route.command()
@click.option("--shadow", is_flag=True, help="Only the file on trial.")
@click.option("--if-revision", type=int, metavar="N", help="Only where N is in force (else 4).")
@speaks
def delete(session: Session, shadow: bool, if_revision: int | None) -> None:
    """Take the routing file away: the routes of `netmgr inference set` hold again.

    \b
    Examples:
      netmgr route delete
      netmgr route delete --shadow
    """
    from netmgr import routing_calls

    need_root("route delete")
    call = routing_calls.routing_delete(shadow=shadow, if_revision=if_revision)
    with session.client() as client:
        answer = client.send(call)
    screen.note("deleted" if answer["deleted"] else "nothing was set")


@route.command()
@click.argument("request_id", metavar="REQUEST-ID")
@shows
@speaks
def why(session: Session, request_id: str, output: Format) -> None:
    """Tell what was decided on one request, and how each attempt went; status 3: no such request.

    REQUEST-ID is the x-request-id of the answer.

    \b
    Example:
      netmgr route why 6f1c2a90b
    """
    from netmgr import routing_calls

    with session.client() as client:
        answer = client.send(routing_calls.routing_why(request_id))
    screen.show(answer, render_routing.why(answer), output)


@route.command()
@click.option("--since", required=True, metavar="T", help="How far back: 24h, 30m, or a time.")
@click.option("--with", "path", required=True, metavar="FILE", help="The file to decide with.")
@shows
@speaks
def replay(session: Session, since: str, path: str, output: Format) -> None:
    """Decide past calls anew with another file: what would change, and what it would cost.

    Only what was stored of a call is used: its facts and labels, never its text.

    \b
    Example:
      netmgr route replay --since 24h --with new.yaml
    """
    from netmgr import routing_calls

    moment = parse_since(since, time.time())
    with session.client() as client:
        answer = client.send(routing_calls.routing_replay(read_policy(path), moment))
    screen.show(answer, render_routing.replay(answer), output)
