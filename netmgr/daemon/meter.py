"""Owns: the accounts of a live daemon: every model call of a limited sandbox asks here first, every
record of a model call is added up here, and both are stored once a second.

What a kill of the daemon can lose: the last STORE_EVERY_S, and what calls used that were under way.
Knows nothing of how an operator changes limits and prices (netmgr.daemon.accounts_desk).
"""

import asyncio
import logging
import time
from typing import Final

from netmgr.accounts.ledger import Excess, Ledger, Used
from netmgr.accounts.limits import (
    MONEY,
    TOKENS,
    Claim,
    Limits,
    Measure,
    effective,
    show_money,
)
from netmgr.accounts.prices import Price, PriceTable, Tokens, parse_prices
from netmgr.accounts.spending import SUBJECT as BUDGET
from netmgr.accounts.spending import Spending
from netmgr.accounts.usage import Gathered, short, was_sent
from netmgr.daemon.core import Core
from netmgr.daemon.residents import Resident
from netmgr.daemon.usage_series import UsageSeries
from netmgr.errors import BadInput, NetmgrError
from netmgr.process.ipc import Answer, Body, PeerRefused
from netmgr.reasons import Reason
from netmgr.store.accounts import Subject

log = logging.getLogger(__name__)

STORE_EVERY_S: Final = 1.0
PRUNE_EVERY: Final = 3600  # stores
SWEEP_EVERY: Final = 60  # stores; a number is never used again, so there is no hurry
USAGE_KEPT_S: Final = 400 * 86_400  # a year, and the month to compare it with
MAX_NUMBER: Final = 2**53
MAX_TOKENS: Final = 10**12  # of one call; as the proxy's own bound
MAX_PRICED: Final = 10_000  # models whose price is remembered: looking is a search

_PRICE_REMEDY: Final = "add it to the price file: netmgr inference price set FILE"
_TIER_REMEDY: Final = "ask for the usual tier: the price file's amounts are its"

DEFAULT: Final[Subject] = (None, None)
_SANDBOX: Final = "sandbox:"
_KINDS: Final = ("input", "output", "cache_read", "cache_write")


class Meter:
    """Limits, prices, ledger and usage of one daemon."""

    def __init__(self, core: Core, series: UsageSeries) -> None:
        self._core = core
        self._series = series
        self._ledger = Ledger()
        self._gathered = Gathered()
        self._priced: dict[tuple[str, str], Price | None] = {}
        self._calls: dict[tuple[str, int], Price | None] = {}
        self.spending = Spending()  # of the routing file's budgets
        self.limits: dict[Subject, Limits] = {}
        self.prices = PriceTable()

    def restore(self) -> None:
        """Begin with what is stored; on the store's thread, before workers start."""
        accounts = self._core.store.accounts
        for subject, doc in accounts.limits().items():
            self.limits[subject] = {Measure(key): amount for key, amount in doc.items()}
        text, source = accounts.prices()
        self.prices = parse_prices(text, source) if text else PriceTable()
        rows = accounts.used()
        self._ledger.load(row for row in rows if not row[0].startswith(BUDGET))
        self.spending.load(rows)
        self._core.roster.set_metered(self.metered())

    def metered(self) -> Body:
        """Whose calls have to ask first, as proxies are told."""
        names: list[str] = []
        for number, _ in self.limits:
            resident = self._core.residents.numbered(number) if number is not None else None
            if resident is not None:
                names.append(resident.row.name)
        return {
            "all": bool(self.limits.get(DEFAULT)),
            "sandboxes": sorted(names),
            "tenants": sorted(tenant for _, tenant in self.limits if tenant is not None),
        }

    def use_prices(self, table: PriceTable) -> None:
        """New prices; calls under way keep the one that they began with."""
        self.prices = table
        self._priced.clear()

    # -- what proxies ask and tell -----------------------------------------------------------

    def reserve(self, holder: str, body: Body) -> Answer:
        """Let one call begin.

        Args:
            body: {number, address, provider, model, billable, tier}.

        Raises:
            PeerRefused: `limit_exceeded` or `budget_exceeded`; the details say when to try again.
            BadInput: no honest worker asks that.
        """
        number = _count(body, "number", MAX_NUMBER)
        resident = self._core.residents.at(_text(body, "address"))
        if resident is None:
            raise PeerRefused(Reason.UNKNOWN_CALLER, "the sandbox is gone")
        price = self._price(_text(body, "provider"), _text(body, "model"))
        claims = self._claims(resident)
        if not body.get("billable"):  # it spends neither tokens nor money
            claims = [claim.without(TOKENS | MONEY) for claim in claims]
        elif price is None:
            self._refuse_unpriced(claims, f"model {_text(body, 'model')!r}", _PRICE_REMEDY)
        elif tier := str(body.get("tier") or ""):
            self._refuse_unpriced(claims, f"the tier {tier!r}", _TIER_REMEDY)
        try:
            excess = self._ledger.reserve(holder, number, claims, time.time())
        except ValueError as fault:
            raise BadInput(f"reserve: {fault}") from None
        if excess is not None:
            raise _refusal(excess)
        self._calls[holder, number] = price
        return Answer()

    def settle(self, holder: str, body: Body) -> None:
        """A call has ended: {number, input, output, cache_read, cache_write, served?}.

        Args:
            body: `served` is the provider and the model, where they may be others than reserved.

        Raises:
            BadInput: no honest worker tells that.
        """
        number = _count(body, "number", MAX_NUMBER)
        tokens = Tokens(*(_count(body, kind, MAX_TOKENS) for kind in _KINDS))
        price = self._calls.pop((holder, number), None)
        if (served := body.get("served")) is not None:
            if not isinstance(served, list) or [type(word) for word in served] != [str, str]:
                raise BadInput("served: expected a provider and a model")
            price = self._price(*served)
        total = tokens.input + tokens.output + tokens.cache_read + tokens.cache_write
        used = Used(total, price.cost(tokens) if price else 0)
        self._ledger.settle(holder, number, used, time.time())

    def drop(self, holder: str) -> None:
        """A worker has been started anew: the calls of the one before are gone."""
        self._ledger.drop(holder)
        self.spending.drop(holder)
        for key in [key for key in self._calls if key[0] == holder]:
            del self._calls[key]

    def take(self, record: Body) -> None:
        """Count the record of a model call, and write into it what it cost."""
        if not was_sent(record):
            return
        call = record["inference"]
        price = self._price(str(call["provider"]), str(call.get("model") or ""))
        cost = None
        if price is not None and (call.get("tokens_in") or call.get("tokens_out")):
            cost = price.cost(_tokens_of(call))
            call["cost"] = show_money(cost)
            call["currency"] = self.prices.currency
        self._gathered.add(record, cost)
        self._series.count(record, cost)

    # -- looking -----------------------------------------------------------------------------

    def used(self, subject: Subject, measure: Measure) -> int:
        """What is used up of a limit now."""
        return self._ledger.used(_key(subject), measure, time.time())

    def forget(self, subject: Subject) -> None:
        """What a subject used of its limits counts no more."""
        self._ledger.forget(_key(subject))

    # -- storing -----------------------------------------------------------------------------

    async def keep_storing(self) -> None:
        """Store what has changed, once a second."""
        stores = 0
        while True:
            await asyncio.sleep(STORE_EVERY_S)
            try:
                await self.store()
                if stores % SWEEP_EVERY == 0:
                    self._forget_the_dead()
                if stores % PRUNE_EVERY == 0:
                    before = int(time.time() - USAGE_KEPT_S)
                    await self._core.on_store(self._core.store.accounts.prune, before)
                stores += 1
            except NetmgrError as failure:
                log.warning("usage is not stored, and will be tried again: %s", failure.message)

    async def store(self) -> None:
        """Store what has changed.

        Raises:
            HostFailed: it cannot be stored now; nothing is lost while the daemon runs.
        """
        spent = self._ledger.changes(time.time()) | self.spending.changes()
        usage = self._gathered.take()
        if not spent and not usage:
            return
        try:
            await self._core.on_store(self._core.store.accounts.add, spent, usage)
        except NetmgrError:
            self._ledger.not_stored(key for key in spent if not key[0].startswith(BUDGET))
            self.spending.not_stored(spent)
            self._gathered.put_back(usage)
            raise

    # -- inner -------------------------------------------------------------------------------

    def _forget_the_dead(self) -> None:
        """Sandboxes that are gone have no accounts, nor have tenants without limits."""
        residents = self._core.residents
        alive = {_key((resident.row.id, None)) for resident in residents.values()}
        alive |= {_key(subject) for subject in self.limits if subject[1] is not None}
        for subject in self._ledger.subjects():
            if subject not in alive:
                self._ledger.forget(subject)
        for number, tenant in list(self.limits):
            if number is not None and residents.numbered(number) is None:
                del self.limits[number, tenant]
        self._series.keep_only(frozenset(residents))

    def _claims(self, resident: Resident) -> list[Claim]:
        row = resident.row
        own: Subject = (row.id, None)
        limits = effective(self.limits.get(own, {}), self.limits.get(DEFAULT, {}))
        claims = [Claim(_key(own), f"sandbox {row.name}", limits)]
        shared = self.limits.get((None, row.tenant), {}) if row.tenant else {}
        if shared:
            name = f"tenant {row.tenant}"
            claims.append(Claim(_key((None, row.tenant)), name, effective(shared, {})))
        return claims

    def _price(self, provider: str, model: str) -> Price | None:
        if (provider, model) in self._priced:
            return self._priced[provider, model]
        key = (short(provider), short(model))
        if key not in self._priced:
            if len(self._priced) >= MAX_PRICED:
                self._priced.clear()
            self._priced[key] = self.prices.price(*key)
        return self._priced[key]

    def _refuse_unpriced(self, claims: list[Claim], what: str, remedy: str) -> None:
        """What has no known price cannot be counted against a budget of money."""
        for claim in claims:
            if MONEY & claim.limits.keys():
                why = f"{what} has no known price, and {claim.name} has a budget of money"
                details = {"remedy": remedy, "retry_after_s": None, "final": True}
                raise PeerRefused(Reason.BUDGET_EXCEEDED, why, details)


def _refusal(excess: Excess) -> PeerRefused:
    money = excess.measure in MONEY
    limit = show_money(excess.limit) if money else str(excess.limit)
    reason = Reason.BUDGET_EXCEEDED if excess.is_budget else Reason.LIMIT_EXCEEDED
    why = f"the limit of {excess.name} is reached: {limit} {excess.measure.replace('_', ' ')}"
    return PeerRefused(
        reason,
        why,
        {
            "remedy": f"netmgr inference limit set --{excess.name} --"
            f"{excess.measure.replace('_', '-')} NUMBER",
            "retry_after_s": excess.retry_after_s,
            "final": excess.is_budget,
        },
    )


def _key(subject: Subject) -> str:
    sandbox, tenant = subject
    return f"{_SANDBOX}{sandbox}" if sandbox is not None else f"tenant:{tenant}"


def _tokens_of(call: Body) -> Tokens:
    read, written = (int(call.get(k) or 0) for k in ("tokens_cache_read", "tokens_cache_write"))
    whole = int(call.get("tokens_in") or 0)
    return Tokens(max(0, whole - read - written), int(call.get("tokens_out") or 0), read, written)


def _count(body: Body, key: str, most: int) -> int:
    value = body.get(key)
    if type(value) is not int or not 0 <= value <= most:
        raise BadInput(f"{key}: expected a number")
    return value


def _text(body: Body, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise BadInput(f"{key}: expected a text")
    return value
