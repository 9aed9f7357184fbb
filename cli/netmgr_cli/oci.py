"""Owns: `netmgr oci ...`: the entrances of OCI runtimes as commands, and their installation.

What runs for every container is netmgr_cli.shim.oci; the commands here call the same code, for
people and for runtimes that are started rarely.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from netmgr.errors import BY_CODE, BadInput, NetmgrError, NotFound, Refused
from netmgr_cli import oci_program, programs, render, screen
from netmgr_cli.options import Format, Session, need_root, parse_pairs, shows, speaks
from netmgr_cli.shim.oci import words as shim_words
from netmgr_cli.shim.oci.container import self_command
from netmgr_cli.shim.oci.container import wrap as wrap_bundle
from netmgr_cli.shim.oci.lodge import identity, inhabited
from netmgr_cli.shim.oci.runc import find_runtime
from netmgr_cli.shim.wire import Failure

HOOK: Final = "netmgr_cli.shim.oci.hook"
PROGRAMS: Final = ("netmgr-runc", "netmgr-hook")
ELSEWHERE: Final = "runc"  # on another host: where its engine's PATH finds it
STARTING_S: Final = 60.0  # a container's process is there long before


@click.group()
def oci() -> None:
    """Give containers of OCI runtimes their sandboxes.

    \b
    Examples:
      sudo netmgr oci install
      sudo podman --runtime /usr/local/bin/netmgr-runc run --network none IMAGE
      sudo netmgr oci gc
    """


@oci.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--netmgr-KEY=VALUE]...")
@speaks
def hook(session: Session, words: tuple[str, ...]) -> int:
    """Attach or remove a container's sandbox: an OCI hook, with the container's state on stdin.

    For createRuntime (or prestart) and poststop. Runtimes run it for every container: use
    `netmgr-hook`, which `netmgr oci install` writes and which starts ten times as fast.

    \b
    Example:
      netmgr oci hook --netmgr-policy=agent < state.json
    """
    from netmgr_cli.shim.oci import hook as shim_hook

    return shim_hook.main([*_socket(session), *words])


selectable_option = click.option(
    "--selectable", "selectable", metavar="KIND=VALUE", multiple=True,
    help="Let annotations choose it: policy=NAME, tenant=T, label=KEY; VALUE * is any.",
)  # fmt: skip


@oci.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--id", "container", metavar="ID", help="The container's id.  [default: BUNDLE's name]"
)
@click.option("--policy", metavar="P", help="A policy's name, or the path of its file.")
@click.option("--tenant", metavar="T", help="Whom decisions are counted for.")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="A label to keep.")
@click.option("--policies", metavar="DIR", help="Where policies with names are.")
@selectable_option
@speaks
def wrap(session: Session, bundle: Path, container: str | None, **given: object) -> None:
    """Give the container of BUNDLE its sandbox, and write that into BUNDLE/config.json.

    Namespace, mounts, environment and a poststop hook that removes the sandbox. Then run it with
    any OCI runtime, under the same id.

    \b
    Example:
      sudo netmgr oci wrap ./box --policy agent
      sudo runc run --bundle ./box box
    """
    need_root("oci wrap")
    words = shim_words.Words()
    words.socket = session.path
    words.labels = parse_pairs(given["labels"], "--label")  # type: ignore[arg-type]
    _offer(words, given["selectable"])  # type: ignore[arg-type]
    for key in ("policy", "tenant", "policies"):
        if given[key] is not None:
            setattr(words, key, given[key])
    place = bundle.resolve()
    try:
        wrap_bundle(container or place.name, str(place), words)
    except shim_words.Refused as refusal:
        raise Refused(str(refusal)) from refusal
    except Failure as failure:
        raise BY_CODE.get(failure.code, NetmgrError)(failure.message) from failure
    except OSError as problem:
        raise BadInput(f"{problem.filename}: {problem.strerror}") from problem
    screen.note(f"{place}/config.json: ready for the container {container or place.name}")


@oci.command()
@click.argument("directory", default="/usr/local/bin", type=click.Path(path_type=Path))
@click.option("--runtime", metavar="PATH", help="The real runtime.  [default: runc, else crun]")
@click.option("--policy", metavar="P", help="Bind this runtime to a policy.")
@click.option("--policies", metavar="DIR", help="Where policies with names are.")
@selectable_option
@click.option(
    "--python",
    type=click.Path(path_type=Path, dir_okay=False),
    default=programs.interpreter,
    show_default="the one that runs this",
    help="Interpreter of the programs.",
)
@programs.copy_option
@speaks
def install(
    session: Session,
    directory: Path,
    python: Path,
    selectable: tuple[str, ...],
    home: Path | None,
    **given: str | None,
) -> None:
    """Write `netmgr-runc` and `netmgr-hook` into DIRECTORY.

    Annotations come from images, too, so they choose nothing that is not selectable.

    \b
    Examples:
      sudo netmgr oci install --selectable policy=agent
      sudo netmgr oci install --runtime /usr/bin/crun /opt/bin
      netmgr oci install --copy-to /opt/n --python /usr/bin/python3 /opt/n
    """
    words = shim_words.Words()
    _offer(words, selectable)
    words.socket, words.policy, words.runtime = session.path, given["policy"], given["runtime"]
    words.policies = given["policies"] or words.policies
    if home is not None:
        programs.copy_shim(home)
    runtime = words.runtime or ELSEWHERE
    if home is None:
        try:
            words.runtime = runtime = find_runtime(words)
        except shim_words.Refused as refusal:
            raise BadInput(str(refusal)) from refusal
    ours = words.as_arguments()
    wrapper = self_command("runc", str(python), None if home is None else str(home))
    texts = {
        "netmgr-runc": oci_program.render_runc(wrapper, ours, runtime),
        "netmgr-hook": programs.render_program("oci", HOOK, python, ours, home),
    }
    for name, text in texts.items():
        written = programs.install_program(directory / name, text)
        screen.note(f"{directory / name} {'written' if written else 'is as it should be'}")


@oci.command()
@click.argument("directory", default="/usr/local/bin", type=click.Path(path_type=Path))
def uninstall(directory: Path) -> None:
    """Take `netmgr-runc` and `netmgr-hook` out of DIRECTORY. Twice is once.

    \b
    Example:
      sudo netmgr oci uninstall
    """
    for name in PROGRAMS:
        removed = programs.remove_program(directory / name)
        screen.note(f"{directory / name} {'removed' if removed else 'is not there'}")


@oci.command()
@click.option(
    "--older-than", metavar="SECONDS", type=click.FloatRange(min=0), default=STARTING_S,
    show_default=True, help="Leave younger ones: their container may be starting.",
)  # fmt: skip
@shows
@speaks
def gc(session: Session, older_than: float, output: Format) -> None:
    """Remove the sandboxes of containers that are gone: no process is in their namespace.

    What an engine or a runtime that was killed left behind. A container that is stopped, but not
    deleted, gets a new sandbox when it is started again.

    \b
    Example:
      sudo netmgr oci gc
    """
    from netmgr import calls

    need_root("oci gc")
    removed = []
    with session.client() as client:
        found = client.send(calls.sandbox_list())["sandboxes"]
        living = inhabited()
        for sandbox in found:
            young = time.time() - float(sandbox["created"]) < older_than
            if shim_words.CONTAINER_LABEL not in sandbox["labels"] or young:
                continue
            if identity(sandbox["netns"]) not in living:
                with suppress(NotFound):  # its engine has come to it meanwhile
                    client.send(calls.sandbox_delete(sandbox["name"]))
                    removed.append(sandbox["name"])
    rows = tuple((render.cell(name),) for name in removed)
    screen.show(
        {"removed": removed}, [render.Grid(("REMOVED",), rows, "nothing to remove")], output
    )


def _offer(words: shim_words.Words, selectable: tuple[str, ...]) -> None:
    try:
        for word in selectable:
            kind, _, value = word.partition("=")
            shim_words.offer(words, kind, value)
    except shim_words.Refused as refusal:
        raise BadInput(f"--{refusal}") from refusal


def _socket(session: Session) -> list[str]:
    return [f"{shim_words.PREFIX}socket={session.path}"]
