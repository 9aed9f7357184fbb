"""Owns: whether the first bytes of a spliced connection agree with its name. Pure; no I/O.

The address stands for one name. A ClientHello or an HTTP head that names another is fronting; one
that names nothing could be for anything. What is neither TLS nor HTTP passes: the address decides.
"""

from dataclasses import dataclass

from netmgr.policy.decision import Target
from netmgr.reasons import Reason
from netmgr_proxy.authority import check_authority
from netmgr_proxy.limits import Limits
from netmgr_proxy.wire import alert
from netmgr_proxy.wire.classify import First, Http, Malformed, Tls
from netmgr_proxy.wire.face import Refusal, Refused
from netmgr_proxy.wire.hello import ClientHello
from netmgr_proxy.wire.request import REPEATED_LENGTH, BadRequest, Head, RequestReader


@dataclass(frozen=True, slots=True)
class Objection:
    """Why the bytes do not pass, and how the client is told.

    Attributes:
        tls_alert: the alert to send; None where the client speaks HTTP.
        bodyless: the client's request was a HEAD.
    """

    refusal: Refusal
    tls_alert: bytes | None = None
    bodyless: bool = False


def judge_hello(hello: ClientHello, name: str) -> Objection | None:
    """Whether the server name is the one that was resolved."""
    if hello.sni == name:
        return None
    if hello.sni is None:
        why = f"the TLS client names no server; it has to name {name}"
        return Objection(Refusal(Reason.SNI_MISSING, why), alert.ACCESS_DENIED)
    why = f"the TLS client names {hello.sni}, the connection was made to {name}"
    return Objection(Refusal(Reason.SNI_MISMATCH, why), alert.UNRECOGNIZED_NAME)


def judge_first(first: First | None, target: Target, limits: Limits) -> Objection | None:
    """Whether a spliced connection may go on. None means: it may.

    Args:
        first: None where the client closed without a byte.
    """
    if target.name is None:
        return None  # a literal address: there is no name to agree with
    match first:
        case Tls(hello):
            return judge_hello(hello, target.name)
        case Http(head):
            return _judge_head(head, target, limits)
        case Malformed():
            return objection_to_malformed(first)
        case _:
            return None


def objection_to_malformed(first: Malformed) -> Objection:
    """How broken TLS or HTTP is refused."""
    if first.tls:
        return Objection(Refusal(Reason.MALFORMED_REQUEST, first.why), alert.DECODE_ERROR)
    if first.too_long:
        return Objection(Refusal(Reason.LIMIT_EXCEEDED, first.why, status=431))
    return Objection(Refusal(Reason.MALFORMED_REQUEST, first.why))


def _judge_head(raw: bytes, target: Target, limits: Limits) -> Objection | None:
    reader = RequestReader(limits.request_head_bytes, limits.request_headers)
    reader.feed(raw)
    try:
        head = reader.next()
    except BadRequest as fault:
        return Objection(Refusal(fault.reason, str(fault), status=fault.status))
    if not isinstance(head, Head):
        return Objection(Refusal(Reason.MALFORMED_REQUEST, "the request's head is malformed"))
    bodyless = head.method == "HEAD"
    if head.repeats_length:
        refusal = Refusal(Reason.MALFORMED_REQUEST, REPEATED_LENGTH)
        return Objection(refusal, bodyless=bodyless)
    if head.host is None:
        why = f"the request names no host; it has to name {target.name}"
        return Objection(Refusal(Reason.AUTHORITY_MISMATCH, why), bodyless=bodyless)
    try:
        # Only the name has to be right here (contract): no rule looks at such a request's port.
        check_authority(head, target, "http", default_port=target.port)
    except Refused as refused:
        return Objection(refused.refusal, bodyless=bodyless)
    return None
