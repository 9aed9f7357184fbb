"""Owns: the plugin's errors, with the codes of the specification. No I/O."""

from netmgr_cli.shim.wire import Failure

INCOMPATIBLE_VERSION = 1
UNSUPPORTED_FIELD = 2
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODING_FAILURE = 6
INVALID_CONFIG = 7
TRY_AGAIN = 11
NOT_AVAILABLE = 50  # STATUS: no container can be served

# From 100 on codes are a plugin's own. docs/runtimes/cni.md lists them.
_OF_DAEMON = {
    "daemon_unreachable": TRY_AGAIN,
    "try_later": TRY_AGAIN,
    "invalid_input": INVALID_CONFIG,
    "refused": 101,
    "conflict": 102,
    "limit_exceeded": 103,
    "host_failed": 104,
    "not_found": 105,
}
OTHER = 100
DIFFERS = 106  # CHECK: the sandbox is not as it was left


class Fault(Exception):
    """Why a command failed.

    Attributes:
        code: of the specification's table, or our own.
        details: what to do about it; may be empty.
    """

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


def render_fault(fault: Fault, version: str) -> dict[str, object]:
    """The error as it is written to standard output."""
    shown: dict[str, object] = {
        "cniVersion": version,
        "code": fault.code,
        "msg": f"netmgr: {fault.message}",
    }
    return shown | ({"details": fault.details} if fault.details else {})


def render_failure(failure: Failure, version: str) -> dict[str, object]:
    """The same for what the daemon answered, or did not."""
    return render_fault(Fault(_OF_DAEMON.get(failure.code, OTHER), failure.message), version)
