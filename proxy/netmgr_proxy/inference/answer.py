"""Owns: what a provider's answer head means for the exchange. Knows nothing of sockets.

Whether an answer is a stream is told by its content type, not by what was asked for: the same
API answers a `stream: true` that it refuses with plain JSON.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from netmgr.inference.protocols import Shape
from netmgr.reasons import Reason
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.eventstream import CONTENT_TYPE
from netmgr_proxy.inference.headers import Headers, RawHeaders, response_headers
from netmgr_proxy.wire.response import ResponseHead

_LAST_STATUS: Final = 599  # RFC 9110 §15


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """An answer that is relayed.

    Attributes:
        status: the provider's own.
        headers: those that may cross.
        streaming: a stream of events: first-byte and idle deadlines, no buffered total.
        frames: whether the events are Amazon's frames instead of server-sent events.
        coding: content-encoding of the body, lower case; b'' where it is plain.
    """

    status: int
    headers: Headers
    streaming: bool
    coding: bytes
    frames: bool = False

    @property
    def takes_error_event(self) -> bool:
        """Whether an error event may be written into the body: a plain event stream only."""
        return self.streaming and not self.coding


class Judged(NamedTuple):
    """What a head was judged to mean, kept for the next answer on the same connection, which goes
    to the same sandbox with the same credentials.

    Attributes:
        lines: what of it crosses, its status line first; no line end behind the last.
    """

    head: ResponseHead
    shape: Shape
    answer: AnswerHead | Refusal
    lines: bytes


def judge_answer(status: int, upstream: RawHeaders, shape: Shape) -> AnswerHead | Refusal:
    """Read an answer's final (not 1xx) head.

    A redirect is never followed and never shown: followed, it would carry key and prompt to
    another host; shown, it would invite the client to.
    """
    fields = [(name.lower(), value) for name, value in upstream]
    if 300 <= status < 400:
        return Refusal(
            502,
            Reason.UPSTREAM_UNREACHABLE,
            f"the model provider answered with a redirect ({status}), which is never followed",
            remedy="let the operator set the provider's base URL to the final address",
            close=False,
            shape=shape,
        )
    if status > _LAST_STATUS:
        why = f"the model provider answered with the status {status}, which HTTP does not have"
        return Refusal(502, Reason.UPSTREAM_UNREACHABLE, why, close=False, shape=shape)
    content_type = b""
    coding = b""
    for name, value in fields:
        if name == b"content-type":
            content_type = value.partition(b";")[0].strip().lower()
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            coding = value.strip().lower()
    return AnswerHead(
        status=status,
        headers=response_headers(fields),
        streaming=content_type in (b"text/event-stream", CONTENT_TYPE),
        frames=content_type == CONTENT_TYPE,
        coding=coding,
    )
