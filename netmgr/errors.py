"""Owns: the taxonomy of errors, cut by who has to act, and the exit and HTTP status of each.

A new class needs a caller that treats it differently.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class NetmgrError(Exception):
    """Base of every error that netmgr raises on purpose.

    Attributes:
        code: machine-readable code of the API's error body.
        exit_status: status of the command line (docs/cli.md).
        http_status: status of the control API.
        details: further facts for the error body; JSON values only, never a secret.
    """

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class BadInput(NetmgrError):
    """The caller's words are wrong; the message names the place and the nearest valid thing."""

    code = "invalid_input"
    exit_status = 2
    http_status = 422


class NotFound(NetmgrError):
    """What was named does not exist."""

    code = "not_found"
    exit_status = 3
    http_status = 404


class Conflict(NetmgrError):
    """It exists with other parameters, has another revision, or is still referred to."""

    code = "conflict"
    exit_status = 4
    http_status = 409


class Refused(NetmgrError):
    """The caller may not do this."""

    code = "refused"
    exit_status = 1
    http_status = 403


class NotVerified(NetmgrError):
    """A model provider did not answer as it should; nothing was saved."""

    code = "not_verified"
    exit_status = 1
    http_status = 502


class Unreachable(NetmgrError):
    """The daemon does not answer on its socket."""

    code = "daemon_unreachable"
    exit_status = 5
    http_status = 503


class HostFailed(NetmgrError):
    """The kernel or the host refused or lacks something; the operator has to act."""

    code = "host_failed"
    exit_status = 1
    http_status = 500


class TryLater(NetmgrError):
    """A worker or the journal is not ready; the same call may work in a moment."""

    code = "try_later"
    exit_status = 1
    http_status = 503


class LimitExceeded(NetmgrError):
    """A named bound is full: addresses, set entries, sandboxes."""

    code = "limit_exceeded"
    exit_status = 1
    http_status = 429


BY_CODE: dict[str, type[NetmgrError]] = {
    cls.code: cls
    for cls in (
        NetmgrError,
        BadInput,
        NotFound,
        Conflict,
        Refused,
        NotVerified,
        Unreachable,
        HostFailed,
        TryLater,
        LimitExceeded,
    )
}


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `word`, or None where nothing is near."""
    found = get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing: the tail of an error about an unknown word."""
    near = nearest(word, candidates)
    return f"; did you mean {near!r}?" if near else ""
