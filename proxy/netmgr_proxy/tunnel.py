"""Owns: the way through an upstream proxy: CONNECT, its answer, and nothing behind it.

The operator's proxy is no more trusted than an origin: its answer is bounded in size and time, and
a byte that it sends unasked is a fault. Source: RFC 9110, 9.3.6. Knows nothing of what is sent
through it.
"""

import asyncio
import base64
import re
import socket
from typing import Final

from netmgr.reasons import Reason
from netmgr_proxy.wire.face import Refusal, Refused

MAX_ANSWER: Final = 16 * 1024  # bytes of a proxy's head; some explain themselves at length
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_END: Final = b"\r\n\r\n"


def render_connect(authority: str, credential: str | None) -> bytes:
    """The request for a way to `authority` (HOST:PORT).

    Args:
        credential: USER:PASSWORD, visible ASCII; None where the proxy wants none.
    """
    lines = [f"CONNECT {authority} HTTP/1.1", f"host: {authority}"]
    if credential is not None:
        basic = base64.b64encode(credential.encode("ascii")).decode()
        lines.append(f"proxy-authorization: Basic {basic}")
    return "\r\n".join(lines).encode("ascii") + _END


async def open_tunnel(sock: socket.socket, request: bytes, deadline_s: float) -> None:
    """Have the proxy at the other end of `sock` connect further.

    Args:
        sock: connected, non-blocking; the caller closes it where this fails.

    Raises:
        Refused: it would not, in words.
    """
    loop = asyncio.get_running_loop()
    answer = b""
    try:
        async with asyncio.timeout(deadline_s):
            await loop.sock_sendall(sock, request)
            while _END not in answer:
                data = await loop.sock_recv(sock, MAX_ANSWER)
                answer += data
                if not data or len(answer) > MAX_ANSWER:
                    raise _refused("the upstream proxy's answer was no HTTP head")
    except TimeoutError:
        why = f"the upstream proxy did not answer within {deadline_s:g} s"
        raise Refused(Refusal(Reason.UPSTREAM_TIMEOUT, why)) from None
    except OSError as fault:
        raise _refused(f"the upstream proxy broke off: {fault.strerror}") from None
    status = _STATUS.match(answer)
    if status is None or not answer.endswith(_END) or answer.count(_END) > 1:
        raise _refused("the upstream proxy's answer was no HTTP head")
    if status[1] == b"407":
        raise Refused(Refusal(Reason.UPSTREAM_AUTH, "the upstream proxy wants PROXY_CREDENTIAL"))
    if not status[1].startswith(b"2"):
        raise _refused(f"the upstream proxy refused with status {status[1].decode()}")


def _refused(why: str) -> Refused:
    return Refused(Refusal(Reason.UPSTREAM_UNREACHABLE, why))
