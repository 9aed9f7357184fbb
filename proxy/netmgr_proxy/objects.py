"""Owns: asking the daemon whether what a request names at the provider is the sandbox's own, and
telling it what an answer has named.

All sandboxes share the operator's key, so the provider would hand one's answers to another.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from netmgr.process.ipc import Peer, PeerClosed, PeerRefused
from netmgr.reasons import Reason
from netmgr_proxy.admission import ModelRefused
from netmgr_proxy.inference.admit import Admitted
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.permits import remedy_of

ASK_DEADLINE_S: Final = 2.0  # the daemon answers from memory; silent for longer, it is stuck
MAX_SHOWN: Final = 80  # characters of an id in a message
_PLACE: Final = 3  # of the id in /v1/responses/{id}/...


def named_objects(admitted: Admitted, references: Sequence[str]) -> list[str]:
    """Ids that a request names, but for those that the route gives to all."""
    ids = list(references)
    if admitted.pattern.names_object:
        ids.append(unquote(admitted.path.split("/")[_PLACE]))
    free = admitted.route.rules.stored_objects
    return [name for name in ids if name not in free]


async def check_own(daemon: Peer, address: str, admitted: Admitted, ids: list[str]) -> None:
    """Let only the sandbox's own objects pass.

    Raises:
        ModelRefused: 404 where one is not, or does not exist; 503 where the daemon is silent.
    """
    body = {"address": address, "provider": admitted.route.provider, "ids": ids}
    try:
        answer = await daemon.ask("objects", body, deadline_s=ASK_DEADLINE_S)
        foreign = answer.body["foreign"]
    except (PeerClosed, PeerRefused, TimeoutError):
        why = "whose objects the request names cannot be told now; try again"
        raise ModelRefused(
            Refusal(503, Reason.POLICY_STALE, why, close=False, shape=admitted.shape)
        ) from None
    if foreign is not None:
        free = admitted.route.rules.stored_objects
        why = f"there is no object {foreign[:MAX_SHOWN]!r} of this sandbox at the model provider"
        remedy = remedy_of("stored_objects", (*free, "ID"), admitted.route.endpoint)
        raise ModelRefused(
            Refusal(404, Reason.OPERATION_NOT_ALLOWED, why, remedy, False, admitted.shape)
        )


def tell_own(daemon: Peer, address: str, provider: str, ids: list[str]) -> None:
    """An answer to this sandbox named these objects."""
    if ids and not daemon.closed:
        daemon.tell("objects", {"address": address, "provider": provider, "ids": ids})
