"""The price file, and what calls cost by it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.accounts.limits import (
    MAX_MONEY,
    Measure,
    change_limits,
    effective,
    parse_limits,
    parse_money,
    show_limits,
    show_money,
)
from netmgr.accounts.prices import PriceTable, Tokens, parse_prices
from netmgr.errors import BadInput

FILE = """\
currency: USD
prices:
  - {model: gpt-4o, input: 2.5, output: 10, cache_read: 1.25}
  - {provider: lab, model: "qwen*", input: 0.075, output: 0.3}
"""


def test_a_call_costs_what_the_file_says_to_the_last_billionth() -> None:
    table = parse_prices(FILE, "prices.yaml")
    price = table.price("any", "gpt-4o")
    assert price is not None
    assert price.cost(Tokens(input=1_000_000, output=1_000_000)) == 12_500_000_000
    assert price.cost(Tokens(input=1, cache_read=1, cache_write=1)) == 2500 + 1250 + 2500
    small = table.price("lab", "qwen3-coder")
    assert small is not None
    assert small.cost(Tokens(input=1)) == 75
    assert (table.price("other", "qwen3"), table.price("lab", "xqwen")) == (None, None)


def test_odd_characters_of_a_model_are_itself() -> None:
    table = parse_prices(FILE.replace("gpt-4o", '"m[1]?.x"'), "f")
    assert table.price("p", "m[1]?.x") is not None
    assert table.price("p", "m1a.x") is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("currency: USD", "currency: dollars"), "f:1: currency: expected a code"),
        (("input: 2.5, ", ""), r"f:3: prices\[0\].input: is missing"),
        (("2.5", "-1"), "expected an amount"),
        (("2.5", "1e9"), "expected an amount"),
        (("2.5", "99999999"), "expected an amount"),
        (("cache_read", "cached"), "unknown key"),
        (("gpt-4o", '"*****"'), "more than 4 times"),
        (("prices:", "price:"), "did you mean 'prices'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change: tuple[str, str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        parse_prices(FILE.replace(*change, 1), "f")


@given(st.text(max_size=200))
def test_only_its_own_error_escapes(text: str) -> None:
    with contextlib.suppress(BadInput):
        assert isinstance(parse_prices(text, "f"), PriceTable)


@given(st.integers(0, 10**17))
def test_money_as_text_and_back(nano: int) -> None:
    assert parse_money(show_money(nano), "m") == nano


@pytest.mark.parametrize(
    "text", ["", "-1", "nan", "inf", "1e400", "0.0000000001", str(MAX_MONEY + 1)]
)
def test_what_is_no_money(text: str) -> None:
    with pytest.raises(BadInput):
        parse_money(text, "m")


def test_limits_are_changed_one_by_one_and_fall_back_to_the_default() -> None:
    given_ = parse_limits({"concurrency": 4, "money_per_day": "2.50", "tokens_per_day": "none"})
    own = change_limits({Measure.REQUESTS: 7}, {**given_, Measure.REQUESTS: "inherit"})
    default = {Measure.REQUESTS: 60, Measure.TOKENS_DAY: 1000}
    assert effective(own, default) == {
        Measure.REQUESTS: 60,
        Measure.CONCURRENCY: 4,
        Measure.MONEY_DAY: 2_500_000_000,
    }
    assert show_limits(own) == {"concurrency": 4, "money_per_day": "2.5", "tokens_per_day": "none"}


@pytest.mark.parametrize(
    "given_",
    [{"concurency": 1}, {"concurrency": "1.5"}, {"concurrency": -1}, {"tokens_per_day": ""}],
)
def test_what_is_no_limit(given_: dict[str, str | int]) -> None:
    with pytest.raises(BadInput):
        parse_limits(given_)
