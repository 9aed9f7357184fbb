"""Owns: asking the daemon before a limited sandbox's model call is sent, and telling it what the
call used.

A call of a sandbox without limits costs one look at three facts. For a limited one it is one
question: the only ledger is the daemon's, so that all workers together are exact. Whatever becomes
of the question, the call is told to have ended: a number that was reserved is never left open.
"""

from itertools import count
from typing import Any, Final

from netmgr.inference.pattern import Pattern
from netmgr.inference.protocols import Protocol, Shape
from netmgr.process.ipc import Peer, PeerClosed, PeerRefused
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason
from netmgr_proxy.admission import ModelRefused
from netmgr_proxy.inference.admit import Admitted
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.usage import UsageMeter

ASK_DEADLINE_S: Final = 2.0  # the daemon answers from memory; silent for longer, it is stuck
BYTES_PER_TOKEN: Final = 4  # of English text and code, about, in every vendor's tokenizer
_COUNTING: Final = "count_tokens"


class Metered:
    """Whose model calls ask first."""

    def __init__(self) -> None:
        self._all = False
        self._sandboxes: frozenset[str] = frozenset()
        self._tenants: frozenset[str] = frozenset()
        self._numbers = count(1)

    def apply(self, op: dict[str, Any]) -> None:
        """Apply a `meter` operation: {all, sandboxes, tenants}."""
        self._all = op["all"]
        self._sandboxes = frozenset(op["sandboxes"])
        self._tenants = frozenset(op["tenants"])

    def covers(self, sandbox: SandboxView) -> bool:
        """Whether a sandbox's calls have to ask."""
        return self._all or sandbox.name in self._sandboxes or sandbox.tenant in self._tenants

    async def reserve(
        self,
        daemon: Peer,
        sandbox: SandboxView,
        admitted: Admitted,
        provider: str,
        model: str,
        tier: str = "",
    ) -> "Permit":
        """Ask for one call.

        Args:
            tier: that it asks for, where its price is another than the model's.

        Raises:
            ModelRefused: a limit or budget is reached (429), or the daemon does not answer (503).
        """
        billable = not _is_free(admitted.pattern)
        permit = Permit(daemon, next(self._numbers), billable=billable)
        body = {
            "number": permit.number,
            "address": sandbox.address,
            "provider": provider,
            "model": model,
            "billable": billable,
            "tier": tier,
        }
        try:
            await daemon.ask("reserve", body, deadline_s=ASK_DEADLINE_S)
        except PeerRefused as refused:
            raise ModelRefused(_refusal(refused, admitted.shape)) from None
        except (PeerClosed, TimeoutError):
            permit.settle(UsageMeter())
            raise ModelRefused(_unanswered(admitted.shape)) from None
        except BaseException:
            permit.settle(UsageMeter())
            raise
        return permit


def _is_free(pattern: Pattern) -> bool:
    """Whether providers charge nothing for it: lists of models, and counting a prompt's tokens."""
    return pattern.protocol is Protocol.MODELS or pattern.operation == _COUNTING


class Permit:
    """One reserved call. `settle` it, however it ends.

    Attributes:
        number: this worker's own, for the daemon's ledger.
    """

    __slots__ = ("_billable", "_daemon", "number")

    def __init__(self, daemon: Peer, number: int, *, billable: bool) -> None:
        self._daemon = daemon
        self._billable = billable
        self.number = number

    def settle(
        self,
        meter: UsageMeter,
        *,
        sent: int = 0,
        received: int = 0,
        served: tuple[str, str] | None = None,
    ) -> None:
        """Tell what the call used.

        Args:
            served: provider and model, where others than were reserved may have answered.
            sent: bytes of the request's body; 0 where nothing was sent.
            received: bytes of the answer's body. Where the provider has not told its count, both
                are taken for text: a budget must not be evaded by asking for no count.
        """
        told_in, told_out = meter.tokens_in, meter.tokens_out
        estimated = received if self._billable else 0
        if told_in is None and estimated:
            told_in = sent // BYTES_PER_TOKEN
        if told_out is None:
            told_out = estimated // BYTES_PER_TOKEN
        if not self._daemon.closed:
            cached = meter.cache_read + meter.cache_write
            self._daemon.tell(
                "settle",
                {
                    "number": self.number,
                    "input": max(0, (told_in or 0) - cached),
                    "output": told_out,
                    "cache_read": meter.cache_read,
                    "cache_write": meter.cache_write,
                }
                | ({"served": served} if served is not None else {}),
            )


def _refusal(refused: PeerRefused, shape: Shape) -> Refusal:
    details = refused.details
    if refused.code not in (Reason.LIMIT_EXCEEDED, Reason.BUDGET_EXCEEDED):
        return _unanswered(shape)
    return Refusal(
        429,
        Reason(refused.code),
        refused.message,
        details.get("remedy"),
        close=False,
        shape=shape,
        retry_after_s=details.get("retry_after_s"),
        final=bool(details.get("final")),
    )


def _unanswered(shape: Shape) -> Refusal:
    why = "whether the limits have room for this call could not be told; try again"
    return Refusal(503, Reason.LIMIT_EXCEEDED, why, close=False, shape=shape, retry_after_s=1)
