"""Owns: what a model's tokens cost, as the operator's price file says it.

    currency: USD
    prices:
      - {provider: lab, model: "qwen3*", input: 0.2, output: 0.6, cache_read: 0.02}

Amounts are per million tokens. The first entry that fits a model counts; `*` in `model` stands for
any text, `provider` may be left out. There are no built-in prices: they change, and a wrong price
is worse than none. A model without an entry has no known cost, which is never taken for nothing.
"""

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import Any, Final

from netmgr.accounts.limits import NANO
from netmgr.policy.fields import Fields
from netmgr.policy.problems import Report
from netmgr.policy.tree import Node, parse_yaml, to_value

MAX_PRICES: Final = 1000  # entries; the largest public catalogue has about 2,000 models in all
MAX_STARS: Final = 4  # of one pattern: each multiplies the ways in which a name can be compared
MAX_PRICE: Final = 10**6  # per million tokens: one per token
_AMOUNT: Final = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,6})?")
_KINDS: Final = ("input", "output", "cache_read", "cache_write")
_KEYS: Final = ("provider", "model", *_KINDS)
_MICRO: Final = 10**6


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one call used.

    Attributes:
        input: prompt tokens that were read anew.
        cache_read: prompt tokens that the provider had kept.
        cache_write: prompt tokens that it was told to keep.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0


@dataclass(frozen=True)
class Price:
    """One entry; amounts in millionths of the currency's unit, per million tokens."""

    provider: str | None
    model: str
    input: int
    output: int
    cache_read: int
    cache_write: int

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(translate(self.model.replace("[", "[[]").replace("?", "[?]")))

    def fits(self, provider: str, model: str) -> bool:
        """Whether it is the price of that model."""
        return self.provider in (None, provider) and self._pattern.match(model) is not None

    def cost(self, tokens: Tokens) -> int:
        """In billionths of the currency's unit, rounded up."""
        parts = (
            tokens.input * self.input
            + tokens.output * self.output
            + tokens.cache_read * self.cache_read
            + tokens.cache_write * self.cache_write
        )
        return -(-parts * NANO // (_MICRO * _MICRO))


@dataclass(frozen=True)
class PriceTable:
    """All prices. `text` is the file as it was given."""

    currency: str = ""
    prices: tuple[Price, ...] = ()
    text: str = ""

    def price(self, provider: str, model: str) -> Price | None:
        """The price of a model; None where there is none."""
        return next((p for p in self.prices if p.fits(provider, model)), None)


def parse_prices(text: str, source: str) -> PriceTable:
    """Read a price file.

    Raises:
        BadInput: every problem as `source:line: key: message`.
    """
    report = Report()
    root = parse_yaml(text, report)
    table = _read(root, report, text) if root is not None else PriceTable()
    report.raise_if_any(source)
    return table


def _read(root: Node, report: Report, text: str) -> PriceTable:
    fields = Fields(root, "", ("currency", "prices"), report)
    currency = fields.text("currency") or ""
    if not re.fullmatch(r"[A-Z]{3}", currency):
        fields.problem("currency", "expected a code of three capital letters, like USD")
    if "prices" not in fields:
        fields.missing("'prices' is missing: a list of {model, input, output}")
    entries = list(fields.items("prices"))
    if len(entries) > MAX_PRICES:
        fields.problem("prices", f"{len(entries)} entries; {MAX_PRICES} are allowed")
        entries = []
    prices = tuple(_price(node, path, report) for path, node in entries)
    return PriceTable(currency, prices, text)


def _price(node: Node, path: str, report: Report) -> Price:
    fields = Fields(node, path, _KEYS, report)
    model = fields.text("model") or ""
    if not model:
        fields.problem("model", "expected a model's name, in which '*' stands for any text")
    if model.count("*") > MAX_STARS:
        fields.problem("model", f"more than {MAX_STARS} times '*'")
    amounts: dict[str, int] = {}
    for kind in _KINDS:
        found = fields.node(kind)
        if found is not None:
            amounts[kind] = _amount(fields, kind, to_value(found))
        elif kind in ("input", "output"):
            fields.problem(kind, "is missing: the price of a million tokens")
    full = amounts.get("input", 0)
    return Price(
        fields.text("provider"),
        model,
        full,
        amounts.get("output", 0),
        amounts.get("cache_read", full),  # without a price of its own it is not cheaper
        amounts.get("cache_write", full),
    )


def _amount(fields: Fields, kind: str, value: Any) -> int:
    text = "" if isinstance(value, bool) or value is None else str(value)
    if not _AMOUNT.fullmatch(text) or float(text) > MAX_PRICE:
        fields.problem(
            kind, f"expected an amount like 0.25 per million tokens, {MAX_PRICE} at most"
        )
        return 0
    whole, _, part = text.partition(".")
    return int(whole) * _MICRO + int(part.ljust(6, "0") or 0)
