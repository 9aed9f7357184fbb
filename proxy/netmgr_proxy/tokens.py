"""Owns: fetching a token for the daemon: its request is sent, the answer is read here, confined.

The request comes ready made; this process sees the secrets of one renewal while it runs, and keeps
none. What an answer means is netmgr_proxy.inference.token_answer's business.
"""

import asyncio
from typing import Any

from netmgr.inference.base_url import parse_base_url
from netmgr.policy.decision import Target
from netmgr.process.ipc import Body, PeerRefused
from netmgr.reasons import Reason
from netmgr_proxy.fetch import fetch
from netmgr_proxy.inference.token_answer import MAX_ANSWER, NoToken, parse_token_answer
from netmgr_proxy.room import Room
from netmgr_proxy.upstream_tls import make_client_context
from netmgr_proxy.upstreams import Origin
from netmgr_proxy.wire.face import Refused


async def fetch_token(room: Room, body: Body) -> dict[str, Any]:
    """Answer the daemon's `token` question.

    Args:
        body: {id, url, target, headers, body, answers, ca_pem, timeout_s}; the dialer must know
            the origin `id` already.

    Raises:
        PeerRefused: no token; the code is a Reason, the message may repeat the request's words.
    """
    url = parse_base_url(body["url"], "token origin", query_allowed=True)
    target = Target(url.host, None, url.port)
    origin = Origin("", target, url.scheme == "https", (body["id"], 0))
    context = make_client_context(body["ca_pem"]) if body["ca_pem"] else None
    try:
        async with asyncio.timeout(body["timeout_s"]):
            found = await fetch(room, origin, context, _render(body), MAX_ANSWER)
        return parse_token_answer(body["answers"], found.status, found.body)
    except Refused as refused:
        raise PeerRefused(refused.refusal.reason.value, refused.refusal.message) from None
    except TimeoutError:
        why = f"no answer within {body['timeout_s']:g} s"
        raise PeerRefused(Reason.UPSTREAM_TIMEOUT.value, why) from None
    except NoToken as failure:
        reason = Reason.UPSTREAM_AUTH if failure.refused else Reason.UPSTREAM_UNREACHABLE
        raise PeerRefused(reason.value, failure.message) from None


def _render(body: Body) -> bytes:
    content = str(body["body"]).encode()
    lines = [f"POST {body['target']} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in body["headers"].items()]
    lines += [f"content-length: {len(content)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii") + content
