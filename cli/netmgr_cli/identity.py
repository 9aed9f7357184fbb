"""Owns: as whom a command runs in a sandbox, and the environment that it gets."""

import os
import pwd
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from netmgr.errors import BadInput
from netmgr.keys.injection import merged_env

NOBODY: Final = "nobody"
MAX_UID: Final = 2**32 - 2  # the number after it means "no change" to setresuid(2)
MAX_DIGITS: Final = 10  # of such a number
# What a system user has in place of a shell; programs that run $SHELL would fail.
NO_SHELLS: Final = ("/nologin", "/false", "/sync")

# Each of these is a way back to the host, or says where one is.
HIDDEN_VARIABLES: Final = frozenset(
    {
        "SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY",
        "GPG_AGENT_INFO", "GPG_TTY", "DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET",
        "XDG_RUNTIME_DIR", "XDG_SESSION_ID", "PULSE_SERVER", "PIPEWIRE_REMOTE", "SESSION_MANAGER",
        "ICEAUTHORITY", "TMUX", "TMUX_PANE", "STY", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID",
        "LISTEN_FDNAMES", "JOURNAL_STREAM", "INVOCATION_ID", "CREDENTIALS_DIRECTORY",
        "WATCHDOG_USEC", "WATCHDOG_PID", "KRB5CCNAME", "DOCKER_HOST", "CONTAINER_HOST",
        "KUBECONFIG", "VSCODE_IPC_HOOK", "VSCODE_IPC_HOOK_CLI", "VSCODE_GIT_IPC_HANDLE",
        "RESOLV_HOST_CONF", "LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES",
    }
)  # fmt: skip
HIDDEN_PREFIXES: Final = ("DBUS_", "SUDO_", "NETMGR_")
HIDDEN_SUFFIXES: Final = ("_PROXY",)  # a sandbox needs no proxy, and the host's is not there


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, as numbers and words."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    shell: str


def choose_identity(user: str | None, environ: Mapping[str, str] | None = None) -> Identity:
    """`--user`, else who called sudo, else nobody.

    Args:
        environ: where SUDO_UID is looked up; the process's own environment by default.

    Raises:
        BadInput: there is no such user. A number needs no name.
    """
    if user is not None:
        return _named(user)
    sudo = (os.environ if environ is None else environ).get("SUDO_UID", "")
    if sudo.isascii() and sudo.isdigit() and int(sudo) != 0:
        return _named(sudo)
    return _named(NOBODY)


def _named(user: str) -> Identity:
    number = int(user) if user.isascii() and user.isdecimal() and len(user) <= MAX_DIGITS else None
    try:
        found = pwd.getpwnam(user) if number is None else pwd.getpwuid(number)
    except (KeyError, OverflowError):
        if number is not None and number <= MAX_UID:
            return _unnamed(number)
        raise BadInput(f"--user {user!r}: this host has no such user") from None
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return Identity(
        uid=found.pw_uid,
        gid=found.pw_gid,
        groups=tuple(groups),
        name=found.pw_name,
        home=found.pw_dir or "/",
        shell=_shell(found.pw_shell),
    )


def _unnamed(uid: int) -> Identity:
    """A number that is nobody's account here, as files of containers have; in nobody's group."""
    gid = pwd.getpwnam(NOBODY).pw_gid
    return Identity(uid, gid, (gid,), str(uid), "/", "/bin/sh")


def _shell(shell: str) -> str:
    return "/bin/sh" if not shell or shell.endswith(NO_SHELLS) else shell


def is_hidden(name: str) -> bool:
    """Whether a variable of the host stays outside."""
    return (
        name in HIDDEN_VARIABLES
        or name.startswith(HIDDEN_PREFIXES)
        or name.upper().endswith(HIDDEN_SUFFIXES)
    )


def environment(
    outer: Mapping[str, str],
    identity: Identity,
    trust: Mapping[str, str],
    secret_names: Collection[str],
) -> dict[str, str]:
    """The environment inside.

    Args:
        outer: the caller's environment.
        trust: what the sandbox adds (certificate variables); it wins.
        secret_names: variables that hold providers' credentials: those stay outside.
    """
    kept = {k: v for k, v in outer.items() if not is_hidden(k) and k not in secret_names}
    person = {
        "HOME": identity.home,
        "USER": identity.name,
        "LOGNAME": identity.name,
        "SHELL": identity.shell,
    }
    return merged_env({**kept, **person}, trust)
