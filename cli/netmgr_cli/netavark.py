"""Owns: `netmgr netavark`: the driver for podman's netavark, as small programs in its directories.
What they do is `netmgr_cli.shim.netavark`'s.
"""

from pathlib import Path
from typing import Final

import click

from netmgr.errors import NotFound
from netmgr_cli import programs, screen

PLUGIN_DIR: Final = Path("/usr/libexec/netavark")  # podman 4.6's first netavark_plugin_dirs but one
NETAVARK: Final = Path("/usr/lib/podman/netavark")
MODULE: Final = "netmgr_cli.shim.netavark.plugin"


@click.group()
def netavark() -> None:
    """Let podman's netavark make sandboxes.

    \b
    Examples:
      sudo netmgr netavark install
      sudo netmgr netavark install --front /opt/netmgr/libexec
    """


@netavark.command()
@click.option(
    "--plugin-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=PLUGIN_DIR,
    show_default=True,
    help="Where netavark 1.6 or later looks for drivers.",
)
@click.option(
    "--front",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="For an older netavark: a program to stand before it, in one of helper_binaries_dir.",
)
@click.option(
    "--netavark",
    "behind",
    type=click.Path(path_type=Path, dir_okay=False),
    default=NETAVARK,
    show_default=True,
    help="The netavark behind the front.",
)
def install(plugin_dir: Path, front: Path | None, behind: Path) -> None:
    """Write the driver `netmgr`, or the front for a netavark without drivers. Twice is once.

    \b
    Examples:
      sudo netmgr netavark install
      sudo netmgr netavark install --front /opt/netmgr/libexec
    """
    python = programs.interpreter()
    text = programs.render_program("netavark", MODULE, python)
    path = plugin_dir / "netmgr"
    if front is not None:
        if not behind.exists():
            raise NotFound(f"{behind}: no netavark there; --netavark names it")
        path, words = front / "netavark", [str(behind)]
        text = programs.render_program("netavark", MODULE, python, words)
        text = text.replace("import main", "import front as main")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = programs.install_program(path, text)
    screen.note(f"{path} {'written' if new else 'stands already'}")
