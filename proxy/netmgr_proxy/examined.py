"""Owns: one HTTP request that middlewares look at between the policy's yes and the first byte sent.

Its body is read whole, within the bound of what stages are shown, and is sent as it came where no
stage changed it. What a stage changed is judged by the policy again. Knows nothing of stages.
"""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

from netmgr.middleware.bounds import MAX_PAYLOAD
from netmgr.middleware.chain import all_failed
from netmgr.middleware.contract import Status
from netmgr.middleware.request import Phase, changed
from netmgr.reasons import Reason
from netmgr_proxy.client import DeadlinePassed
from netmgr_proxy.examination import Examination, stage_request
from netmgr_proxy.exchange import slow_body
from netmgr_proxy.inference.coding import is_read, plain_or_none
from netmgr_proxy.inference.headers import body_coding
from netmgr_proxy.inspected import EXPECT, InspectedExchange
from netmgr_proxy.judged import Judged
from netmgr_proxy.wire.face import Refusal, Refused
from netmgr_proxy.wire.request import Body, End

_CODING: Final = b"content-encoding"


class ExaminedExchange(InspectedExchange):
    """One request to a host that some middleware looks at."""

    _examination: Examination | None = None

    async def _relay(self, judged: Judged) -> bool:
        stages = self.sandbox().policy.middlewares.chain(self._endpoint.target)
        if not stages:
            return await super()._relay(judged)
        self._examination = Examination(self.room, self.client, self.account, stages)
        with ExitStack() as held:
            return await super()._relay(await self._examine(judged, self._examination, held))

    async def _examine(self, judged: Judged, examination: Examination, held: ExitStack) -> Judged:
        """The request as it may be sent.

        Raises:
            Refused: a stage, or the policy after it, says no.
        """
        examination.require_room()
        if not self.progress.request_sent and not await self._read_for_stages(held):
            why = f"its body is larger than {MAX_PAYLOAD} bytes"
            examination.take(all_failed(examination.stages, why, Status.OVER_LIMIT))
            return judged
        coding = body_coding(self.head.fields)
        body = _plain(self._body, coding)
        if body is None:
            why = f"its body is not in a coding that can be read: {coding.decode('latin-1')[:40]!r}"
            examination.take(all_failed(examination.stages, why))
            return self._whole(judged)
        sandbox = self.sandbox()
        request = stage_request(Phase.HTTP, sandbox, self._endpoint.target, self.head, body)
        outcome = await examination.ask(request)
        if self.sandbox().policy.middlewares.chain(self._endpoint.target) != examination.stages:
            why = "the policy changed while middlewares looked at the request; send it again"
            raise Refused(Refusal(Reason.POLICY_STALE, why))
        if outcome.body is not None:
            self._body = outcome.body
            self._without(_CODING)
        self.head = replace(self.head, fields=changed(self.head.fields, outcome.headers))
        return self._judged_again(judged, anew=outcome.body is not None)

    async def _read_for_stages(self, held: ExitStack) -> bool:
        """Read the body; False where it is larger than stages are shown. Then what came of it is
        kept, and the rest is still to come."""
        length = self.head.length
        if length is not None and length > MAX_PAYLOAD:
            return False
        size = MAX_PAYLOAD if length is None else length
        held.enter_context(self.room.holdings.holding(self.account.caller.address, size))
        if length is not None:
            self._body = await self._read_body(size)
            return True
        self._continue()
        pieces, size = list[bytes](), 0
        while size <= MAX_PAYLOAD:
            event = self.client.next_event_nowait()
            if isinstance(event, End):
                self.progress.request_sent = True
                break
            if isinstance(event, Body):
                pieces.append(event.data)
                size += len(event.data)
            else:
                await self._wait_for_body()
        self._body = b"".join(pieces)
        return self.progress.request_sent

    async def _wait_for_body(self) -> None:
        limit = self.room.limits.request_body_timeout_s
        self.client.within(limit)
        try:
            await self.client.wait()
        except DeadlinePassed:
            raise Refused(slow_body(limit)) from None

    def _judged_again(self, judged: Judged, *, anew: bool) -> Judged:
        """What a stage made, as the policy sees it."""
        self._without(EXPECT)
        inspection = self._inspection(judged) if anew else None
        if inspection is not None and judged.request.calls:
            again = self._look_inside(judged, inspection)
        else:
            again = self._whole(judged)
        self._judged = again
        self._judge(again)
        return again

    def _whole(self, judged: Judged) -> Judged:
        """The request with its body at hand, and so with its length."""
        self._without(EXPECT)
        self.head = replace(self.head, length=len(self._body))
        start = self._endpoint.render_start(self.head, judged.request)
        return Judged(self.head, judged.request, start)

    def _without(self, name: bytes) -> None:
        fields = tuple(field for field in self.head.fields if field[0].lower() != name)
        if len(fields) != len(self.head.fields):
            self.head = replace(self.head, fields=fields)

    @property
    def parts(self) -> dict[str, Any]:
        return super().parts | (self._examination.parts if self._examination else {})


def _plain(body: bytes, coding: bytes) -> bytes | None:
    """A body as stages are shown it; None where it cannot be read."""
    if not coding or not body:
        return body
    return plain_or_none(body, coding, MAX_PAYLOAD) if is_read(coding) else None
