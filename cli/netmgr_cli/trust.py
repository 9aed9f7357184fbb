"""Owns: `netmgr trust ...`: stores of certificates for programs that read no PEM file."""

from typing import Any, Final

import click

from netmgr_cli import render, screen
from netmgr_cli.options import Format, Session, shows, speaks

STORES: Final = ("java", "nss")
# What the control API calls a file -> what it is here.
FILES: Final = {
    "ca": "ca",
    "ca_bundle": "bundle",
    "java_truststore": "java",
    "nss_database": "nss",
}


@click.group()
def trust() -> None:
    """Make programs in a sandbox trust it, and see which do.

    \b
    Examples:
      netmgr trust stores demo java
    """


@trust.command()
@click.argument("name")
@click.argument("stores", nargs=-1, type=click.Choice(STORES), metavar="[java] [nss]")
@shows
@speaks
def stores(session: Session, name: str, stores: tuple[Any, ...], output: Format) -> None:
    """Show where the certificates of the sandbox NAME are; make the stores that are named.

    \b
    Examples:
      netmgr trust stores demo
      netmgr trust stores demo java nss
    """
    from netmgr import calls

    with session.client() as client:
        call = calls.sandbox_trust(name, stores) if stores else calls.sandbox_show(name)
        files: dict[str, Any] = dict(client.send(call)["files"])
    found = {short: files[key] for key, short in FILES.items()}
    rows = tuple((short, render.cell(path)) for short, path in found.items())
    screen.show(found, [render.Grid(("STORE", "PATH"), rows)], output)
