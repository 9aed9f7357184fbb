"""Owns: `netmgr status` and `netmgr version`."""

import sys

import click

from netmgr import __version__
from netmgr_cli import health, render, screen
from netmgr_cli.options import Format, Session, shows, speaks


@click.command()
@shows
@speaks
def status(session: Session, output: Format) -> int:
    """Show the health of every part of the daemon; status 1 where a part is not well.

    \b
    Examples:
      netmgr status
      netmgr status -o json
    """
    from netmgr import calls

    with session.client() as client:
        answer = client.send(calls.status())
    screen.show(answer, health.status(answer), output)
    return 1 if answer.get("ok") is False else 0


@click.command()
@shows
@speaks
def version(session: Session, output: Format) -> None:
    """Print the versions of the command line and, where one runs, of the daemon.

    \b
    Example:
      netmgr version -o json
    """
    from netmgr import calls
    from netmgr.errors import Refused, Unreachable

    python = ".".join(str(part) for part in sys.version_info[:3])
    found: dict[str, object] = {"client": __version__, "python": python, "daemon": None}
    try:
        with session.client() as client:
            found["daemon"] = client.send(calls.version()).get("version")
    except (Unreachable, Refused) as error:
        screen.note(f"netmgr: {error.message}")
    screen.show(found, render.anything(found), output)
