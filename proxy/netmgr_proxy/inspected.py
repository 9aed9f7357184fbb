"""Owns: one HTTP request whose body has to be judged before any of it is sent.

The body is read whole within its bound, judged, and sent as the very bytes that were judged, with
their length. Where the policy does not look inside, it is an exchange like any other.
"""

from dataclasses import replace
from typing import Final

from netmgr.policy.calls.call import Calls
from netmgr.policy.decision import Inspection
from netmgr.reasons import Reason
from netmgr_proxy.bodies.reading import check_head, only_receives, read_calls
from netmgr_proxy.egress import EgressExchange
from netmgr_proxy.judged import Judged
from netmgr_proxy.wire.face import Refusal, Refused

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT: Final = b"expect"  # answered here: the body has come before the origin hears of it


class InspectedExchange(EgressExchange):
    """One request under a policy that looks inside of some."""

    async def run(self) -> bool:
        judged = self._endpoint.read(self.head)
        inspection = self._inspection(judged)
        if inspection is None:
            return await super().run()
        if only_receives(inspection, self.head):
            return await self._go_on(self._with_calls(judged, ()))
        endpoint = self._endpoint
        policy = self.sandbox().policy
        without = policy.judge_request(endpoint.target, judged.request, endpoint.owner)
        if not without.final:
            return await super().run()  # method or path decides, whatever is inside
        self._judged = judged
        check_head(self.head)
        # A GET's operation stands in its URL. Else as much as was announced, or as is allowed.
        size = inspection.max_body if self.head.length is None else self.head.length
        size = min(size, inspection.max_body)
        with self.room.holdings.holding(self.account.caller.address, size):
            self._body = await self._read_body(inspection.max_body)
            return await self._go_on(self._look_inside(judged, inspection))

    async def _go_on(self, judged: Judged) -> bool:
        self._judged = judged
        self._judge(judged)
        return await self._relay(judged)

    def _inspection(self, judged: Judged) -> Inspection | None:
        endpoint = self._endpoint
        return self.sandbox().policy.inspection(endpoint.target, judged.request, endpoint.owner)

    async def _read_body(self, most: int) -> bytes:
        if (self.head.length or 0) <= most:
            self._continue()
        return await self.read_whole_body(most)

    def _continue(self) -> None:
        """Ask for the body, where the client waits to be asked."""
        if self.head.expects_continue:
            self.client.write(_CONTINUE)

    def _look_inside(self, judged: Judged, inspection: Inspection) -> Judged:
        calls = read_calls(inspection, judged.request, self._body)
        again = self._inspection(judged)
        if again is None or again.reader is not inspection.reader:
            why = "the policy changed while the request's body came; send it again"
            raise Refused(Refusal(Reason.POLICY_STALE, why))
        fields = tuple(field for field in self.head.fields if field[0].lower() != EXPECT)
        self.head = replace(self.head, length=len(self._body), fields=fields)
        return self._with_calls(judged, calls)

    def _with_calls(self, judged: Judged, calls: Calls) -> Judged:
        """The request with what it asks for inside: of this one alone, so nothing of it is kept."""
        request = replace(judged.request, calls=calls)
        return Judged(self.head, request, self._endpoint.render_start(self.head, request))
