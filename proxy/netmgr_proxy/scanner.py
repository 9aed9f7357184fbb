"""Owns: asking the scan worker what a chain says, and how many may ask at once.

Whatever goes wrong on the way is the stages' failure: each of them decides by its `on_error`.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from typing import Final

from netmgr.errors import BadInput
from netmgr.middleware.bounds import ACTIVE, CHAIN_S, MOST_OF_ONE, SESSIONS, WAITING
from netmgr.middleware.chain import Outcome, Stage, all_failed
from netmgr.middleware.contract import Status
from netmgr.middleware.request import StageRequest
from netmgr.middleware.wire import chain_doc, parse_outcome
from netmgr.process.ipc import Peer, PeerClosed, PeerRefused
from netmgr.reasons import Reason
from netmgr_proxy.payload import make_payload, read_payload
from netmgr_proxy.wire.face import Refusal

MARGIN_S: Final = 1.0  # behind the deadline that the scan worker keeps
_DOWN: Final = "the scan worker is not running; it is being restarted"


class Scanner:
    """The chains of one proxy worker."""

    def __init__(self) -> None:
        self._channel: Peer | None = None
        self._turns = asyncio.Semaphore(ACTIVE)
        self._asked: Counter[str] = Counter()
        self._sessions: Counter[str] = Counter()

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

    def begin_session(self, address: str) -> Refusal | None:
        """A WebSocket connection is about to be looked at; why it is not. Each that is ends with
        `end_session`."""
        if self._sessions[address] >= SESSIONS:
            why = f"{SESSIONS} connections of this sandbox are looked at by middlewares already"
            return Refusal(Reason.LIMIT_EXCEEDED, why)
        self._sessions[address] += 1
        return None

    def end_session(self, address: str) -> None:
        """One of them has ended."""
        self._sessions[address] -= 1
        if not self._sessions[address]:
            del self._sessions[address]

    async def ask(
        self,
        address: str,
        request: StageRequest,
        stages: Sequence[Stage],
        within_s: float = CHAIN_S,
    ) -> Outcome | Refusal:
        """What a chain says; a refusal where nobody has room to ask.

        Args:
            address: the sandbox's.
            within_s: how long the chain may take, its turn not counted.
        """
        if refusal := self.crowd(address):
            return refusal
        self._asked[address] += 1
        try:
            async with self._turns:
                return await self._ask(request, stages, within_s)
        finally:
            self._asked[address] -= 1
            if not self._asked[address]:
                del self._asked[address]

    async def _ask(
        self, request: StageRequest, stages: Sequence[Stage], within_s: float
    ) -> Outcome:
        if excess := request.excess():
            return all_failed(stages, excess, Status.OVER_LIMIT)
        if self._channel is None or self._channel.closed:
            return all_failed(stages, _DOWN)
        # It keeps the longest deadline itself, and tells which stage missed its.
        patience = within_s + MARGIN_S if within_s == CHAIN_S else within_s
        held = [make_payload(request.body)] if request.body else []
        try:
            answer = await self._channel.ask(
                "chain", chain_doc(request, stages), fds=held, deadline_s=patience
            )
            held += answer.fds
            body = read_payload(answer.fds[0]) if answer.fds else None
            return parse_outcome(answer.body, stages, body)
        except PeerClosed:
            return all_failed(stages, _DOWN)
        except TimeoutError:
            return all_failed(stages, f"no answer within {within_s:g} s")
        except (PeerRefused, BadInput, OSError) as fault:
            return all_failed(stages, f"the scan worker's answer is none: {type(fault).__name__}")
        finally:
            for fd in held:
                os.close(fd)
