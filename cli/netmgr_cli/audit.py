"""Owns: `netmgr audit ...`."""

import time

import click

from netmgr_cli import render_routing, screen
from netmgr_cli.observe import parse_since
from netmgr_cli.options import Format, Session, shows, speaks

FAILED = 1


@click.group()
def audit() -> None:
    """Prove from the records what happened, and that nobody has changed them.

    \b
    Examples:
      netmgr audit verify
      netmgr audit prove --label restricted --operated-by third_party --since 90d
    """


@audit.command()
@shows
@speaks
def verify(session: Session, output: Format) -> int:
    """Check the chain of all records; status 1 where it is broken.

    Each record's hash covers the one before it. Keep the head that is printed elsewhere: then
    nobody can write the whole journal anew.

    \b
    Example:
      netmgr audit verify
    """
    from netmgr import routing_calls

    with session.client() as client:
        answer = client.send(routing_calls.audit_verify())
    screen.show(answer, render_routing.chain(answer), output)
    return 0 if answer["ok"] else FAILED


@audit.command()
@click.option("--label", required=True, metavar="L", help="Calls of this label or a higher one.")
@click.option("--operated-by", metavar="WHO", help="Sent to nobody who is operated by WHO.")
@click.option("--residency", metavar="R", help="Sent to nobody outside of R.")
@click.option("--since", required=True, metavar="T", help="How far back: 90d, or a time.")
@shows
@speaks
def prove(
    session: Session,
    label: str,
    operated_by: str | None,
    residency: str | None,
    since: str,
    output: Format,
) -> int:
    """Prove that no such call was sent there, or list those that were; status 1 where any was.

    What cannot be told (no label, a routing file that is no longer kept, a broken chain) is not
    proven: status 1, too.

    \b
    Examples:
      netmgr audit prove --label restricted --operated-by third_party --since 90d
      netmgr audit prove --label confidential --residency eu --since 24h
    """
    from netmgr import routing_calls

    moment = parse_since(since, time.time())
    call = routing_calls.audit_prove(label, operated_by, residency, moment)
    with session.client() as client:
        answer = client.send(call)
    screen.show(answer, render_routing.proof(answer), output)
    proven = answer["chain"]["ok"] and not answer["found"] and not answer["unknown"]
    return 0 if proven else FAILED
