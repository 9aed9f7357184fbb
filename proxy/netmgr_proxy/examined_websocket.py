"""Owns: one WebSocket connection whose handshake and whose client's messages middlewares look at.

Messages go on in their order: while a chain is asked about one, what follows it waits, and the
client is not read. Binary messages are shown to stages like texts, so that nothing passes by them.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from netmgr.middleware.bounds import MAX_PAYLOAD, PREFLIGHT_S
from netmgr.middleware.chain import Stage
from netmgr.middleware.request import Phase, StageRequest, changed
from netmgr.policy.http_rules import WEBSOCKET_TEXT
from netmgr_proxy.account import Account
from netmgr_proxy.client import ClientConnection
from netmgr_proxy.examination import Examination, stage_request
from netmgr_proxy.judged import Endpoint, Judged
from netmgr_proxy.room import Room
from netmgr_proxy.websocket import Message, WebSocketExchange
from netmgr_proxy.wire.face import Refusal, Refused
from netmgr_proxy.wire.frames import CloseCode, Event, render_message
from netmgr_proxy.wire.request import Head


class ExaminedWebSocket(WebSocketExchange):
    """One connection to a host that some middleware looks at."""

    def __init__(
        self,
        room: Room,
        client: ClientConnection,
        account: Account,
        head: Head,
        endpoint: Endpoint,
    ) -> None:
        super().__init__(room, client, account, head, endpoint)
        self._examination: Examination | None = None
        self._asking: asyncio.Task[None] | None = None
        self._behind: deque[Event] = deque()  # of one read from the socket: then it is paused
        self._counted = False  # as one of the sandbox's sessions

    async def run(self) -> bool:
        try:
            return await super().run()
        finally:
            if self._asking is not None:
                self._asking.cancel()
            if self._counted:
                self.room.scanner.end_session(self.account.caller.address)

    # -- the handshake ---------------------------------------------------------------------

    async def _look_at_handshake(self, judged: Judged) -> Judged:
        sandbox, target = self.sandbox(), self._endpoint.target
        stages = sandbox.policy.middlewares.chain(target)
        if not stages:
            return judged
        examination = Examination(self.room, self.client, self.account, stages)
        self._examination = examination
        examination.require_room()
        if refusal := self.room.scanner.begin_session(self.account.caller.address):
            raise Refused(refusal)
        self._counted = True
        request = stage_request(Phase.HTTP, sandbox, target, self.head, b"")
        outcome = await examination.ask(request, within_s=PREFLIGHT_S)
        self.head = replace(self.head, fields=changed(self.head.fields, outcome.headers))
        start = self._endpoint.render_start(self.head, judged.request)
        looked_at = Judged(self.head, judged.request, start)
        self._judge(looked_at)
        return looked_at

    # -- messages --------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        if self._asking is None:
            super()._take(event)
            return
        self._behind.append(event)
        self.client.pause()

    def _holds(self) -> int:
        sandbox = self._judged_by
        chain = sandbox.policy.middlewares.chain(self._endpoint.target) if sandbox else ()
        return MAX_PAYLOAD if chain else 0

    def _pass_on(self, message: Message) -> None:
        if not self._holds():
            super()._pass_on(message)
            return
        sandbox = self._judged_by
        assert sandbox is not None, "the message was judged"
        said, target = bytes(message.text), self._endpoint.target
        request = stage_request(Phase.WEBSOCKET, sandbox, target, self.head, said)
        request = replace(request, method=WEBSOCKET_TEXT)
        asking = self._ask_about(message, request, sandbox.policy.middlewares.chain(target))
        self._asking = self.room.tasks.start(asking, name="chain for a message")

    async def _ask_about(
        self, message: Message, request: StageRequest, stages: Sequence[Stage]
    ) -> None:
        """Have the chain look at a message, send it or end the connection, and go on."""
        examination = Examination(self.room, self.client, self.account, stages)
        self._examination = examination
        outcome = await self.room.scanner.ask(self.account.caller.address, request, stages)
        self._asking = None
        if self._has_ended():
            return
        if isinstance(outcome, Refusal):
            self._end(CloseCode.TRY_LATER, outcome)
            return
        try:
            examination.take(outcome)
        except Refused as no:
            self._end(CloseCode.POLICY, no.refusal)
            return
        if outcome.body is None:
            super()._pass_on(message)
        else:
            self._send_changed(message, outcome.body)
        self._go_on()

    def _send_changed(self, message: Message, body: bytes) -> None:
        """What a stage made of a message, where the policy lets that through."""
        made = Message(message.is_text)
        made.text += body
        made.raw.append(render_message(body, secrets.token_bytes(4), text=message.is_text))
        if self._inspection is None or self._is_allowed(made):
            super()._pass_on(made)

    def _go_on(self) -> None:
        while self._behind and self._asking is None and not self._has_ended():
            super()._take(self._behind.popleft())
        if self._asking is None and not self._has_ended():
            self._rest()
            self.client.resume()

    @property
    def parts(self) -> dict[str, Any]:
        return super().parts | (self._examination.parts if self._examination else {})
