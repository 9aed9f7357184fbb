"""Owns: `netmgr cdi ...`: specification files by which engines put a sandbox's files and variables
into a container. What stands in them is `inject.py`'s.
"""

from pathlib import Path
from typing import Any, Final

import click

from netmgr.errors import BadInput, HostFailed
from netmgr_cli import inject, screen
from netmgr_cli.options import Session, speaks

DIRECTORY: Final = Path("/etc/cdi")  # what engines read; /var/run/cdi is the other
PREFIX: Final = "netmgr.dev-sandbox_"  # and the device's name: one file each

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=DIRECTORY,
    show_default=True,
    help="Where the files go.",
)


@click.group()
def cdi() -> None:
    """Let containers have a sandbox's certificates, resolver and environment as a CDI device.

    \b
    Example:
      sudo netmgr cdi generate demo
    """


@cdi.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@directory_option
@speaks
def generate(session: Session, names: tuple[str, ...], directory: Path) -> None:
    """Write a specification for each sandbox NAME, or for all that there are.

    A NAME needs not exist yet: all of it follows from the name. Without one, files of sandboxes
    that are gone are removed.

    \b
    Examples:
      sudo netmgr cdi generate demo
      sudo netmgr cdi generate --dir /var/run/cdi
    """
    from netmgr import calls

    with session.client() as client:
        every = [box["name"] for box in client.send(calls.sandbox_list())["sandboxes"]]
        wanted: tuple[Any, ...] = names or tuple(every)
        texts = {name: client.send(calls.sandbox_injection(name)) for name in wanted}
    rendered = {name: inject.render_cdi(found) for name, found in texts.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in rendered.items():
            _write(directory / f"{PREFIX}{name}.json", text)
            screen.note(f"{inject.CDI_KIND}={name}")
        for path in [] if names else _files(directory):
            if path.stem.removeprefix(PREFIX) not in every:
                path.unlink()
    except OSError as problem:
        raise HostFailed(f"{directory}: {problem.strerror}") from problem


@cdi.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "every", is_flag=True, help="All that netmgr wrote.")
@directory_option
def remove(names: tuple[str, ...], every: bool, directory: Path) -> None:
    """Take specifications away again.

    \b
    Example:
      sudo netmgr cdi remove demo
    """
    if every == bool(names):
        raise BadInput("name the specifications to remove, or give --all")
    try:
        for path in _files(directory):
            if every or path.stem.removeprefix(PREFIX) in names:
                path.unlink(missing_ok=True)
                screen.note(f"{path} removed")
    except OSError as problem:
        raise HostFailed(f"{directory}: {problem.strerror}") from problem


def _files(directory: Path) -> list[Path]:
    return sorted(directory.glob(f"{PREFIX}*.json"))


def _write(path: Path, text: str) -> None:
    """Whole or not at all: an engine may read it at any time."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text)
    aside.chmod(0o644)
    aside.replace(path)
