"""Owns: `netmgr inference ...`."""

from typing import Any

import click

from netmgr.errors import BadInput, NotFound
from netmgr_cli import render, screen
from netmgr_cli.options import Format, Session, need_root, shows, speaks


@click.group()
def inference() -> None:
    """Say which provider and model answer at https://inference.local.

    Without --sandbox: for every sandbox that has no route of its own.

    \b
    Examples:
      netmgr inference set --provider nim --model meta/llama-3.3-70b-instruct
      netmgr inference get
    """


def _sandbox_option(command: Any) -> Any:
    return click.option("--sandbox", metavar="NAME", help="For this sandbox only.")(command)


def _timeouts(command: Any) -> Any:
    for option in (
        click.option(
            "--total-timeout",
            "total_timeout_s",
            type=click.FloatRange(min=0),
            metavar="S",
            help="Seconds for a whole answer, streams included.  [default: no bound]",
        ),
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0),
            metavar="S",
            help="Seconds for a buffered answer, or until a stream's first byte.  [default: 60]",
        ),
        click.option("--no-verify", is_flag=True, help="Save without asking the provider first."),
    ):
        command = option(command)
    return command


def _show_change(answer: Any, output: Format) -> None:
    screen.show(answer, render.route_blocks(answer), output)


@inference.command(name="set")
@click.option("--provider", required=True, help="Name of a provider.")
@click.option("--model", required=True, help="The model, as the provider calls it.")
@_timeouts
@_sandbox_option
@shows
@speaks
def set_(session: Session, output: Format, **given: Any) -> None:
    """Set the route. The provider is asked first, unless --no-verify; then it is in force.

    \b
    Examples:
      netmgr inference set --provider nim --model meta/llama-3.3-70b-instruct
      netmgr inference set --provider local --model qwen3 --sandbox demo
    """
    from netmgr import calls

    need_root("inference set")
    call = calls.inference_set(
        given["provider"],
        given["model"],
        timeout_s=given["timeout_s"] or 0,
        total_timeout_s=given["total_timeout_s"] or 0,
        verify=not given["no_verify"],
        sandbox=given["sandbox"],
    )
    with session.client() as client:
        _show_change(client.send(call), output)


@inference.command()
@click.option("--provider", help="Name of a provider.")
@click.option("--model", help="The model, as the provider calls it.")
@_timeouts
@_sandbox_option
@shows
@speaks
def update(session: Session, output: Format, **given: Any) -> None:
    """Change parts of the route; what is not named stays.

    \b
    Examples:
      netmgr inference update --model meta/llama-3.1-8b-instruct
      netmgr inference update --timeout 300 --sandbox demo
    """
    from netmgr import calls

    need_root("inference update")
    names = ("provider", "model", "timeout_s", "total_timeout_s")
    changes = {name: given[name] for name in names if given[name] is not None}
    if not changes:
        raise BadInput("nothing to change: give --provider, --model, --timeout or --total-timeout")
    call = calls.inference_update(
        sandbox=given["sandbox"], verify=not given["no_verify"], **changes
    )
    with session.client() as client:
        _show_change(client.send(call), output)


@inference.command()
@_sandbox_option
@shows
@speaks
def get(session: Session, sandbox: str | None, output: Format) -> None:
    """Show the routes: resolved URL, protocols, health; status 3 where none is set.

    \b
    Examples:
      netmgr inference get
      netmgr inference get --sandbox demo -o json
    """
    from netmgr import calls

    with session.client() as client:
        answer = client.send(calls.inference_get(sandbox))
    if answer["routes"] or output is not Format.TABLE:
        screen.show(answer, render.inference(answer), output)
    if not answer["routes"]:
        raise NotFound(
            "inference.local is not configured: "
            "`netmgr inference set --provider P --model M` does it"
        )


@inference.command()
@_sandbox_option
@speaks
def delete(session: Session, sandbox: str | None) -> None:
    """Forget the route. Done also where none is set.

    \b
    Example:
      netmgr inference delete --sandbox demo
    """
    from netmgr import calls

    need_root("inference delete")
    with session.client() as client:
        answer = client.send(calls.inference_delete(sandbox))
    screen.note("deleted" if answer.get("deleted", True) else "nothing was set")


@inference.command()
@_sandbox_option
@shows
@speaks
def test(session: Session, sandbox: str | None, output: Format) -> None:
    """Ask the provider of the route in force, once per protocol.

    \b
    Example:
      netmgr inference test --sandbox demo
    """
    from netmgr import calls

    need_root("inference test")
    with session.client() as client:
        _show_change(client.send(calls.inference_test(sandbox)), output)
