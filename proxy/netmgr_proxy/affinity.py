"""Owns: asking the daemon what of a sandbox's earlier calls holds for this one, and telling it.

Only where the routing file in force says so. A label that a call raises is stored before the call
is sent; where the daemon does not answer, nothing is sent: the label is not known.
"""

from typing import NamedTuple

from netmgr.inference.protocols import Shape
from netmgr.process.ipc import Body, Peer, PeerClosed, PeerRefused
from netmgr.reasons import Reason
from netmgr_proxy.admission import ModelRefused
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.metering import ASK_DEADLINE_S


class Held(NamedTuple):
    """What holds for a call.

    Attributes:
        label: that it may not fall below; None: any.
        endpoint: that answered last; None: not known.
    """

    label: str | None = None
    endpoint: str | None = None


class Thread:
    """The calls of one sandbox, or of one of its conversations.

    Args:
        conversation: '' for all calls of the sandbox.
    """

    def __init__(self, daemon: Peer, address: str, conversation: str, shape: Shape) -> None:
        self._daemon = daemon
        self._place: Body = {"address": address, "conversation": conversation}
        self._shape = shape

    async def held(self) -> Held:
        """What holds.

        Raises:
            ModelRefused: it is not known (503).
        """
        return await self._ask(self._place)

    async def raise_to(self, label: str) -> None:
        """Let a label hold from now on.

        Raises:
            ModelRefused: it does not (503).
        """
        await self._ask(self._place | {"label": label})

    def answered_by(self, endpoint: str) -> None:
        """An endpoint has answered."""
        if not self._daemon.closed:
            self._daemon.tell("affinity", self._place | {"endpoint": endpoint})

    async def _ask(self, body: Body) -> Held:
        try:
            answer = await self._daemon.ask("affinity", body, deadline_s=ASK_DEADLINE_S)
            return Held(answer.body["label"], answer.body["endpoint"])
        except (PeerClosed, PeerRefused, TimeoutError):
            why = "which label holds for this call cannot be told now; try again"
            raise ModelRefused(
                Refusal(
                    503, Reason.POLICY_STALE, why, close=False, shape=self._shape, retry_after_s=1
                )
            ) from None
