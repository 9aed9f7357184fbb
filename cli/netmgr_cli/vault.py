"""Owns: `netmgr vault ...`: the key of what is encrypted at rest. No command ever shows it."""

import click

from netmgr_cli import render, screen
from netmgr_cli.options import Format, Session, need_root, shows, speaks


@click.group()
def vault() -> None:
    """Look after the key that credentials at rest are encrypted with.

    \b
    Examples:
      netmgr vault status
      netmgr vault rotate
    """


@vault.command()
@shows
@speaks
def status(session: Session, output: Format) -> None:
    """Show where the key comes from, its id, and how much is under it.

    \b
    Example:
      netmgr vault status -o json
    """
    from netmgr import provider_calls

    with session.client() as client:
        answer = client.send(provider_calls.vault_status())
    screen.show(answer, render.anything(answer), output)


@vault.command()
@shows
@speaks
def rotate(session: Session, output: Format) -> None:
    """Make a new key, put everything under it, and forget the old one. Nothing stops meanwhile.

    \b
    Example:
      netmgr vault rotate
    """
    from netmgr import provider_calls

    need_root("vault rotate")
    with session.client() as client:
        answer = client.send(provider_calls.vault_rotate())
    screen.show(answer, render.anything(answer), output)
