"""Owns: asking the daemon whether the routing file's budgets have room for a call, and telling it
what the call cost.

Only where the file in force has budgets, and only calls that can cost something: the ledger is the
daemon's, so that all workers together are exact.
"""

from collections.abc import Sequence
from itertools import count
from typing import Final, NamedTuple

from netmgr.inference.protocols import Shape
from netmgr.process.ipc import Peer, PeerClosed, PeerRefused
from netmgr.reasons import Reason
from netmgr.routing.contract import RouteContext
from netmgr.routing.generation import Generation
from netmgr_proxy.admission import ModelRefused
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.usage import UsageMeter
from netmgr_proxy.metering import ASK_DEADLINE_S, BYTES_PER_TOKEN

NANO: Final = 1_000_000_000
NANO_PER_MILLION: Final = 1000  # a price per million tokens is so many billionths per token
MOST_OUT: Final = 32_768  # tokens that an answer is taken to have where the client names no bound
_numbers = count(1)


class Reserved(NamedTuple):
    """What the daemon said.

    Attributes:
        number: of the reservation; 0 where there is none.
        exceeded: budgets without room.
        retry_after_s: when one of them may have some.
    """

    number: int
    exceeded: frozenset[str] = frozenset()
    retry_after_s: int = 0


def most_that_it_costs(
    generation: Generation, context: RouteContext, plan: Sequence[str], answers: int = 1
) -> int:
    """Billionths that a call costs at most, wherever in its plan it is answered.

    Args:
        answers: how many it asks for at once.
    """
    out = (context.tokens_out_max or MOST_OUT) * answers
    return max(
        (price(generation, name, context.tokens_in, out) for name in plan),
        default=0,
    )


def price(generation: Generation, endpoint: str, tokens_in: int, tokens_out: int) -> int:
    """Billionths that so many tokens cost at an endpoint."""
    facts = generation.endpoint(endpoint).facts
    cost = tokens_in * (facts.price_in or 0.0) + tokens_out * (facts.price_out or 0.0)
    return round(cost * NANO_PER_MILLION)


def cost_of(generation: Generation, endpoint: str, tokens_in: int, tokens_out: int) -> float | None:
    """The same in the file's currency; None where the endpoint's price is not declared."""
    facts = generation.endpoint(endpoint).facts
    if facts.price_in is None or facts.price_out is None:
        return None
    return price(generation, endpoint, tokens_in, tokens_out) / NANO


async def reserve(
    daemon: Peer, address: str, cost: int, beyond: frozenset[str], shape: Shape
) -> Reserved:
    """Reserve a call.

    Args:
        beyond: budgets that the plan keeps to already.

    Raises:
        ModelRefused: the daemon does not answer (503).
    """
    number = next(_numbers)
    body = {"number": number, "address": address, "cost": cost, "beyond": sorted(beyond)}
    try:
        answer = await daemon.ask("budget", body, deadline_s=ASK_DEADLINE_S)
    except (PeerClosed, PeerRefused, TimeoutError):
        settle(daemon, number, 0)
        why = "whether the budgets have room for this call could not be told; try again"
        raise ModelRefused(
            Refusal(503, Reason.BUDGET_EXCEEDED, why, close=False, shape=shape, retry_after_s=1)
        ) from None
    except BaseException:
        settle(daemon, number, 0)
        raise
    exceeded = frozenset(answer.body["exceeded"])
    return Reserved(0 if exceeded else number, exceeded, answer.body["retry_after_s"])


def settle(daemon: Peer, number: int, cost: int) -> None:
    """Tell what a reserved call cost."""
    if not daemon.closed:
        daemon.tell("budget", {"number": number, "cost": cost})


def tokens_of(meter: UsageMeter, sent: int, received: int) -> tuple[int, int]:
    """Tokens in and out; where the provider told none, both bodies are taken for text: a budget
    must not be evaded by asking for no count."""
    tokens_in, tokens_out = meter.tokens_in, meter.tokens_out
    if tokens_in is None:
        tokens_in = sent // BYTES_PER_TOKEN if received else 0
    return tokens_in, received // BYTES_PER_TOKEN if tokens_out is None else tokens_out
