"""A price file: prices, or `BadInput` that can be printed; and no cost below nothing."""

from netmgr.accounts.prices import Tokens, parse_prices
from netmgr.errors import BadInput

WORDS = (
    b"currency: USD\n",
    b"prices:\n",
    b"  - {provider: lab, model: m, input: 1, output: 2}\n",
    b"cache_read: 0.5",
    b"cache_write: ",
    b"0.000001",
    b"1e9",
    b'"*"',
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!float ",
    b"[",
    b"{",
    b"- ",
)
EACH = Tokens(1, 1, 1, 1)


def fuzz(data: bytes) -> None:
    """Only its own error; what is read can be counted with."""
    problem = None
    try:
        table = parse_prices(data.decode("utf-8", "surrogateescape"), "p.yaml")
    except BadInput as found:
        problem = found.message
    if problem is not None:
        assert problem.startswith("p.yaml")
        return
    assert len(table.currency) == len("USD")
    for price in table.prices:
        assert price.cost(EACH) >= price.cost(Tokens()) == 0
        price.fits("lab", "m" * 256)
