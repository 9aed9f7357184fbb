"""Owns: `netmgr completion SHELL`: the script that makes a shell complete our commands."""

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      netmgr completion bash > /etc/bash_completion.d/netmgr
      netmgr completion zsh > "${fpath[1]}/_netmgr"
      netmgr completion fish > ~/.config/fish/completions/netmgr.fish
    """
    from click.shell_completion import get_completion_class

    from netmgr_cli.main import cli

    found = get_completion_class(shell)
    assert found is not None  # click has all of SHELLS
    click.echo(found(cli, {}, "netmgr", "_NETMGR_COMPLETE").source())
