"""Owns: `netmgr sandbox ...`. Knows nothing of the kernel: it asks the daemon."""

import time
from typing import Any

import click

from netmgr.errors import BadInput
from netmgr_cli import health, render, screen
from netmgr_cli.options import Format, Session, need_root, parse_pairs, read_policy, shows, speaks


@click.group()
def sandbox() -> None:
    """Create, list, show, check and delete sandboxes; run commands in them.

    \b
    Examples:
      netmgr sandbox create demo --allow api.example.com:443
      netmgr sandbox exec demo -- curl https://api.example.com/
      netmgr sandbox delete demo
    """


def creates(command: Any) -> Any:
    """The options that describe a new sandbox; `run` has them too."""
    for option in (
        click.option("--label", "labels", metavar="K=V", multiple=True, help="A label to keep."),
        click.option("--tenant", metavar="T", help="Whom decisions are counted for."),
        click.option(
            "--trust-store",
            "trust_stores",
            type=click.Choice(("java", "nss")),
            multiple=True,
            help="Make this store of certificates, too; repeatable.",
        ),
        click.option(
            "--allow",
            metavar="HOST[:PORT]",
            multiple=True,
            help="Allow this endpoint, for any program (port 443 where none is named).",
        ),
        click.option("--policy", metavar="FILE", help="Policy file ('-' is stdin)."),
    ):
        command = option(command)
    return command


@sandbox.command()
@click.argument("name")
@creates
@click.option("--netns", metavar="PATH", help="Attach this network namespace.")
@click.option("--pid", type=click.IntRange(min=1), help="Attach this process's network namespace.")
@click.option(
    "--replace-links", is_flag=True, help="Remove the links that an attached namespace has."
)
@click.option("--dry-run", is_flag=True, help="Print the steps, do nothing.")
@shows
@speaks
def create(session: Session, name: str, output: Format, **given: Any) -> None:
    """Create the sandbox NAME, or attach an existing network namespace.

    Creating it again with the same parameters is done; with others it is a conflict (4).

    \b
    Examples:
      netmgr sandbox create demo --policy policy.yaml --tenant research
      netmgr sandbox create box --pid 4711 --allow api.example.com
    """
    from netmgr import calls

    if given["netns"] and given["pid"]:
        raise BadInput("--netns and --pid: one namespace cannot be named twice; give one of them")
    attach: calls.Attachment | None = None
    if given["netns"]:
        attach = {"netns": given["netns"]}
    elif given["pid"]:
        attach = {"pid": given["pid"]}
    if given["replace_links"]:
        if attach is None:
            raise BadInput("--replace-links is for an existing namespace: give --netns or --pid")
        attach["replace_links"] = True
    call = calls.sandbox_create(
        name,
        policy=read_policy(given["policy"]) if given["policy"] else None,
        allow=given["allow"],
        tenant=given["tenant"],
        labels=parse_pairs(given["labels"], "--label"),
        attach=attach,
        trust_stores=given["trust_stores"],
    )
    with session.client() as client:
        if given["dry_run"]:
            plan = client.send(calls.sandbox_plan(call))
            screen.show(plan, [render.Text(render.printable(s)) for s in plan["plan"]], output)
            return
        answer = client.send(call)
    screen.show(answer, render.sandbox(answer), output)


@sandbox.command(name="list")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="Only those that have it.")
@shows
@speaks
def list_(session: Session, labels: tuple[str, ...], output: Format) -> None:
    """List sandboxes.

    \b
    Examples:
      netmgr sandbox list
      netmgr sandbox list --label cni.network=sandboxes
      netmgr sandbox list -o json | jq -r '.sandboxes[].name'
    """
    from netmgr import calls

    with session.client() as client:
        answer = client.send(calls.sandbox_list(labels))
    screen.show(answer, render.sandbox_list(answer, time.time()), output)


@sandbox.command()
@click.argument("name")
@shows
@speaks
def show(session: Session, name: str, output: Format) -> None:
    """Show what is recorded of NAME and what the kernel has: links, routes, counters, flows.

    \b
    Examples:
      netmgr sandbox show demo
      netmgr sandbox show demo -o json
    """
    from netmgr import calls

    with session.client() as client:
        answer = client.send(calls.sandbox_show(name))
    screen.show(answer, [*render.sandbox(answer), *health.kernel(answer)], output)


@sandbox.command()
@click.argument("name")
@click.option(
    "--for",
    "form",
    type=click.Choice(["systemd", "bwrap", "podman"]),
    required=True,
    help="Whose words: a unit's drop-in, or arguments of a command.",
)
@click.option("--needs", metavar="UNIT", help="systemd: the unit that makes the sandbox.")
@speaks
def inject(session: Session, name: str, form: str, needs: str | None) -> None:
    """Print what brings a service or container into the sandbox NAME: namespace, certificates,
    resolver, environment. NAME needs not exist yet.

    \b
    Examples:
      netmgr sandbox inject demo --for systemd
      netmgr sandbox inject demo --for systemd --needs netmgr-sandbox@demo.service
      netmgr sandbox inject demo --for bwrap
    """
    from netmgr import calls
    from netmgr_cli import inject as words

    if needs is not None and form != "systemd":
        raise BadInput("--needs names a unit: it goes with --for systemd")
    with session.client() as client:
        found = client.send(calls.sandbox_injection(name))
    text = words.render_systemd(found, needs) if form == "systemd" else words.FORMS[form](found)
    click.echo(text, nl=False)


@sandbox.command()
@click.argument("name")
@shows
@speaks
def check(session: Session, name: str, output: Format) -> int:
    """Compare the record of NAME with the kernel; status 1 where they differ.

    \b
    Example:
      netmgr sandbox check demo
    """
    from netmgr import calls

    with session.client() as client:
        answer = client.send(calls.sandbox_check(name))
    screen.show(answer, render.check(answer), output)
    return 0 if answer["ok"] else 1


@sandbox.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "every", is_flag=True, help="Delete all sandboxes.")
@speaks
def delete(session: Session, names: tuple[str, ...], every: bool) -> int:
    """Delete sandboxes: their flows end, their addresses rest before reuse.

    Every NAME is tried; the first failure decides the exit status.

    \b
    Examples:
      netmgr sandbox delete demo
      netmgr sandbox delete --all
    """
    from netmgr import calls
    from netmgr.errors import NetmgrError, Unreachable

    if every == bool(names):
        raise BadInput("name the sandboxes to delete, or give --all")
    status = 0
    with session.client() as client:
        if every:
            client.send(calls.sandbox_delete_all())
            screen.note("all sandboxes deleted")
        for name in names:
            try:
                client.send(calls.sandbox_delete(name))
                screen.note(f"{name} deleted")
            except Unreachable:
                raise
            except NetmgrError as error:
                screen.note(f"netmgr: {error.message}")
                status = status or error.exit_status
    return status


@sandbox.command()
@click.option("--keep", metavar="ID", multiple=True, help="A sandbox to keep; repeatable.")
@click.option("--by", metavar="KEY", help="IDs are values of this label, not names.")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="Only those that have it.")
@click.option("--tenant", metavar="T", help="Only those of this tenant.")
@click.argument("more", nargs=-1, metavar="[ID]...")
@shows
@speaks
def gc(
    session: Session, keep: tuple[str, ...], more: tuple[str, ...], output: Format, **given: Any
) -> None:
    """Delete every sandbox that is not named by --keep.

    With --by, IDs are values of that label (a runtime's own ids), and sandboxes without the label
    stay.

    \b
    Examples:
      netmgr sandbox gc --keep demo --keep build
      netmgr sandbox gc --by pod --keep $(crictl pods -q)
    """
    from netmgr import calls

    if not keep:
        raise BadInput("name what to keep with --keep (`sandbox delete --all` deletes everything)")
    scope = given | {"labels": parse_pairs(given["labels"], "--label")}
    with session.client() as client:
        answer = client.send(calls.sandbox_gc([*keep, *more], **scope))
    rows = tuple((render.cell(name),) for name in answer["removed"])
    screen.show(answer, [render.Grid(("REMOVED",), rows, "nothing to remove")], output)


@sandbox.command(name="exec", context_settings={"allow_interspersed_args": False})
@click.option("--user", metavar="U", help="Run as this user (name or uid).")
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@speaks
def exec_(session: Session, name: str, user: str | None, command: tuple[str, ...]) -> int:
    """Run CMD inside the sandbox NAME; its status is the command's own.

    It runs as the user who called sudo, or as nobody, in mount, pid and ipc namespaces of its own,
    without privileges, with the sandbox's resolver and certificates.

    \b
    Examples:
      sudo netmgr sandbox exec demo -- curl https://inference.local/v1/models
      sudo netmgr sandbox exec --user build demo -- make fetch
    """
    from netmgr import calls, provider_calls
    from netmgr_cli.enter import Errand, enter
    from netmgr_cli.host_stores import with_stores
    from netmgr_cli.identity import choose_identity

    need_root("sandbox exec")
    command = command[1:] if command[0] == "--" else command  # click leaves it behind NAME
    if not command:
        raise BadInput("name the command to run after `--`")
    identity = choose_identity(user)
    with session.client() as client:
        answer = with_stores(client, client.send(calls.sandbox_show(name)), identity)
        secret_names = provider_calls.credential_names(client.send(provider_calls.provider_list()))
    return enter(Errand.into(answer, command, identity, hide=secret_names))
