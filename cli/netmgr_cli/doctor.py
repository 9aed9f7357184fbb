"""Owns: `netmgr doctor`: the host's checks, and the daemon's where one answers."""

from typing import TYPE_CHECKING, Any

import click

from netmgr_cli import render, screen
from netmgr_cli.options import Format, Session, shows, speaks

if TYPE_CHECKING:
    from netmgr_cli.hostchecks import Check


@click.command()
@shows
@speaks
def doctor(session: Session, output: Format) -> int:
    """Check what this host lacks for netmgr, with a remedy for each lack.

    Works with and without a daemon and changes nothing: sets and rules are tried in a namespace of
    their own. Status 1 where something fails.

    \b
    Examples:
      sudo netmgr doctor
      netmgr doctor -o json | jq '.checks[] | select(.state != "ok")'
    """
    from netmgr_cli.hostchecks import State, host_checks

    checks = [*host_checks(), _daemon(session)]
    ok = all(check.state is not State.FAIL for check in checks)
    document = {"ok": ok, "checks": [check.to_doc() for check in checks]}
    screen.show(document, _blocks(checks), output)
    return 0 if ok else 1


def _daemon(session: Session) -> "Check":
    from netmgr import calls
    from netmgr.errors import NetmgrError
    from netmgr_cli.hostchecks import Check, State

    try:
        with session.client() as client:
            answer: Any = client.send(calls.version())
    except NetmgrError as error:
        return Check("daemon", State.WARN, error.message)
    return Check("daemon", State.OK, f"version {answer.get('version')} at {session.path}")


def _blocks(checks: "list[Check]") -> list[render.Block]:
    from netmgr_cli.hostchecks import State

    order = (State.FAIL, State.WARN, State.OK)  # what has to be mended first stands first
    checks = sorted(checks, key=lambda check: order.index(check.state))
    rows = tuple((check.state.value, check.name, render.cell(check.found)) for check in checks)
    remedies = tuple((check.name, check.remedy) for check in checks if check.remedy)
    blocks: list[render.Block] = [render.Grid(("", "CHECK", "FOUND"), rows)]
    if remedies:
        blocks += [render.Title("what to do"), render.Fields(remedies)]
    return blocks
