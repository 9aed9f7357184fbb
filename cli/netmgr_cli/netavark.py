"""Owns: `netmgr netavark`: the driver for podman's netavark, as small programs in its directories.
What they do is `netmgr_cli.shim.netavark`'s.
"""

from pathlib import Path
from typing import Final

import click

from netmgr.errors import NotFound
from netmgr_cli import programs, screen
from netmgr_cli.guard import guard_option, install_guard, remove_guard

PLUGIN_DIR: Final = Path("/usr/libexec/netavark")  # podman 4.6's first netavark_plugin_dirs but one
NETAVARK: Final = Path("/usr/lib/podman/netavark")
MODULE: Final = "netmgr_cli.shim.netavark.plugin"


plugin_dir_option = click.option(
    "--plugin-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=PLUGIN_DIR,
    show_default=True,
    help="Where netavark 1.6 or later looks for drivers.",
)
front_option = click.option(
    "--front",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="For an older netavark: a program to stand before it, in one of helper_binaries_dir.",
)


@click.group()
def netavark() -> None:
    """Let podman's netavark make sandboxes.

    \b
    Examples:
      sudo netmgr netavark install
      sudo netmgr netavark install --front /opt/netmgr/libexec
    """


@netavark.command()
@plugin_dir_option
@front_option
@click.option(
    "--netavark",
    "behind",
    type=click.Path(path_type=Path, dir_okay=False),
    default=NETAVARK,
    show_default=True,
    help="The netavark behind the front.",
)
@guard_option
def install(plugin_dir: Path, front: Path | None, behind: Path, hooks_dir: Path) -> None:
    """Write the driver `netmgr`, or the front for a netavark without drivers. Twice is once.

    Netavark does not see what a container may do. podman's hook, which does, is written, too.

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
    install_guard("netavark", hooks_dir, python)


@netavark.command()
@plugin_dir_option
@front_option
@guard_option
def uninstall(plugin_dir: Path, front: Path | None, hooks_dir: Path) -> None:
    """Take the driver, or the front, away again, and podman's hook.

    \b
    Examples:
      sudo netmgr netavark uninstall
      sudo netmgr netavark uninstall --front /opt/netmgr/libexec
    """
    path = front / "netavark" if front is not None else plugin_dir / "netmgr"
    gone = programs.remove_program(path)
    screen.note(f"{path} {'removed' if gone else 'is not there'}")
    remove_guard("netavark", hooks_dir)
