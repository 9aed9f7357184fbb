"""Owns: whether a request names the host that the connection stands for. Pure; no I/O.

The dialled address stands for one name; a request for another name on that connection is domain
fronting and gets 421, on every request. Source: RFC 9110 §7.2, §7.4; RFC 9112 §3.2.
"""

import re
from typing import Final

from netmgr.policy.decision import Target
from netmgr.policy.path import split_absolute
from netmgr.reasons import Reason
from netmgr_proxy.wire.face import Refusal, Refused
from netmgr_proxy.wire.request import Head

_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,254})(?::([0-9]{1,5}))?")
DEFAULT_PORTS: Final = {"https": 443, "http": 80}


def check_authority(
    head: Head, target: Target, scheme: str, *, default_port: int | None = None
) -> bytes:
    """Compare Host, and the authority of an absolute target, with the connection's name.

    Args:
        scheme: `https` where TLS was ended here, else `http`.
        default_port: what an authority without a port means; None: what the scheme says.

    Returns:
        the target in origin form (or `*`).

    Raises:
        Refused: authority_mismatch, malformed_request or unsupported_protocol.
    """
    port = DEFAULT_PORTS[scheme] if default_port is None else default_port
    if head.host is not None:
        _check_one(head.host, target, port, "the Host field")
    absolute = split_absolute(head.target)
    if absolute is None:
        return _check_origin_form(head)
    if head.target.partition(b"://")[0].lower() != scheme.encode():
        raise _mismatch(f"the request target's scheme is not {scheme}")
    _check_one(absolute[0], target, port, "the request target")
    return absolute[1]


def canonical_authority(target: Target, scheme: str) -> str:
    """The Host field as it is sent upstream."""
    host = target.name or str(target.ip)
    return host if target.port == DEFAULT_PORTS[scheme] else f"{host}:{target.port}"


def _check_origin_form(head: Head) -> bytes:
    if head.target.startswith(b"/") or (head.target == b"*" and head.method == "OPTIONS"):
        return head.target
    if head.method == "CONNECT":
        why = "CONNECT is for explicit proxies; connect to the host itself, it is intercepted"
        raise Refused(Refusal(Reason.UNSUPPORTED_PROTOCOL, why))
    raise Refused(Refusal(Reason.MALFORMED_REQUEST, "the request target must begin with '/'"))


def _check_one(authority: bytes, target: Target, default: int, where: str) -> None:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise Refused(Refusal(Reason.MALFORMED_REQUEST, f"{where} holds no valid host"))
    host = match[1].decode("ascii").lower().removesuffix(".")
    port = int(match[2]) if match[2] else default
    if host != (target.name or target.ip):
        raise _mismatch(f"{where} names {host}, the connection was made to {target}")
    if port != target.port:
        raise _mismatch(f"{where} names port {port}, the connection was made to {target}")


def _mismatch(message: str) -> Refused:
    return Refused(Refusal(Reason.AUTHORITY_MISMATCH, message))
