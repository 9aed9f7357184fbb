"""Owns: fetching one token: the request made, sent through dialer and proxy worker, judged.

Knows nothing of when (netmgr.daemon.refresher) and of where a token is kept.
"""

import asyncio
import time
from itertools import count
from typing import Final

from netmgr.daemon.core import Core
from netmgr.daemon.svid import read_svid
from netmgr.errors import NotVerified, TryLater
from netmgr.inference.refresh import Material, Minted, scrub, take_answer
from netmgr.inference.refresh_requests import Means, TokenRequest, make_request
from netmgr.keys.assertion import sign_jwt
from netmgr.process.ipc import Body, PeerClosed, PeerRefused
from netmgr.reasons import Reason
from netmgr.secret import Secret

TOKEN_S: Final = 30.0  # a token server that takes longer is down
MARGIN_S: Final = 5.0  # for the worker itself
SCOPE: Final = "?token"  # no sandbox can be called so


class TokenErrand:
    """Mints tokens."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._numbers = count(1)

    async def mint(self, material: Material, key: str) -> Minted:
        """A new token for the credential `key`.

        Raises:
            BadInput: the material cannot be used.
            NotVerified: none came; `reason` in the details is a Reason's value.
            TryLater: no worker could ask.
        """
        now = time.time()
        request = make_request(material, Means(now, sign_jwt, await self._svid(material)))
        secrets = (*request.secrets, *material.secret.values())
        try:
            wire = await self._ask(request)
        except PeerRefused as refusal:
            told = scrub(refusal.message, secrets)
            raise NotVerified(
                f"{request.origin.origin} gave no token: {told}", reason=_reason(refusal.code)
            ) from None
        except (PeerClosed, TimeoutError) as failure:
            raise TryLater("the token was not fetched: a worker was restarted") from failure
        return take_answer(material, key, wire, now)

    async def _svid(self, material: Material) -> Secret | None:
        if not material.strategy.shows_svid:
            return None
        # A file of the operator's may lie on a file system that hangs.
        return await asyncio.to_thread(read_svid, self._core.settings.spiffe_svid)

    async def _ask(self, request: TokenRequest) -> Body:
        core = self._core
        name = f"{SCOPE}-{next(self._numbers)}"
        origin = {"id": name, "base_url": request.origin.origin, "proxy": None}
        await core.announce([{"op": "origin", "scope": name, "route": origin}])
        try:
            proxy = core.supervisor.of_kind("proxy")[0].peer
            question = {
                "id": name,
                "url": request.origin.origin,
                "target": request.target,
                "headers": dict(request.headers),
                "body": request.body,
                "answers": request.answers.value,
                "ca_pem": request.ca_pem,
                "timeout_s": TOKEN_S,
            }
            return (await proxy.ask("token", question, deadline_s=TOKEN_S + MARGIN_S)).body
        finally:
            await core.announce([{"op": "origin", "scope": name, "route": None}])


def _reason(code: str) -> str:
    known = {reason.value for reason in Reason}
    return code if code in known else Reason.UPSTREAM_UNREACHABLE.value
