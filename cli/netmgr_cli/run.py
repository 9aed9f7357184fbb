"""Owns: `netmgr run`: a sandbox, a command in it, and nothing left afterwards."""

import contextlib
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from netmgr.errors import BadInput, Conflict, NetmgrError, NotFound, Unreachable
from netmgr_cli import screen
from netmgr_cli.options import Session, need_root, parse_pairs, read_policy, speaks
from netmgr_cli.sandbox import creates

if TYPE_CHECKING:
    from netmgr_cli.identity import Identity


@click.command(context_settings={"allow_interspersed_args": False})
@creates
@click.option("--name", help="Name of the sandbox.  [default: run-RANDOM]")
@click.option("--user", metavar="U", help="Run as this user (name or uid).")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@speaks
def run(session: Session, name: str | None, user: str | None, **given: Any) -> int:
    """Run CMD in a sandbox of its own, gone afterwards; the status is CMD's.

    Nothing is reachable but inference.local and what --policy and --allow name. CMD runs as the
    user who called sudo, or as nobody. Where no daemon runs on this host, a private one is started
    for as long as CMD runs.

    \b
    Examples:
      sudo netmgr run -- curl https://inference.local/v1/models
      sudo netmgr run --allow git.example.com -- \\
        git clone https://git.example.com/tools.git
      sudo netmgr run --policy agent.yaml --user me -- claude
    """
    from netmgr_cli.identity import choose_identity

    need_root("run")
    identity = choose_identity(user)
    wanted = {
        "policy": read_policy(given["policy"]) if given["policy"] else None,
        "allow": given["allow"],
        "tenant": given["tenant"],
        "labels": parse_pairs(given["labels"], "--label"),
        "trust_stores": given["trust_stores"],
    }
    from netmgr_cli.enter import Errand, enter

    with _ending_in_order() as ending, _some_daemon(session) as (socket_path, private):
        ending.check()
        here = Session(socket_path)
        with _sandbox(here, name, wanted, identity) as (box, secret_names):
            errand = Errand.into(box, given["command"], identity, hide=secret_names, cover=private)
            ending.check()
            return enter(errand)


class _Ending:
    """A signal that asks netmgr to end, while no command runs that it would be passed on to.

    It is raised at once and kept: Python prints and forgets what a handler raises while a finalizer
    or an import's callback runs (sys.unraisablehook). `check` raises it again.
    """

    def __init__(self) -> None:
        self._number: int | None = None

    def take(self, number: int, _: FrameType | None) -> None:
        """Be the handler."""
        self._number = number
        self.check()

    def check(self) -> None:
        """Leave, by way of every undoing, where a signal came."""
        if self._number == signal.SIGINT:
            raise KeyboardInterrupt
        if self._number is not None:
            raise SystemExit(128 + self._number)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[_Ending]:
    """SIGINT, SIGTERM and SIGHUP leave by way of the undoing."""
    ending = _Ending()
    before = {
        number: signal.signal(number, ending.take)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Steps that no signal cuts short, each with a deadline of its own. What came meanwhile is
    delivered afterwards. (By handlers, not SIG_IGN: that a child would inherit.)"""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _frame: came.append(got))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


@contextlib.contextmanager
def _some_daemon(session: Session) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """The daemon of this host, or a private one; its socket, and directories to hide inside.

    Raises:
        Unreachable: a daemon was named, or has state on this host, and does not answer.
    """
    from netmgr import calls

    try:
        with session.client() as client:
            client.send(calls.version())
    except Unreachable as error:
        state = _state_directory()
        if session.socket_path is not None:
            raise
        if state.exists():
            raise Unreachable(
                f"{error.message}. A private daemon is not started, because {state} says that "
                "this host has one of its own"
            ) from error
    else:
        yield session.path, ()
        return
    from netmgr_cli.private import private_daemon

    with private_daemon() as private:
        yield str(private.socket), (private.root,)


def _state_directory() -> Path:
    from netmgr.settings.file import load_settings

    return load_settings().state_dir


@contextlib.contextmanager
def _sandbox(
    session: Session, name: str | None, wanted: dict[str, Any], identity: "Identity"
) -> Iterator[tuple[Any, frozenset[str]]]:
    """A sandbox for as long as the block runs, and the names of variables that hold credentials."""
    from netmgr import calls, provider_calls
    from netmgr_cli.host_stores import with_stores

    if name is not None:
        _refuse_existing(session, name)
    chosen = name or f"run-{secrets.token_hex(4)}"
    with session.client() as client:
        secret_names = provider_calls.credential_names(client.send(provider_calls.provider_list()))
    try:
        with session.client() as client:
            made = client.send(calls.sandbox_create(chosen, **wanted))
            box = with_stores(client, made, identity)
        yield box, secret_names
    except (BadInput, Conflict):
        raise  # nothing was made
    except BaseException:
        _delete(session, chosen)
        raise
    else:
        _delete(session, chosen)


def _refuse_existing(session: Session, name: str) -> None:
    """A sandbox that is there already would be deleted at the end: it is somebody else's."""
    from netmgr import calls

    with session.client() as client, contextlib.suppress(NotFound):
        client.send(calls.sandbox_show(name))
        raise Conflict(
            f"sandbox {name!r} exists: `netmgr sandbox exec {name}` runs a command in it"
        )


def _delete(session: Session, name: str) -> None:
    from netmgr import calls

    with undisturbed(), session.client() as client:
        try:
            client.send(calls.sandbox_delete(name))
        except NotFound:
            pass
        except NetmgrError as error:
            screen.note(f"netmgr: sandbox {name} is left behind: {error.message}")
