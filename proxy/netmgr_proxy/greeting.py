"""Owns: the beginning of a terminated connection: its first bytes, and which way they are read on.

Denials that need no HTTP (a wrong server name, no protocol in common) are told here, before any
handshake. Knows nothing of requests.
"""

import socket
import ssl
from dataclasses import dataclass
from typing import Final

from netmgr.policy.decision import Target
from netmgr.reasons import Kind, Reason
from netmgr_proxy.account import Account
from netmgr_proxy.first_bytes import Objection, judge_hello, objection_to_malformed
from netmgr_proxy.room import Room
from netmgr_proxy.sockets import farewell, peek_first, reset
from netmgr_proxy.wire import alert
from netmgr_proxy.wire.classify import First, Http, Http2Preface, Malformed, Tls
from netmgr_proxy.wire.face import Refusal, Refused, render_response

_HTTP11: Final = "http/1.1"


@dataclass(frozen=True, slots=True)
class Welcome:
    """The connection goes on; its first bytes are still in the socket.

    Attributes:
        context: for TLS with the client; None for plain HTTP.
    """

    context: ssl.SSLContext | None

    @property
    def scheme(self) -> str:
        return "https" if self.context else "http"


async def greet(room: Room, sock: socket.socket, account: Account) -> Welcome | None:
    """Look at the first bytes. None: the connection was refused or never used, and is closed."""
    try:
        first = await _peek(room, sock)
        objection = _judge(first, account.target)
        if objection is not None:
            account.refused(Kind.CONNECTION, objection.refusal)
            await farewell(sock, _render(room, account, objection), room.limits.drain_s)
            return None
        if isinstance(first, Tls):
            name = account.target.name or str(account.target.ip)
            return Welcome(await room.leaves.get(account.caller.address, name))
        if isinstance(first, Http | Malformed):
            return Welcome(None)  # what is malformed gets its face where requests are read
        if first is not None:
            why = f"{account.target} is open for HTTP and HTTPS only: its requests are judged"
            account.refused(Kind.CONNECTION, Refusal(Reason.UNSUPPORTED_PROTOCOL, why))
    except Refused as refused:
        account.refused(Kind.CONNECTION, refused.refusal)
    except OSError:
        pass  # the client is gone; it has said nothing yet that could be recorded
    reset(sock)
    return None


async def _peek(room: Room, sock: socket.socket) -> First | None:
    """The first bytes' class; None where none came in time."""
    limit = room.limits.hello_timeout_s
    try:
        return await peek_first(sock, first_s=room.limits.keepalive_timeout_s, whole_s=limit)
    except TimeoutError:
        return None


def _judge(first: First | None, target: Target) -> Objection | None:
    match first:
        case Malformed(tls=True):
            return objection_to_malformed(first)
        case Http2Preface():
            why = "HTTP/2 without TLS is not spoken here; use HTTP/1.1"
            return Objection(Refusal(Reason.UNSUPPORTED_PROTOCOL, why))
        case Tls(hello):
            if target.name is not None and (objection := judge_hello(hello, target.name)):
                return objection
            if hello.alpn and _HTTP11 not in hello.alpn:
                offered = ", ".join(hello.alpn)
                why = f"the TLS client offers {offered} only; HTTP/1.1 is spoken here"
                refusal = Refusal(Reason.UNSUPPORTED_PROTOCOL, why)
                return Objection(refusal, alert.NO_APPLICATION_PROTOCOL)
    return None


def _render(room: Room, account: Account, objection: Objection) -> bytes:
    if objection.tls_alert is not None:
        return objection.tls_alert
    return render_response(
        objection.refusal,
        room.next_request_id(),
        bodyless=objection.bodyless,
        close=True,
        hint=account.hint,
    )
