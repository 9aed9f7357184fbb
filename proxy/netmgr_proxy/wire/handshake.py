"""Owns: the two heads of a WebSocket handshake, checked strictly. Pure.

Source: RFC 6455 §4. Extensions are struck out of the offer, so that frames can be read; what a
server then grants all the same is an error.
"""

import base64
import binascii
import hashlib
import re
from typing import Final

from netmgr.reasons import Reason
from netmgr_proxy.wire.face import Refusal, Refused
from netmgr_proxy.wire.request import Head
from netmgr_proxy.wire.response import BadResponse, ResponseHead, render_relayed_head

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}"  # RFC 9110 §5.6.2
_TOKENS = re.compile(_TOKEN + rb"(?:[ \t]*,[ \t]*" + _TOKEN + rb")*")
WEBSOCKET: Final = b"websocket"
EXTENSIONS: Final = b"sec-websocket-extensions"


def check_offer(head: Head) -> None:
    """Whether a request is a WebSocket handshake, and nothing else at the same time.

    Raises:
        Refused: malformed_request.
    """
    if head.method != "GET" or head.http10:
        raise _bad("it is a GET of HTTP/1.1")
    if head.length != 0:
        raise _bad("it has no body")
    if _only(head, b"sec-websocket-version") != b"13":
        raise _bad("'Sec-WebSocket-Version' is 13")
    key = _only(head, b"sec-websocket-key")
    try:
        if len(base64.b64decode(key, validate=True)) != 16 or len(key) != 24:
            raise _bad("'Sec-WebSocket-Key' holds 16 bytes")
    except binascii.Error:
        raise _bad("'Sec-WebSocket-Key' is base64") from None
    for protocols in _all(head, b"sec-websocket-protocol"):
        if not _TOKENS.fullmatch(protocols.strip()):
            raise _bad("'Sec-WebSocket-Protocol' lists words")


def check_answer(offer: Head, answer: ResponseHead) -> None:
    """Whether a 101 answers this very handshake.

    Raises:
        BadResponse: it does not.
    """
    fields = [(name.lower(), value.strip()) for name, value in answer.fields]
    key = _only(offer, b"sec-websocket-key")
    wanted = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    if [value for name, value in fields if name == b"sec-websocket-accept"] != [wanted]:
        raise BadResponse("it switched protocols with a wrong Sec-WebSocket-Accept")
    if [value.lower() for name, value in fields if name == b"upgrade"] != [WEBSOCKET]:
        raise BadResponse("it switched to another protocol than WebSocket")
    if any(name == EXTENSIONS and value for name, value in fields):
        raise BadResponse("it switched protocols with an extension that was not offered")
    chosen = [value for name, value in fields if name == b"sec-websocket-protocol"]
    offered = b",".join(_all(offer, b"sec-websocket-protocol")).split(b",")
    if len(chosen) > 1 or not {word.strip() for word in offered}.issuperset(chosen):
        raise BadResponse("it switched protocols with a subprotocol that was not offered")


def render_answer(answer: ResponseHead) -> bytes:
    """The 101 as the client gets it: its end-to-end fields, and the two that switch."""
    head = render_relayed_head(answer, close=False).removesuffix(b"\r\n")
    return head + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def _all(head: Head, name: bytes) -> list[bytes]:
    return [value for other, value in head.fields if other.lower() == name]


def _only(head: Head, name: bytes) -> bytes:
    found = _all(head, name)
    if len(found) != 1:
        raise _bad(f"'{name.decode().title()}' stands once")
    return found[0].strip()


def _bad(wanted: str) -> Refused:
    why = f"no valid WebSocket handshake: {wanted} (RFC 6455 §4.1)"
    return Refused(Refusal(Reason.MALFORMED_REQUEST, why))
