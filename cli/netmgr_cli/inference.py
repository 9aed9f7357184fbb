"""Owns: `netmgr inference ...`."""

from typing import Any

import click

from netmgr.errors import BadInput, NotFound
from netmgr_cli import accounts, render_routes, screen
from netmgr_cli.call_rules import call_rules, rules_given
from netmgr_cli.options import Format, Session, need_root, parse_pairs, shows, speaks


@click.group()
def inference() -> None:
    """Say which provider and model answer at https://inference.local.

    A route is for one sandbox (--sandbox), for all that have a label (--label), or for every other
    one. The narrowest holds: a sandbox's own, then a label's, then the default.

    \b
    Examples:
      netmgr inference set --provider nim --model meta/llama-3.3-70b-instruct
      netmgr inference get
    """


def _scope(command: Any) -> Any:
    sandbox = click.option("--sandbox", metavar="NAME", help="For this sandbox only.")
    label = click.option("--label", metavar="K=V", help="For every sandbox with this label.")
    return sandbox(label(command))


def _models(command: Any) -> Any:
    for option in (
        click.option(
            "--if-version",
            type=click.IntRange(min=0),
            metavar="N",
            help="Only if the route has this version now; 0: if none is set.",
        ),
        click.option(
            "--alias",
            "aliases",
            multiple=True,
            metavar="NAME=MODEL",
            help="Who asks for model NAME gets MODEL; others get --model.  [repeatable]",
        ),
    ):
        command = option(command)
    return command


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
    screen.show(answer, render_routes.route_blocks(answer), output)


@inference.command(name="set")
@click.option("--provider", required=True, help="Name of a provider.")
@click.option("--model", required=True, help="The model, as the provider calls it.")
@_models
@call_rules
@_timeouts
@_scope
@shows
@speaks
def set_(session: Session, output: Format, **given: Any) -> None:
    """Set the route. The provider is asked first, unless --no-verify; then it is in force.

    \b
    Examples:
      netmgr inference set --provider nim --model meta/llama-3.3-70b-instruct
      netmgr inference set --provider local --model qwen3 --sandbox demo
      netmgr inference set --provider nim --model big --alias a=small --label t=ml
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
        label=given["label"],
        aliases=parse_pairs(given["aliases"], "--alias"),
        rules=rules_given(given),
        if_version=given["if_version"],
    )
    with session.client() as client:
        _show_change(client.send(call), output)


@inference.command()
@click.option("--provider", help="Name of a provider.")
@click.option("--model", help="The model, as the provider calls it.")
@_models
@call_rules
@_timeouts
@_scope
@shows
@speaks
def update(session: Session, output: Format, **given: Any) -> None:
    """Change parts of the route; what is not named stays. `--alias NAME=` removes an alias.

    Nothing that somebody else changes at the same time is overwritten: then it is status 4.

    \b
    Examples:
      netmgr inference update --model meta/llama-3.1-8b-instruct
      netmgr inference update --timeout 300 --sandbox demo
      netmgr inference update --model-mode reject --server-tool web_search
    """
    from netmgr import calls

    need_root("inference update")
    names = ("provider", "model", "timeout_s", "total_timeout_s")
    changes = {name: given[name] for name in names if given[name] is not None}
    if aliases := parse_pairs(given["aliases"], "--alias"):
        changes["aliases"] = aliases
    if rules := rules_given(given):
        changes["rules"] = rules
    if not changes:
        raise BadInput(
            "nothing to change: give --provider, --model, --alias, --timeout, --total-timeout "
            "or a rule (--help)"
        )
    call = calls.inference_update(
        sandbox=given["sandbox"],
        label=given["label"],
        if_version=given["if_version"],
        verify=not given["no_verify"],
        **changes,
    )
    with session.client() as client:
        _show_change(client.send(call), output)


@inference.command()
@_scope
@shows
@speaks
def get(session: Session, sandbox: str | None, label: str | None, output: Format) -> None:
    """Show the routes: resolved URL, protocols, health; status 3 where none is set.

    With --sandbox: the one that holds in that sandbox, whatever scope it is of.

    \b
    Examples:
      netmgr inference get
      netmgr inference get --sandbox demo -o json
    """
    from netmgr import calls

    with session.client() as client:
        answer = client.send(calls.inference_get(sandbox, label))
    if answer["routes"] or output is not Format.TABLE:
        screen.show(answer, render_routes.inference(answer), output)
    if not answer["routes"]:
        raise NotFound(
            "inference.local is not configured: "
            "`netmgr inference set --provider P --model M` does it"
        )


@inference.command()
@_scope
@click.option("--cut", is_flag=True, help="End calls that are under way on it, too.")
@speaks
def delete(session: Session, sandbox: str | None, label: str | None, cut: bool) -> None:
    """Forget the route. Done also where none is set.

    Calls under way finish on the route that they began with, unless --cut.

    \b
    Examples:
      netmgr inference delete --sandbox demo
      netmgr inference delete --cut
    """
    from netmgr import calls

    need_root("inference delete")
    with session.client() as client:
        answer = client.send(calls.inference_delete(sandbox, label, cut=cut))
    screen.note("deleted" if answer.get("deleted", True) else "nothing was set")


@inference.command()
@_scope
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Seconds to wait for the answer.  [default: the route's]",
)
@shows
@speaks
def test(
    session: Session,
    sandbox: str | None,
    label: str | None,
    timeout_s: float | None,
    output: Format,
) -> None:
    """Ask the provider of the route in force: from the host, the way a call is sent.

    With --sandbox also from inside it, the whole way: its resolver, its certificate authority, its
    limits. That call counts like any other of the sandbox.

    \b
    Example:
      netmgr inference test --sandbox demo
    """
    from netmgr import calls

    need_root("inference test")
    with session.client() as client:
        answer: dict[str, Any] = dict(client.send(calls.inference_test(sandbox, label, timeout_s)))
        if sandbox is not None:
            answer["inside"] = _call_inside(client, sandbox, answer, timeout_s)
    _show_change(answer, output)


def _call_inside(
    client: Any, sandbox: str, route: dict[str, Any], timeout_s: float | None
) -> dict[str, Any]:
    from netmgr import calls
    from netmgr_cli.inside_call import call_inside

    facts = client.send(calls.sandbox_show(sandbox))
    protocol = route["validated"][0]["protocol"]
    return call_inside(facts, protocol, route["model"], timeout_s or route["timeout_s"])


for command in (accounts.limit, accounts.price, accounts.usage):
    inference.add_command(command)
