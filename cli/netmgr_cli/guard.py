"""Owns: where the guard stands: podman's hooks directory, or the specification that containerd
makes its containers from. Network plugins do not see what a container may do, and hooks do. What
the guard does is `netmgr_cli.shim.oci.guard`'s.
"""

import json
import shlex
from pathlib import Path
from typing import Any, Final

import click

from netmgr.errors import BadInput
from netmgr_cli import programs, screen
from netmgr_cli.shim.oci.container import self_command

HOOKS_DIR: Final = Path("/usr/share/containers/oci/hooks.d")  # what podman reads unless told
PODMAN: Final = Path("/usr/bin/podman")
STAGE: Final = "createRuntime"  # the namespaces are there, and nothing of the container has run
# Without a hub there is no sandbox, and no interpreter is started; with one, and without the
# interpreter, no container is.
_SCRIPT: Final = """\
{ours} `netmgr {verb}` writes it again.
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
    hook = {
        "version": "1.0.0",
        "hook": _hook(f"{verb} install", python, None),
        "when": {"always": True},
        "stages": [STAGE],
    }
    return json.dumps(hook, indent=2) + "\n"


def guarded(text: str, python: Path, home: Path | None = None) -> str:
    """A configuration (OCI runtime specification, config.md) with the guard among its hooks; twice
    is once.

    Args:
        home: where `netmgr_cli` is on the host that it is for; None: here.

    Raises:
        BadInput: it is none.
    """
    try:
        config = json.loads(text)
    except ValueError as error:
        raise BadInput(f"expected an OCI configuration on standard input: {error}") from error
    if not isinstance(config, dict) or "ociVersion" not in config:
        raise BadInput("expected an OCI configuration on standard input: it has no ociVersion")
    hook = _hook("cni guard", python, home)
    hooks = config.setdefault("hooks", {})
    others = [one for one in hooks.get(STAGE, []) if programs.OURS not in str(one.get("args"))]
    hooks[STAGE] = [hook, *others]
    return json.dumps(config, indent=2) + "\n"


def _hook(verb: str, python: Path, home: Path | None) -> dict[str, Any]:
    words = self_command("guard", str(python), str(home) if home else None)
    script = _SCRIPT.format(ours=programs.OURS, verb=verb, guard=shlex.join(words))
    return {"path": "/bin/sh", "args": ["sh", "-c", script]}


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
