"""Owns: what has become of an attempt, and whether another endpoint is asked instead. Pure.

A failure before the commit point may be repaired by the next endpoint of the plan; what a file's
`retry_on` names, and nothing that its `never_on` names. A refused credential is never repaired: the
next endpoint would hide from the operator that a key is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from netmgr.reasons import Reason
from netmgr.routing.language import Failure
from netmgr_proxy.routing.breaker import MAX_HOLD_S
from netmgr_proxy.wire.face import Refusal

CONNECT: Final = "connect"
TLS: Final = "tls"
RESET: Final = "reset_before_headers"
TIMEOUT: Final = "timeout"
GATEWAY_TIMEOUT: Final = 504  # what a gateway says of an upstream that did not answer in time
AUTH: Final = (401, 403)

# What has nothing to do with the endpoint.
OURS: Final = frozenset(
    (
        Reason.UNKNOWN_CALLER,
        Reason.JOURNAL_UNAVAILABLE,
        Reason.POLICY_STALE,
        Reason.NOT_CONFIGURED,
        Reason.LIMIT_EXCEEDED,
        Reason.MALFORMED_REQUEST,
    )
)
# Told before a byte of the request was sent, whoever asked: so it counts for all sandboxes.
_OF_THE_ENDPOINT: Final = frozenset((CONNECT, TLS))


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an attempt failed.

    Attributes:
        word: as `retry_on` calls it: a status, or one of netmgr.routing.language.FAULTS.
        reason: as records call it.
        retry_after_s: how long the endpoint asks to be left alone; None where it does not.
        elsewhere: the endpoint was found where it must not be.
    """

    word: str | int
    reason: Reason
    status: int | None = None
    retry_after_s: float | None = None
    elsewhere: bool = False

    @property
    def of_the_endpoint(self) -> bool:
        """Whether what was asked can have no part in it."""
        return self.word in _OF_THE_ENDPOINT


def fault_of(refusal: Refusal, *, connected: bool) -> Fault:
    """The fault of an attempt that has no answer.

    Args:
        connected: whether the request had been sent.
    """
    if refusal.reason is Reason.UPSTREAM_TLS:
        return Fault(TLS, refusal.reason)
    if not connected:
        return Fault(CONNECT, refusal.reason, elsewhere=refusal.reason is Reason.ADDRESS_BLOCKED)
    if refusal.reason is Reason.UPSTREAM_TIMEOUT:
        return Fault(TIMEOUT, refusal.reason)
    return Fault(RESET, refusal.reason)


def fault_of_status(status: int, fields: Sequence[tuple[bytes, bytes]], now: float) -> Fault:
    """The fault of an attempt that was answered so.

    Args:
        now: seconds since the epoch, for a Retry-After that names a moment.
    """
    reason = Reason.UPSTREAM_AUTH if status in AUTH else Reason.UPSTREAM_UNREACHABLE
    return Fault(status, reason, status, retry_after(fields, now))


def is_repairable(fault: Fault, rules: Failure) -> bool:
    """Whether the next endpoint may be asked. Silence is what a gateway in between calls 504."""
    word = fault.word
    if word == TIMEOUT and TIMEOUT not in rules.retry_on:
        word = GATEWAY_TIMEOUT
    return word in rules.retry_on and word not in rules.never_on


def retry_after(fields: Sequence[tuple[bytes, bytes]], now: float) -> float | None:
    """Seconds of a Retry-After (RFC 9110 §10.2.3), MAX_HOLD_S at most; None where there is none
    that can be read."""
    for name, value in fields:
        if name.lower() == b"retry-after":
            seconds = _seconds(value.strip().decode("latin-1"), now)
            return None if seconds is None else min(max(seconds, 0.0), MAX_HOLD_S)
    return None


def _seconds(text: str, now: float) -> float | None:
    if text.isascii() and text.isdigit():
        return float(text[:6])  # six digits are eleven days
    try:
        moment = parsedate_to_datetime(text)
        return moment.timestamp() - now
    except (ValueError, OverflowError):
        return None
