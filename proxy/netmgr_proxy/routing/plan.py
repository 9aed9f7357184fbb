"""Owns: what one call may try, in which order, frozen when the call was planned. Pure.

What `inference set` writes is a plan of one endpoint without failure rules: one attempt, whose
answer is relayed as it is, failures and all.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from netmgr.inference.protocols import Shape
from netmgr.routing.contract import AttemptOutcome
from netmgr.routing.language import Failure
from netmgr_proxy.admission import Admission
from netmgr_proxy.inference.answer_here import model_lines
from netmgr_proxy.inference.errors import token
from netmgr_proxy.inference.rewrite import PinnedBody
from netmgr_proxy.routes import LiveRoute


class Endpoint(NamedTuple):
    """One place where a call may be answered."""

    id: str
    live: LiveRoute


class Ready(NamedTuple):
    """A call as one endpoint gets it: its model, its credentials, nothing of another's.

    Attributes:
        pinned: None for a call without a body. Views of the client's bytes, which nothing changes:
            every attempt begins with the body as the client wrote it.
    """

    endpoint: Endpoint
    admission: Admission
    pinned: PinnedBody | None


class CallPlan(NamedTuple):
    """What one call may try. (Made for every call: see netmgr.routing.contract.RouteContext.)

    Attributes:
        shape: how errors are worded.
        prepare: makes the call ready for one of the endpoints; may refuse it.
        rules: None: a single attempt.
        request_id: of the call.
        observe: told of every attempt that has ended, off the hot path; None: nobody wants to know.
        cost: what tokens in and out cost at an endpoint, in the file's currency; None: not known.
        headers: whether the client is told which endpoint and model answered.
    """

    endpoints: tuple[Endpoint, ...]
    shape: Shape
    prepare: Callable[[Endpoint], Awaitable[Ready]]
    request_id: str
    rules: Failure | None = None
    headers: bool = True
    observe: Callable[[AttemptOutcome], None] | None = None
    cost: Callable[[str, int, int], float | None] | None = None

    def lines(self, ready: Ready) -> list[bytes]:
        """What the client is told with the answer's head."""
        lines = [b"x-netmgr-request-id: " + self.request_id.encode()]
        if self.headers:
            lines += model_lines(ready.pinned)
            if self.rules is not None:
                lines.append(b"x-netmgr-endpoint: " + token(ready.endpoint.id))
        return lines


@dataclass(slots=True)
class Try:
    """One attempt, as the record tells it.

    Attributes:
        status: of the upstream's answer; None where there was none.
        reason: why it failed; None: it did not.
        ms: until it was answered whole, or failed.
        cost: of the tokens that it used, in the file's currency; None where that is not known.
    """

    endpoint: str
    provider: str
    status: int | None = None
    reason: str | None = None
    ms: int = 0
    cost: float | None = None

    def to_doc(self) -> dict[str, object]:
        """As JSON."""
        return {
            "endpoint": self.endpoint,
            "provider": self.provider,
            "status": self.status,
            "reason": self.reason,
            "ms": self.ms,
            "cost": self.cost,
        }
