"""Owns: what the commands' options have in common: the socket, the output format, files, K=V.

Knows nothing of the daemon's answers.
"""

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

from netmgr.errors import BadInput

if TYPE_CHECKING:
    from netmgr.calls import PolicyFile
    from netmgr.client import Client

SOCKET_VARIABLE: Final = "NETMGR_SOCKET"
MAX_FILE: Final = 1024 * 1024  # bytes of a policy file; the daemon takes no more either

F = TypeVar("F", bound=Callable[..., Any])


class Format(StrEnum):
    """How an answer is shown."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(slots=True)
class Session:
    """What one command line works with.

    Attributes:
        socket_path: `--socket`, else NETMGR_SOCKET, else None: the default.
    """

    socket_path: str | None = None

    @property
    def path(self) -> str:
        """The socket to use."""
        from netmgr.client import DEFAULT_SOCKET

        return self.socket_path or DEFAULT_SOCKET

    def client(self) -> "Client":
        """A client of the daemon. It connects with the first call."""
        from netmgr.client import Client

        if not sys.stderr.isatty():
            return Client(self.path)
        from netmgr_cli.patience import TellingClient

        return TellingClient(self.path)


pass_session = click.make_pass_decorator(Session, ensure=True)


def _keep_socket(ctx: click.Context, option: click.Parameter, value: str | None) -> None:
    """What stands on the command line, before or behind the command's name, beats the variable."""
    session = ctx.ensure_object(Session)
    told = ctx.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
    if value and (told or session.socket_path is None):
        session.socket_path = value


# Accepted before and behind the command's name: nobody should have to remember which.
socket_option = click.option(
    "--socket",
    metavar="PATH",
    envvar=SOCKET_VARIABLE,
    expose_value=False,
    is_eager=True,
    callback=_keep_socket,
    help="The daemon's socket.  [default: /run/netmgr/api.sock]",
)


def speaks(command: F) -> F:
    """A command that talks to the daemon: `--socket`, and the session as first argument."""
    return socket_option(pass_session(command))  # type: ignore[return-value]  # click keeps no types


def shows(command: F) -> F:
    """A command that reads: `-o table|json|yaml`, as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice([str(f) for f in Format]),
        default=Format.TABLE.value,
        callback=lambda _ctx, _param, value: Format(value),
        help="How to show it.  [default: table]",
    )(command)


def parse_pairs(words: Iterable[str], option: str) -> dict[str, str]:
    """`K=V` words as a mapping.

    Raises:
        BadInput: a word has no '=', an empty key, or a key that stands twice.
    """
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise BadInput(f"{option} {word!r}: expected KEY=VALUE")
        if key in pairs:
            raise BadInput(f"{option} {word!r}: {key!r} is given twice")
        pairs[key] = value
    return pairs


def read_text(path: str, what: str) -> str:
    """A file's text ('-' is stdin). The daemon never opens what a command line names.

    Raises:
        BadInput: it cannot be read, is too large, or is no UTF-8.
    """
    try:
        if path == "-":
            raw = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with Path(path).open("rb") as file:
                raw = file.read(MAX_FILE + 1)
    except OSError as error:
        raise BadInput(f"{what} {path}: {error.strerror}") from error
    if len(raw) > MAX_FILE:
        raise BadInput(f"{what} {path}: larger than {MAX_FILE} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{what} {path}: no UTF-8 at byte {error.start}") from error


def read_policy(path: str) -> "PolicyFile":
    """A policy file, ready for the daemon."""
    return {"text": read_text(path, "policy"), "source": "<stdin>" if path == "-" else path}


def need_root(doing: str) -> None:
    """Refuse before anything is done where root will be needed.

    Raises:
        Refused: the caller is not root.
    """
    if os.geteuid() != 0:
        from netmgr.errors import Refused

        raise Refused(f"{doing} needs root: try again with sudo")
