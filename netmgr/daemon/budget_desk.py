"""Owns: the budgets of the routing file in force: workers reserve what a call can cost at most, and
settle what it did cost. One ledger, in the daemon, so that all workers together are exact.

Knows nothing of plans: which endpoints a budget that is used up rules out is the file's to say.
"""

import time
from collections.abc import Callable

from netmgr.accounts.limits import show_money
from netmgr.accounts.spending import Claim, Spending
from netmgr.daemon.core import Core
from netmgr.daemon.residents import Resident
from netmgr.errors import BadInput
from netmgr.process.ipc import Answer, Body, PeerRefused
from netmgr.reasons import Kind, Reason
from netmgr.routing.language import Budget

MAX_NUMBER = 2**53
MAX_COST = 10**18  # billionths; a thousand million units
WARN_AT = 0.8


class BudgetDesk:
    """Answers what proxies ask of budgets.

    Args:
        spending: the meter's: it stores what has changed, and drops what workers held.

    Attributes:
        in_force: the budgets of the file in force.
    """

    def __init__(self, core: Core, spending: Spending) -> None:
        self._core = core
        self.in_force: Callable[[], tuple[Budget, ...]] = tuple
        self._warned: set[str] = set()
        self._spending = spending

    def reserve(self, holder: str, body: Body) -> Answer:
        """Reserve one call: {number, address, cost, beyond: [ids that the plan keeps to already]}.

        Returns:
            {exceeded: [ids], retry_after_s}; empty: it is reserved.

        Raises:
            PeerRefused: the sandbox is gone.
            BadInput: no honest worker asks that.
        """
        number, cost = _count(body, "number", MAX_NUMBER), _count(body, "cost", MAX_COST)
        beyond = body.get("beyond")
        if not isinstance(beyond, list) or not isinstance(address := body.get("address"), str):
            raise BadInput("budget: expected an address and a list")
        resident = self._core.residents.at(address)
        if resident is None:
            raise PeerRefused(Reason.UNKNOWN_CALLER, "the sandbox is gone")
        claims = [_claim(each) for each in self._budgets(resident) if each.id not in beyond]
        try:
            short = self._spending.reserve(holder, number, claims, cost, time.time())
        except ValueError as fault:
            raise BadInput(f"budget: {fault}") from None
        wait = min((each.retry_after_s for each in short), default=0)
        return Answer({"exceeded": [each.budget for each in short], "retry_after_s": wait})

    def settle(self, holder: str, body: Body) -> None:
        """A call has ended: {number, cost}.

        Raises:
            BadInput: no honest worker tells that.
        """
        number, cost = _count(body, "number", MAX_NUMBER), _count(body, "cost", MAX_COST)
        now = time.time()
        for claim in self._spending.settle(holder, number, cost, now):
            self._warn(claim, self._spending.used(claim, now))

    def _budgets(self, resident: Resident) -> list[Budget]:
        return [each for each in self.in_force() if each.tenant in (None, resident.row.tenant)]

    def _warn(self, claim: Claim, used: int) -> None:
        """Once when a budget passes four fifths, and again after it has fallen below."""
        if used < WARN_AT * claim.limit:
            self._warned.discard(claim.budget)
            return
        wanted = any(each.id == claim.budget and each.warn for each in self.in_force())
        if not wanted or claim.budget in self._warned:
            return
        self._warned.add(claim.budget)
        spent, limit = show_money(used), show_money(claim.limit)
        self._core.record(Kind.FINDING, f"budget {claim.budget}: {spent} of {limit} is spent")


def _claim(budget: Budget) -> Claim:
    return Claim(budget.id, budget.limit, budget.per_s)


def _count(body: Body, key: str, most: int) -> int:
    value = body.get(key)
    if type(value) is not int or not 0 <= value <= most:
        raise BadInput(f"{key}: expected a number")
    return value
