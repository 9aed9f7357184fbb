"""Owns: `netmgr cni`: the plugin as a command, and the small program that stands for it in a
directory of CNI plugins. What the plugin does is `netmgr_cli.shim.cni`'s.
"""

import sys
from pathlib import Path
from typing import Final

import click

from netmgr_cli import programs, screen
from netmgr_cli.guard import guard_option, guarded, install_guard, remove_guard

BIN_DIR: Final = Path("/opt/cni/bin")  # of containerd, CRI-O and Kubernetes; Debian: /usr/lib/cni
MODULE: Final = "netmgr_cli.shim.cni.plugin"

bin_dir = click.option(
    "--bin-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=BIN_DIR,
    show_default=True,
    help="Where the runtime looks for plugins.",
)
plugin_name = click.option(
    "--name", default="netmgr", show_default=True, help="The `type` in network configurations."
)


@click.group(invoke_without_command=True)
@click.pass_context
def cni(ctx: click.Context) -> int:
    """Act as a CNI plugin: environment and standard input as the specification has them.

    Runtimes start the program that `netmgr cni install` writes: it does the same and starts in a
    fraction of the time.

    \b
    Example:
      sudo netmgr cni install --bin-dir /opt/cni/bin
    """
    if ctx.invoked_subcommand is not None:
        return 0
    from netmgr_cli.shim.cni.plugin import main

    return main()


python_option = click.option(
    "--python",
    type=click.Path(path_type=Path, dir_okay=False),
    default=programs.interpreter,
    show_default="the one that runs this",
    help="Interpreter of the program.",
)


@cni.command()
@bin_dir
@plugin_name
@python_option
@guard_option
@programs.copy_option
def install(bin_dir: Path, name: str, python: Path, hooks_dir: Path, home: Path | None) -> None:
    """Write the plugin into a directory of CNI plugins. Twice is once.

    The plugin does not see what a container may do. Where podman is, a hook is written that does.

    \b
    Examples:
      sudo netmgr cni install
      sudo netmgr cni install --bin-dir /usr/lib/cni
      netmgr cni install --copy-to /opt/cni/netmgr --python /usr/bin/python3
    """
    path = bin_dir / name
    if home is not None:
        programs.copy_shim(home)
    text = programs.render_program("cni", MODULE, python, home=home)
    new = programs.install_program(path, text)
    screen.note(f"{path} {'written' if new else 'stands already'}")
    install_guard("cni", hooks_dir, python)


@cni.command()
@python_option
@programs.copy_option
def guard(python: Path, home: Path | None) -> None:
    """Add the guard to an OCI configuration: standard input to standard output.

    For containerd, which has no directory of hooks: the file that a runtime's
    `base_runtime_spec` names is where all of its containers begin.

    \b
    Example:
      ctr oci spec | netmgr cni guard | sudo tee /etc/containerd/guarded.json
    """
    if home is not None:
        programs.copy_shim(home)
    click.echo(guarded(sys.stdin.read(), python, home), nl=False)


@cni.command()
@bin_dir
@plugin_name
@guard_option
def uninstall(bin_dir: Path, name: str, hooks_dir: Path) -> None:
    """Take the plugin away again.

    \b
    Example:
      sudo netmgr cni uninstall --bin-dir /usr/lib/cni
    """
    path = bin_dir / name
    gone = programs.remove_program(path)
    screen.note(f"{path} {'removed' if gone else 'is not there'}")
    remove_guard("cni", hooks_dir)
