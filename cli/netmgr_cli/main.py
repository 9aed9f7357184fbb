"""Owns: the command `netmgr`: its groups, and how an error becomes a message and an exit status.

Knows nothing of what the commands do: each is imported when it is called, so that `--help` and a
short command start fast.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from netmgr import __version__
from netmgr.errors import NetmgrError, did_you_mean
from netmgr_cli.options import socket_option

INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
USAGE: Final = 2

# name -> (module:attribute, the line that `netmgr --help` shows)
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": ("run:run", "Run a command in a sandbox of its own, gone afterwards."),
    "sandbox": ("sandbox:sandbox", "Create, list, show, check and delete sandboxes; run in them."),
    "policy": ("policy:policy", "Set, change, compare and explain network policies."),
    "provider": ("provider:provider", "Keep the credentials of model providers."),
    "inference": ("inference:inference", "Say which model answers at inference.local."),
    "trust": ("trust:trust", "Make programs in a sandbox trust it, and see which do."),
    "route": ("route:route", "Say which model endpoint may answer which call."),
    "audit": ("audit:audit", "Prove from the records what happened."),
    "vault": ("vault:vault", "Look after the key that credentials are encrypted with."),
    "observe": ("observe:observe", "Show decisions: history and live."),
    "status": ("status:status", "Show the health of every part of the daemon."),
    "hub": ("hub:hub", "Look at the namespace that all sandboxes end in."),
    "doctor": ("doctor:doctor", "Check what this host lacks, and say how to get it."),
    "oci": ("oci:oci", "Give containers of podman, Docker, containerd and runc sandboxes."),
    "cdi": ("cdi:cdi", "Write CDI specifications: a sandbox as a device of containers."),
    "cni": ("cni:cni", "Be the CNI plugin of container runtimes, or install it."),
    "netavark": ("netavark:netavark", "Be a driver of podman's netavark."),
    "daemon": ("main:daemon", "Run the daemon in the foreground."),
    "completion": ("completion:completion", "Print the completion script of a shell."),
    "version": ("status:version", "Print the versions of the command line and the daemon."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(f"netmgr_cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            hint = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Exit status: 0 done, 1 failed, 2 usage or invalid input, 3 not found, 4 conflict, "
    "5 daemon not reachable, 6 denied, 130 interrupted.",
)
@socket_option
@click.version_option(__version__, "-V", "--version", prog_name="netmgr")
def cli() -> None:
    """netmgr: what sandboxes may reach, and through which door.

    \b
    Examples:
      sudo netmgr run --allow example.com -- curl https://example.com/
      netmgr sandbox list
      netmgr observe -f --verdict denied
    """


@cli.command(name="daemon", hidden=True)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Configuration file (NETMGR_CONFIG)."
)
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where state is kept.")
@click.option(
    "--run-dir", type=click.Path(path_type=Path), help="Where the socket and sandboxes' files are."
)
@click.option("--instance", metavar="NAME", help="Name of this daemon; several can live on a host.")
def daemon(
    config: Path | None,
    state_dir: Path | None,
    run_dir: Path | None,
    instance: str | None,
) -> int:
    """Run the daemon in the foreground.

    SIGTERM stops it gracefully: flows drain, the sandboxes' fences stay. SIGHUP reads the
    configuration again.

    \b
    Examples:
      netmgr daemon
      netmgr daemon --config ./netmgr.yaml --instance test
    """
    from netmgr_cli.daemon import run

    return run(config, state_dir, run_dir, instance)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; its exit status (`docs/cli.md`). The console script's entrance."""
    try:
        status = _call(arguments)
        if sys.stdout is not None:  # None where the descriptor was closed at the start
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has gone (`| head`): nothing to complain about. The interpreter would
        # flush stdout once more at its end, hence the descriptor behind it is replaced. Where it
        # is noticed earlier, click ends with the same status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NetmgrError.exit_status
    return status


def _call(arguments: Sequence[str] | None) -> int:
    try:
        result: Any = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="netmgr",
            standalone_mode=False,
        )
    except NetmgrError as error:
        _complain(error.message)
        return error.exit_status
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted")
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _complain(message: str) -> None:
    click.echo(f"netmgr: {message}", err=True)
