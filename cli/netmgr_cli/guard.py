"""Owns: the guard's file in podman's hooks directory: podman's network plugins do not see what a
container may do, and its hooks do. What the guard does is `netmgr_cli.shim.oci.guard`'s.
"""

import json
import shlex
from pathlib import Path
from typing import Final

import click

from netmgr_cli import programs, screen
from netmgr_cli.shim.oci.container import self_command

HOOKS_DIR: Final = Path("/usr/share/containers/oci/hooks.d")  # what podman reads unless told
PODMAN: Final = Path("/usr/bin/podman")
# Without a hub there is no sandbox, and no interpreter is started; with one, and without the
# interpreter, no container is.
_SCRIPT: Final = """\
{ours} `netmgr {verb} install` writes it again.
for hub in /run/netns/*-hub; do
  [ -e "$hub" ] && exec {guard}
done
exit 0
"""

guard_option = click.option(
    "--hooks-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=HOOKS_DIR,
    show_default=True,
    help="podman's, where podman is: a hook there refuses containers that reach past their door.",
)


def render_guard(verb: str, python: Path) -> str:
    """The hook, as oci-hooks(5) has it: for every container, before any of it runs."""
    command = shlex.join(self_command("guard", str(python)))
    script = _SCRIPT.format(ours=programs.OURS, verb=verb, guard=command)
    hook = {
        "version": "1.0.0",
        "hook": {"path": "/bin/sh", "args": ["sh", "-c", script]},
        "when": {"always": True},
        "stages": ["createRuntime"],
    }
    return json.dumps(hook, indent=2) + "\n"


def install_guard(verb: str, directory: Path, python: Path) -> None:
    """Write the guard, where there is a podman."""
    if PODMAN.exists() or directory != HOOKS_DIR:
        directory.mkdir(parents=True, exist_ok=True)
        path = _path(verb, directory)
        new = programs.install_program(path, render_guard(verb, python))
        screen.note(f"{path} {'written' if new else 'stands already'}")


def remove_guard(verb: str, directory: Path) -> None:
    """Take it away again."""
    path = _path(verb, directory)
    if programs.remove_program(path):
        screen.note(f"{path} removed")


def _path(verb: str, directory: Path) -> Path:
    return directory / f"netmgr-{verb}.json"
