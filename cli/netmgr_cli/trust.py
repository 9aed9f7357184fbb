"""Owns: `netmgr trust ...`: stores of certificates, and which programs trust."""

from typing import Any, Final

import click

from netmgr_cli import render, screen
from netmgr_cli.options import Format, Session, need_root, shows, speaks

SAID: Final = {
    "trusts": "yes",
    "does_not_trust": "NO",
    "does_not_check": "NOT CHECKED",
    "unclear": "unclear",
}
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
      sudo netmgr trust doctor demo
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


@trust.command()
@click.option("--user", metavar="U", help="Ask as this user (name or uid).")
@click.argument("name")
@shows
@speaks
def doctor(session: Session, name: str, user: str | None, output: Format) -> int:
    """Run each program found in the sandbox NAME against https://inference.local, and say which
    trust it and what to set; status 1 where one does not.

    Programs run inside, without privileges. Of a sandbox that is attached to a container it is the
    container's programs, with the container's environment.

    \b
    Examples:
      sudo netmgr trust doctor demo
      sudo netmgr trust doctor demo -o json
    """
    from netmgr import calls, provider_calls
    from netmgr_cli.enter import Errand
    from netmgr_cli.host_stores import with_stores
    from netmgr_cli.identity import choose_identity
    from netmgr_cli.trust_doctor import examine

    need_root("trust doctor")
    identity = choose_identity(user)
    with session.client() as client:
        answer: Any = client.send(calls.sandbox_show(name))
        if not answer["attached"]:  # then it is examined as `sandbox exec` would run a command
            answer = with_stores(client, answer, identity)
        secret_names = provider_calls.credential_names(client.send(provider_calls.provider_list()))
    found = examine(answer, Errand.into(answer, ("trust",), identity, hide=secret_names))
    screen.show(found, _examination(found), output)
    return 0 if found["ok"] else 1


def _examination(found: dict[str, Any]) -> list[render.Block]:
    blocks: list[render.Block] = []
    for where in dict.fromkeys(item["where"] for item in found["programs"]):
        programs = [item for item in found["programs"] if item["where"] == where]
        cells = ((item["name"], SAID[item["verdict"]], item["path"]) for item in programs)
        rows = tuple(tuple(map(render.cell, row)) for row in cells)
        blocks += [render.Title(f"In {where}"), render.Grid(("PROGRAM", "TRUSTS", "PATH"), rows)]
        for item in programs:
            if item["verdict"] != "trusts":
                lines = [f"{item['name']}: {item['detail']}"]
                lines += [f"  set: {advice}" for advice in item["remedy"]]
                blocks.append(render.Text(render.printable("\n".join(lines))))
    nothing = render.Grid(("PROGRAM",), (), f"in {found['where']}: no program that is known here")
    return blocks or [nothing]
