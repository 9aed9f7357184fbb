"""Owns: `netmgr hub ...`."""

import click

from netmgr_cli import health, screen
from netmgr_cli.options import Format, Session, shows, speaks


@click.group()
def hub() -> None:
    """Look at the namespace that all sandboxes end in.

    \b
    Example:
      netmgr hub show
    """


@hub.command()
@shows
@speaks
def show(session: Session, output: Format) -> None:
    """Show the hub as the kernel has it: links, rules, sets, counters.

    \b
    Examples:
      netmgr hub show
      netmgr hub show -o json
    """
    from netmgr import calls

    with session.client() as client:
        answer = client.send(calls.hub())
    screen.show(answer, health.hub(answer), output)
