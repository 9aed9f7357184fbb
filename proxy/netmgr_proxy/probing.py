"""Owns: sending the requests that verify an inference route, the way a sandbox's would be sent.

Which requests and what their answers mean is netmgr_proxy.inference.probe's business.
"""

import asyncio
import time
from typing import Any, Final

from netmgr.inference.protocols import Protocol
from netmgr.process.ipc import PeerRefused
from netmgr.reasons import Reason
from netmgr_proxy.admission import origin_of
from netmgr_proxy.fetch import fetch
from netmgr_proxy.inference.headers import request_headers
from netmgr_proxy.inference.probe import (
    MAX_PROBE_ANSWER,
    NotVerified,
    Step,
    Verification,
    Verified,
    is_api_answer,
)
from netmgr_proxy.inference.url import join
from netmgr_proxy.room import Room
from netmgr_proxy.routes import LiveRoute
from netmgr_proxy.wire.face import Refused

_JSON: Final = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
MODELS_PATH: Final = "/v1/models"
_LISTED: Final = ("data", list)  # what a list of models has
NO_SANDBOX: Final = ""  # the operator asks, not a sandbox


async def verify(room: Room, wire: dict[str, Any]) -> dict[str, Any]:
    """Try a route that is not in force yet.

    Args:
        wire: as in an `inference` operation; the dialer must know the route's id already.

    Returns:
        {"validated": [{url, protocol}]}

    Raises:
        PeerRefused: it does not answer as it should; the message says what to do.
    """
    live = room.routes.make(wire)
    run = Verification(live.route)
    deadline = asyncio.get_running_loop().time() + live.route.timeout_s
    outcome: Step | Verified | NotVerified = run.step
    while isinstance(outcome, Step):
        try:
            async with asyncio.timeout_at(deadline):
                status, content_type, body = await _try(room, live, outcome)
        except Refused as refused:
            outcome = run.failed(refused.refusal.reason, refused.refusal.message)
        except TimeoutError:
            why = f"no answer within {live.route.timeout_s:g} s"
            outcome = run.failed(Reason.UPSTREAM_TIMEOUT, why)
        else:
            outcome = run.answered(status, content_type, body)
    if isinstance(outcome, Verified):
        return {"validated": [{"url": outcome.url, "protocol": outcome.protocol.value}]}
    raise PeerRefused(outcome.failure.value, outcome.message)


async def look(room: Room, wire: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Whether a model server is up: whether it lists its models, which costs it nothing.

    Args:
        wire: as for `verify`.

    Returns:
        {"well": bool}
    """
    live = room.routes.make(wire)
    route = live.route
    target = join(route.base, MODELS_PATH, "", route.dialect.path_prefix)
    step = Step(Protocol.MODELS, "GET", MODELS_PATH, target, b"")
    try:
        async with asyncio.timeout(timeout_s):
            status, content_type, body = await _try(room, live, step)
    except (Refused, TimeoutError):
        return {"well": False}
    text = body.decode("utf-8", "replace")
    return {"well": status == 200 and is_api_answer(content_type, text, _LISTED)}


async def _try(room: Room, live: LiveRoute, step: Step) -> tuple[int, str, bytes]:
    """Status, content type and the beginning of the body."""
    origin = origin_of(NO_SANDBOX, live)
    lines = [f"{step.method} {step.target} HTTP/1.1".encode("ascii")]
    fields = request_headers(_JSON, live.route, len(step.body))
    if live.signer is not None:
        host, now = live.route.base.authority, time.time()
        fields += live.signer.sign(step.method, step.target, host, step.body, now=now)
    lines += [name + b": " + value for name, value in fields]
    request = b"\r\n".join(lines) + b"\r\n\r\n" + step.body
    found = await fetch(room, origin, live.context, request, MAX_PROBE_ANSWER - 1)
    return found.status, found.content_type, found.body
