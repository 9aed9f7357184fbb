"""Owns: `netmgr inference limit`, `price` and `usage`: what model calls may use, cost and used."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click

from netmgr.accounts.limits import Measure
from netmgr.errors import BadInput, NotFound
from netmgr_cli import screen
from netmgr_cli.observe import parse_since
from netmgr_cli.options import Format, Session, need_root, read_text, shows, speaks
from netmgr_cli.render import NOTHING, Block, Grid, Text, Title, cell

Json = Mapping[str, Any]

BAR: Final = 30  # columns of the longest bar; with a name of 40 it fits 80
MAX_NAME: Final = 40
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_GROUPS: Final = ("model", "provider", "sandbox", "tenant", "hour", "day")


def _subject(command: Any) -> Any:
    for option in (
        click.option("--default", is_flag=True, help="Of every sandbox without limits of its own."),
        click.option("--tenant", metavar="T", help="Of all sandboxes of a tenant together."),
        click.option("--sandbox", metavar="NAME", help="Of one sandbox."),
    ):
        command = option(command)
    return command


def _one_subject(sandbox: str | None, tenant: str | None, default: bool) -> dict[str, str | None]:
    if (sandbox is not None) + (tenant is not None) + default != 1:
        raise BadInput("say whose limits: one of --sandbox NAME, --tenant T, --default")
    return {"sandbox": sandbox, "tenant": tenant}


# -- limits --------------------------------------------------------------------------------------


@click.group()
def limit() -> None:
    """Limit what sandboxes may use of models.

    A sandbox's own limits stand above the default's, one by one; a tenant's count for all its
    sandboxes together, beside their own.

    \b
    Examples:
      netmgr inference limit set --default --requests-per-minute 60
      netmgr inference limit show
    """


def _measures(command: Any) -> Any:
    for measure in reversed(Measure):
        option = "--" + measure.value.replace("_", "-")
        command = click.option(option, measure.value, metavar="N|none|inherit")(command)
    return command


@limit.command(name="set")
@_subject
@_measures
@shows
@speaks
def set_limit(
    session: Session,
    output: Format,
    sandbox: str | None,
    tenant: str | None,
    default: bool,
    **given: str | None,
) -> None:
    """Set single limits; the others stay. In force when the command returns.

    A value is a number (of money an amount like 2.50), `none` for no limit whatever the default
    says, or `inherit` for the default's. Days and months are the calendar's, in UTC.

    \b
    Examples:
      netmgr inference limit set --sandbox demo --concurrency 4
      netmgr inference limit set --tenant ml --money-per-month 250
    """
    from netmgr import account_calls

    need_root("inference limit set")
    subject = _one_subject(sandbox, tenant, default)
    limits = {name: value for name, value in given.items() if value is not None}
    if not limits:
        raise BadInput("nothing to set: give a limit like --requests-per-minute 60")
    with session.client() as client:
        answer = client.send(account_calls.limits_set(limits, **subject))
    screen.show(answer, limit_blocks([answer]), output)


@limit.command(name="show")
@shows
@speaks
def show_limits(session: Session, output: Format) -> None:
    """Show every limit that was set, and what is used of it now.

    \b
    Example:
      netmgr inference limit show
    """
    from netmgr import account_calls

    with session.client() as client:
        answer = client.send(account_calls.limits_get())
    screen.show(answer, limit_blocks(answer["limits"]), output)


@limit.command(name="delete")
@_subject
@speaks
def delete_limit(session: Session, sandbox: str | None, tenant: str | None, default: bool) -> None:
    """Forget all limits of one sandbox, tenant or of the default. Done also where none is set.

    \b
    Example:
      netmgr inference limit delete --tenant ml
    """
    from netmgr import account_calls

    need_root("inference limit delete")
    subject = _one_subject(sandbox, tenant, default)
    with session.client() as client:
        answer = client.send(account_calls.limits_delete(**subject))
    screen.note("deleted" if answer["deleted"] else "nothing was set")


def limit_blocks(subjects: list[Json]) -> list[Block]:
    """Limits, one per line."""
    rows = tuple(
        (_whose(each), cell(name.replace("_", " ")), cell(value), cell(each["used"].get(name)))
        for each in subjects
        for name, value in each["limits"].items()
    )
    return [Grid(("OF", "LIMIT", "AT MOST", "USED"), rows, "no limits are set")]


def _whose(subject: Json) -> str:
    if subject["sandbox"] is not None:
        return cell(f"sandbox {subject['sandbox']}")
    return cell(f"tenant {subject['tenant']}") if subject["tenant"] else "each sandbox"


# -- prices --------------------------------------------------------------------------------------


@click.group()
def price() -> None:
    """Say what models cost: the file that budgets of money and `usage` count by.

    \b
    Examples:
      netmgr inference price set prices.yaml
      netmgr inference price get
    """


@price.command(name="set")
@click.argument("file")
@speaks
def set_prices(session: Session, file: str) -> None:
    """Replace the price file; `-` reads stdin.

    \b
    Example:
      netmgr inference price set prices.yaml
    """
    from netmgr import account_calls

    need_root("inference price set")
    text = read_text(file, "prices")
    with session.client() as client:
        call = account_calls.prices_set(text, "<stdin>" if file == "-" else file)
        answer = client.send(call)
    screen.note(f"{answer['prices']} prices in {answer['currency']} are in force")


@price.command(name="get")
@shows
@speaks
def get_prices(session: Session, output: Format) -> None:
    """Print the price file, as `set` takes it again; status 3 where none is set.

    \b
    Example:
      netmgr inference price get
    """
    from netmgr import account_calls

    with session.client() as client:
        answer = client.send(account_calls.prices_get())
    if not answer["text"]:
        raise NotFound("there are no prices: `netmgr inference price set FILE`")
    screen.show(answer, [Text(answer["text"].rstrip("\n"))], output)


@price.command(name="delete")
@speaks
def delete_prices(session: Session) -> None:
    """Forget the price file. Done also where none is set.

    \b
    Example:
      netmgr inference price delete
    """
    from netmgr import account_calls

    need_root("inference price delete")
    with session.client() as client:
        answer = client.send(account_calls.prices_delete())
    screen.note("deleted" if answer["deleted"] else "nothing was set")


# -- usage ---------------------------------------------------------------------------------------


@click.command()
@click.option("--sandbox", metavar="NAME", help="Of this sandbox, also of one that is gone.")
@click.option("--tenant", metavar="T", help="Of this tenant's sandboxes.")
@click.option("--since", metavar="T", help="From then on: 2h, 3d ago, or RFC 3339.  [default: 1d]")
@click.option("--by", type=click.Choice(_GROUPS), default="model", help="[default: model]")
@shows
@speaks
def usage(session: Session, output: Format, by: str, since: str | None, **whose: Any) -> None:
    """Show tokens and cost of model calls: a table, and a chart of the tokens.

    \b
    Examples:
      netmgr inference usage
      netmgr inference usage --by hour --since 12h
      netmgr inference usage --by sandbox --tenant ml -o json
    """
    from netmgr import account_calls

    start = parse_since(since, time.time()) if since else None
    with session.client() as client:
        answer = client.send(account_calls.inference_usage(by, since=start, **whose))
    screen.show(answer, usage_blocks(answer), output)


def usage_blocks(answer: Json) -> list[Block]:
    """A table, and a chart below it."""
    by = answer["by"]
    rows = tuple(
        (
            _name(by, row[by]),
            cell(row["calls"]),
            cell(row["failed"]),
            cell(row["tokens_in"]),
            cell(row["tokens_out"]),
            cell(row["tokens_cache_read"]),
            _cost(row, answer["currency"]),
        )
        for row in answer["usage"]
    )
    columns = (by.upper(), "CALLS", "FAILED", "TOKENS IN", "OUT", "CACHED", "COST")
    table = Grid(columns, rows, "no model call since then")
    if not rows:
        return [table]
    return [table, Title("tokens"), Text("\n".join(_chart(by, answer["usage"])))]


def _name(by: str, value: object) -> str:
    if by in ("hour", "day") and isinstance(value, int):
        form = "%Y-%m-%d" if by == "day" else "%Y-%m-%d %H:00Z"
        return datetime.fromtimestamp(value, UTC).strftime(form)
    return cell(value)


def _cost(row: Json, currency: object) -> str:
    """A sum that leaves calls out is marked: it is at least that much."""
    if row["cost"] is None:
        return "unknown"
    open_end = "+" if row["unpriced"] or row["uncounted"] else ""
    return f"{row['cost']}{open_end} {currency or ''}".rstrip() if currency else NOTHING


def _chart(by: str, rows: list[Json]) -> list[str]:
    """One bar for each row, in eighths of a column."""
    totals = [row["tokens_in"] + row["tokens_out"] for row in rows]
    most = max([*totals, 1])
    names = [_name(by, row[by])[:MAX_NAME] for row in rows]
    width = max(map(len, names))
    lines = []
    for name, total in zip(names, totals, strict=True):
        full, rest = divmod(round(total / most * BAR * 8), 8)
        bar = "█" * full + _EIGHTHS[rest].rstrip()
        lines.append(f"{name:<{width}}  {bar:<{BAR}}  {total}")
    return lines
