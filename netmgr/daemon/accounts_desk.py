"""Owns: limits, prices and usage as an operator sets and sees them. A change is in force when the
call returns.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from netmgr.accounts.limits import (
    MONEY,
    Limits,
    Measure,
    change_limits,
    parse_limits,
    show_limits,
    show_money,
)
from netmgr.accounts.prices import PriceTable, parse_prices
from netmgr.daemon.core import Core
from netmgr.daemon.meter import DEFAULT, Meter
from netmgr.errors import BadInput, did_you_mean
from netmgr.reasons import Kind
from netmgr.store.accounts import GROUPS, Subject

JsonObject = dict[str, Any]

MAX_SUBJECTS: Final = 10_000  # limits; more tenants than a host has sandboxes
MAX_TENANT: Final = 256  # characters, as of a sandbox's own
USAGE_S: Final = 86_400.0  # what `usage` shows unless it is told since when


class AccountsDesk:
    """Answers /v1/inference/limits, /v1/inference/prices and /v1/inference/usage."""

    def __init__(self, core: Core, meter: Meter) -> None:
        self._core = core
        self._meter = meter

    # -- limits ----------------------------------------------------------------------------

    async def limits(self) -> list[JsonObject]:
        """All limits that were set, with what is used of them; the default has no use of its
        own: every sandbox has an account for itself."""
        return [self._shown(subject) for subject in self._meter.limits]

    async def set_limits(
        self, sandbox: str | None, tenant: str | None, given: Mapping[str, str | int | float]
    ) -> JsonObject:
        """Change single limits of a sandbox, of a tenant's sandboxes together, or (neither) of
        every sandbox that has no own.

        Raises:
            BadInput: both are named, nothing is given, or what is no limit.
            NotFound: no such sandbox.
        """
        if not given:
            raise BadInput("nothing to set: give a limit like --requests-per-minute 60")
        core, meter = self._core, self._meter
        changes = parse_limits(given)
        async with core.change():
            subject = self._subject(sandbox, tenant)
            if subject not in meter.limits and len(meter.limits) >= MAX_SUBJECTS:
                raise BadInput(f"{MAX_SUBJECTS} limits are set; delete one first")
            await self._put(subject, change_limits(meter.limits.get(subject, {}), changes))
        return self._shown(subject)

    async def delete_limits(self, sandbox: str | None, tenant: str | None) -> bool:
        """Forget limits and what was used of them; whether there were any.

        Raises:
            BadInput: both are named.
            NotFound: no such sandbox.
        """
        core = self._core
        async with core.change():
            subject = self._subject(sandbox, tenant)
            had = subject in self._meter.limits
            await self._put(subject, {})
            if subject != DEFAULT:
                self._meter.forget(subject)
        return had

    async def _put(self, subject: Subject, limits: Limits) -> None:
        core, meter = self._core, self._meter
        doc = {measure.value: amount for measure, amount in limits.items()}
        await core.on_store(core.store.accounts.put_limits, subject, doc)
        if limits:
            meter.limits[subject] = limits
        else:
            meter.limits.pop(subject, None)
        await core.announce(core.roster.set_metered(meter.metered()))
        shown = ", ".join(f"{k} {v}" for k, v in show_limits(limits).items()) or "none"
        core.record(Kind.CONFIG, f"inference limits of {self._name(subject)}: {shown}")

    def _shown(self, subject: Subject) -> JsonObject:
        limits = self._meter.limits.get(subject, {})
        used: JsonObject = {}
        if subject != DEFAULT:
            for measure, amount in limits.items():
                if amount is not None:
                    used[measure.value] = self._used(subject, measure)
        sandbox, tenant = subject
        resident = self._core.residents.numbered(sandbox) if sandbox is not None else None
        return {
            "sandbox": resident.row.name if resident else None,
            "tenant": tenant,
            "default": subject == DEFAULT,
            "limits": show_limits(limits),
            "used": used,
        }

    def _used(self, subject: Subject, measure: Measure) -> int | str:
        amount = self._meter.used(subject, measure)
        return show_money(amount) if measure in MONEY else amount

    def _subject(self, sandbox: str | None, tenant: str | None) -> Subject:
        if sandbox is not None and tenant is not None:
            raise BadInput("a limit is for one sandbox or for a tenant, not for both")
        if tenant is not None and not (tenant and tenant.isprintable()):
            raise BadInput(f"tenant {tenant!r}: expected 1 to {MAX_TENANT} printable characters")
        return (None if sandbox is None else self._core.resident(sandbox).row.id, tenant)

    def _name(self, subject: Subject) -> str:
        if subject == DEFAULT:
            return "every sandbox without its own"
        shown = self._shown(subject)
        return f"tenant {shown['tenant']}" if shown["tenant"] else f"sandbox {shown['sandbox']}"

    # -- prices ----------------------------------------------------------------------------

    async def prices(self) -> JsonObject:
        """The price file as it was given."""
        _, source = await self._core.on_store(self._core.store.accounts.prices)
        table = self._meter.prices
        return {
            "currency": table.currency or None,
            "prices": len(table.prices),
            "source": source,
            "text": table.text,
        }

    async def set_prices(self, text: str, source: str) -> JsonObject:
        """Replace all prices.

        Raises:
            BadInput: every problem of the file, with its line.
        """
        core = self._core
        table = parse_prices(text, source)
        async with core.change():
            await core.on_store(core.store.accounts.put_prices, text, source)
            self._meter.use_prices(table)
        core.record(Kind.CONFIG, f"inference prices: {len(table.prices)}, {table.currency}")
        return await self.prices()

    async def delete_prices(self) -> bool:
        """Forget all prices; whether there were any."""
        core, had = self._core, bool(self._meter.prices.prices)
        async with core.change():
            await core.on_store(core.store.accounts.put_prices, "", "")
            self._meter.use_prices(PriceTable())
        core.record(Kind.CONFIG, "inference prices: none")
        return had

    # -- usage -----------------------------------------------------------------------------

    async def usage(
        self,
        by: str,
        *,
        since: float | None = None,
        sandbox: str | None = None,
        tenant: str | None = None,
    ) -> JsonObject:
        """What was used, by model, provider, sandbox, tenant, hour or day, up to now.

        Args:
            since: epoch seconds; whole hours count. None: the last day.

        Raises:
            BadInput: `by` is none of these.
        """
        if by not in GROUPS:
            known = ", ".join(GROUPS)
            raise BadInput(f"--by {by!r}: expected one of {known}{did_you_mean(by, GROUPS)}")
        core = self._core
        await self._meter.store()
        start = int((time.time() - USAGE_S if since is None else since) // 3600 * 3600)
        accounts = core.store.accounts
        rows = await core.on_store(accounts.usage, by, start, sandbox=sandbox, tenant=tenant)
        return {
            "by": by,
            "since": start,
            "currency": self._meter.prices.currency or None,
            "usage": [_usage_row(by, row) for row in rows],
        }


def _usage_row(by: str, row: JsonObject) -> JsonObject:
    """One sum. A cost that leaves calls out says how many (`unpriced`, `uncounted`); where no call
    had a known cost, it is null and not nothing."""
    priced = row["cost"] > 0 or row["unpriced"] + row["uncounted"] == 0
    return {
        by: row["what"] or None,
        **{key: row[key] for key in ("calls", "failed", "tokens_in", "tokens_out")},
        "tokens_cache_read": row["cache_read"],
        "tokens_cache_write": row["cache_write"],
        "cost": show_money(row["cost"]) if priced else None,
        "unpriced": row["unpriced"],
        "uncounted": row["uncounted"],
    }
