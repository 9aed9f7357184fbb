"""Owns: asking the scan worker what a chain says, and how many may ask at once.

Whatever goes wrong on the way is the stages' failure: each of them decides by its `on_error`.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from typing import Final

from netmgr.errors import BadInput
from netmgr.middleware.bounds import ACTIVE, CHAIN_S, WAITING
from netmgr.middleware.chain import Outcome, Stage, all_failed
from netmgr.middleware.contract import Status
from netmgr.middleware.request import StageRequest
from netmgr.middleware.wire import chain_doc, parse_outcome
from netmgr.process.ipc import Peer, PeerClosed, PeerRefused
from netmgr.reasons import Reason
from netmgr_proxy.payload import make_payload, read_payload
from netmgr_proxy.wire.face import Refusal

MARGIN_S: Final = (
    1.0  # the scan worker keeps the deadlines itself, and tells which stage missed its
)
MOST_OF_ONE: Final = (ACTIVE + WAITING) * 3 // 4  # of one sandbox: some room is left for the others
_DOWN: Final = "the scan worker is not running; it is being restarted"


class Scanner:
    """The chains of one proxy worker."""

    def __init__(self) -> None:
        self._channel: Peer | None = None
        self._turns = asyncio.Semaphore(ACTIVE)
        self._asked: Counter[str] = Counter()

    def use(self, channel: Peer) -> None:
        """Ask over this channel from now on: the scan worker's process is new, or ours is."""
        if self._channel is not None:
            self._channel.close()
        self._channel = channel

    def crowd(self, address: str) -> Refusal | None:
        """Why a request finds no place; None where it does. Asked before its body is read."""
        full = self._asked.total() >= ACTIVE + WAITING
        if not full and self._asked[address] < MOST_OF_ONE:
            return None
        why = f"{self._asked.total()} requests are with middlewares already; try again"
        return Refusal(Reason.LIMIT_EXCEEDED, why)

    async def ask(
        self, address: str, request: StageRequest, stages: Sequence[Stage]
    ) -> Outcome | Refusal:
        """What a chain says; a refusal where nobody has room to ask.

        Args:
            address: the sandbox's.
        """
        if refusal := self.crowd(address):
            return refusal
        self._asked[address] += 1
        try:
            async with self._turns:
                return await self._ask(request, stages)
        finally:
            self._asked[address] -= 1
            if not self._asked[address]:
                del self._asked[address]

    async def _ask(self, request: StageRequest, stages: Sequence[Stage]) -> Outcome:
        if excess := request.excess():
            return all_failed(stages, excess, Status.OVER_LIMIT)
        if self._channel is None or self._channel.closed:
            return all_failed(stages, _DOWN)
        held = [make_payload(request.body)] if request.body else []
        try:
            answer = await self._channel.ask(
                "chain", chain_doc(request, stages), fds=held, deadline_s=CHAIN_S + MARGIN_S
            )
            held += answer.fds
            body = read_payload(answer.fds[0]) if answer.fds else None
            return parse_outcome(answer.body, stages, body)
        except PeerClosed:
            return all_failed(stages, _DOWN)
        except TimeoutError:
            return all_failed(stages, f"no answer within {CHAIN_S:g} s")
        except (PeerRefused, BadInput, OSError) as fault:
            return all_failed(stages, f"the scan worker's answer is none: {type(fault).__name__}")
        finally:
            for fd in held:
                os.close(fd)
