"""Owns: what a sandbox, or all sandboxes of a tenant together, may use of models.

Knows nothing of counting (netmgr.accounts.ledger) or of storage. Money is counted in billionths of
the currency's unit, in whole numbers: sums of them are exact.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final

from netmgr.errors import BadInput, did_you_mean

NANO: Final = 10**9  # money's smallest part: a price of 0.001 per million tokens is one per token
MAX_AMOUNT: Final = 10**15  # tokens or requests; more is no limit
MAX_MONEY: Final = Decimal(10**8)  # of the currency's unit: ten times less than SQLite's integers
NO_LIMIT: Final = "none"
INHERIT: Final = "inherit"


class Measure(StrEnum):
    """What can be limited. The values are the keys of the API."""

    CONCURRENCY = "concurrency"
    REQUESTS = "requests_per_minute"
    TOKENS = "tokens_per_minute"
    TOKENS_DAY = "tokens_per_day"
    MONEY_DAY = "money_per_day"
    MONEY_MONTH = "money_per_month"


MONEY: Final = frozenset({Measure.MONEY_DAY, Measure.MONEY_MONTH})
TOKENS: Final = frozenset({Measure.TOKENS, Measure.TOKENS_DAY})
BUDGETS: Final = frozenset({Measure.TOKENS_DAY, *MONEY})  # spent until a day or month ends

# None: said to be without a limit, whatever the default says. A key that is absent inherits.
Limits = Mapping[Measure, int | None]


@dataclass(frozen=True, slots=True)
class Claim:
    """One account that a call draws on.

    Attributes:
        subject: whose account: `sandbox:ID` or `tenant:NAME`.
        name: how an operator calls it.
        limits: what counts for it; only numbers.
    """

    subject: str
    name: str
    limits: Mapping[Measure, int]

    def without(self, measures: Collection[Measure]) -> "Claim":
        """The same, where some limits do not count."""
        left = {each: most for each, most in self.limits.items() if each not in measures}
        return replace(self, limits=left)


def parse_limits(given: Mapping[str, str | int | float]) -> dict[Measure, int | str | None]:
    """Limits as an operator gives them.

    Args:
        given: key -> a number, `none` (no limit, whatever the default) or `inherit` (the default).

    Returns:
        Amounts (money in billionths), None for `none`, INHERIT for `inherit`.

    Raises:
        BadInput: an unknown key, or what is no amount of that kind.
    """
    found: dict[Measure, int | str | None] = {}
    for key, value in given.items():
        if key not in set(Measure):
            raise BadInput(f"limit {key!r}: unknown{did_you_mean(key, list(Measure))}")
        found[Measure(key)] = _parse_amount(Measure(key), str(value).strip().lower())
    return found


def _parse_amount(measure: Measure, text: str) -> int | str | None:
    if text == NO_LIMIT:
        return None
    if text == INHERIT:
        return INHERIT
    if measure in MONEY:
        return parse_money(text, f"limit {measure}")
    if not text.isascii() or not text.isdigit() or not 0 <= len(text) <= 16:
        raise BadInput(f"limit {measure}: {text!r:.40}: expected a whole number, none or inherit")
    amount = int(text)
    if amount > MAX_AMOUNT:
        raise BadInput(f"limit {measure}: {amount}: expected {MAX_AMOUNT} at most")
    return amount


def parse_money(text: str, where: str) -> int:
    """An amount of money in billionths.

    Raises:
        BadInput: it is no amount from 0 to MAX_MONEY with nine decimals at most.
    """
    try:
        amount = Decimal(text) if len(text) <= 40 else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= MAX_MONEY:
        raise BadInput(f"{where}: {text!r:.40}: expected an amount like 2.50, {MAX_MONEY} at most")
    nano = amount * NANO
    if nano != nano.to_integral_value():
        raise BadInput(f"{where}: {text!r:.40}: more than nine decimals")
    return int(nano)


def show_money(nano: int) -> str:
    """Billionths as a decimal number without needless zeros: `0.0075`."""
    text = f"{Decimal(nano) / NANO:.9f}".rstrip("0").rstrip(".")
    return text or "0"


def show_limits(limits: Limits) -> dict[str, str | int]:
    """Limits as the API has them: numbers, money as text, `none`."""
    shown: dict[str, str | int] = {}
    for measure, amount in limits.items():
        if amount is None:
            shown[measure.value] = NO_LIMIT
        else:
            shown[measure.value] = show_money(amount) if measure in MONEY else amount
    return shown


def change_limits(
    now: Limits, given: Mapping[Measure, int | str | None]
) -> dict[Measure, int | None]:
    """Limits after a change that names single ones."""
    changed = dict(now)
    for measure, amount in given.items():
        if isinstance(amount, str):
            changed.pop(measure, None)
        else:
            changed[measure] = amount
    return changed


def effective(own: Limits, default: Limits) -> dict[Measure, int]:
    """What counts: each limit of its own, else the default's; without those that are lifted."""
    merged = {**default, **own}
    return {measure: amount for measure, amount in merged.items() if amount is not None}
