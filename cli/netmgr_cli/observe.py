"""Owns: `netmgr observe`: decision records, history and live, one line each."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from netmgr.errors import BadInput, Unreachable
from netmgr.reasons import Kind, Verdict
from netmgr_cli import screen
from netmgr_cli.options import Session, speaks
from netmgr_cli.render import NOTHING, printable

if TYPE_CHECKING:
    from netmgr.client import Client

HISTORY: Final = 100  # records that are shown where neither --since nor --limit says more
RECONNECT_S: Final = 30.0  # a restart of the daemon takes a second or two
PAUSE_S: Final = 0.5
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DEEDS: Final = frozenset({Kind.CONFIG, Kind.LIFECYCLE, Kind.FINDING})
_COLOURS: Final = {"denied": "red", "failed": "yellow", "audited": "magenta", "allowed": "green"}


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Keep showing new decisions.")
@click.option("--sandbox", metavar="NAME", help="Of this sandbox.")
@click.option("--verdict", type=click.Choice([str(v) for v in Verdict]))
@click.option("--kind", type=click.Choice([str(k) for k in Kind]))
@click.option("--name", metavar="GLOB", help="Whose destination's name matches, as *.example.com.")
@click.option("--since", metavar="T", help="From then on: 90s, 15m, 2h, 3d ago, or RFC 3339.")
@click.option(
    "--limit", type=click.IntRange(min=1), help="The latest N.  [default: 100 without --since]"
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml", "ocsf"]),
    default="table",
    help="json: one object per line; yaml: one document each; ocsf: OCSF 1.8 events, one per line."
    "  [default: table]",
)
@speaks
def observe(session: Session, follow: bool, output: str, **given: Any) -> None:
    """Show decisions: what was tried, what became of it, why, and what would allow it.

    Repeats of a denial are one record with a count.

    \b
    Examples:
      netmgr observe -f --verdict denied
      netmgr observe --sandbox demo --since 15m
      netmgr observe --since 1d -o json | jq -r .destination.name | sort | uniq -c
      netmgr observe -f -o ocsf >> /var/log/netmgr.ocsf.json
    """
    filters = {key: given[key] for key in ("sandbox", "verdict", "kind", "name")}
    filters["since"] = parse_since(given["since"], time.time()) if given["since"] else None
    limit = given["limit"] or (None if given["since"] else HISTORY)
    colour = screen.colourful()
    with session.client() as client:
        for record in _records(client, filters, limit, follow):
            if output == "json":
                screen.show_line(record)
            elif output == "yaml":
                screen.show_document(record)
            elif output == "ocsf":
                screen.show_line(_event_of(record))
            else:
                for line in lines_of(record, colour=colour):
                    click.echo(line, color=colour)


def _event_of(record: Mapping[str, Any]) -> dict[str, Any]:
    import socket

    from netmgr import __version__
    from netmgr_cli.ocsf import event_of

    return event_of(record, product_version=__version__, host=socket.gethostname())


def _records(
    client: "Client", filters: Mapping[str, object], limit: int | None, follow: bool
) -> Iterator[dict[str, Any]]:
    """Records as they come. A follower outlives a restart of the daemon: it goes on after the last
    number that it saw, so nothing is missed and nothing comes twice."""
    from netmgr import calls

    after: int | None = None
    patience = time.monotonic() + RECONNECT_S
    while True:
        call = calls.records(filters=filters, after=after, limit=limit, follow=follow)
        try:
            for record in client.stream(call, idle_s=None if follow else calls.READ_S):
                after = int(record["seq"])
                patience = time.monotonic() + RECONNECT_S
                yield record
            if not follow:
                return
            gone = "the daemon ended the stream"
        except Unreachable as error:
            if not follow or after is None or time.monotonic() > patience:
                raise
            gone = error.message
        if time.monotonic() > patience:
            raise Unreachable(f"{gone}; it did not come back within {RECONNECT_S:g} s")
        limit = None
        time.sleep(PAUSE_S)


def parse_since(text: str, now: float) -> float:
    """Seconds since the epoch from `15m` (ago) or an RFC 3339 time.

    Raises:
        BadInput: it is neither.
    """
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.isascii() and number.isdecimal():
        return now - int(number) * _UNITS[unit]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"--since {text!r}: expected 90s, 15m, 2h, 3d, or a time such as 2026-01-31T12:00:00Z"
        ) from None
    return (moment if moment.tzinfo else moment.astimezone()).timestamp()


def lines_of(record: Mapping[str, Any], *, colour: bool) -> list[str]:
    """One record for people: time, verdict, kind, sandbox, destination, reason; below it, where
    something was not let through as it was asked for, by which rule and what would allow it.

    Records of what netmgr did itself (_DEEDS) have no verdict that says anything: their message
    stands in the line."""
    deed = record["kind"] in _DEEDS
    verdict = str(record["verdict"])
    word = NOTHING if deed and verdict == Verdict.ALLOWED else verdict
    shown = click.style(f"{word:<8}", fg=_COLOURS.get(word)) if colour else f"{word:<8}"
    what = record.get("message") or record["reason"] if deed else _decision(record, verdict)
    count = f" x{record['count']}" if record.get("count", 1) != 1 and not deed else ""
    words = f"{record['kind']:<10} {record.get('sandbox') or NOTHING}  {what}{count}"
    below = [] if deed or verdict == Verdict.ALLOWED else _below(record, verdict)
    return [
        f"{clock(record['time'])} {shown} {printable(words)}",
        *(printable(f"    {line}") for line in below),
    ]


def _decision(record: Mapping[str, Any], verdict: str) -> str:
    """What was tried, and why it was decided so."""
    if verdict != Verdict.ALLOWED:
        return f"{_destination(record)}  {record['reason']}"
    rule = f"  by {record['rule']}" if record.get("rule") else ""
    return f"{_destination(record)}{rule}"


def _below(record: Mapping[str, Any], verdict: str) -> Iterator[str]:
    """The lines below one that is not plainly allowed."""
    if record.get("rule"):
        yield f"rule: {record['rule']}"
    if verdict == Verdict.DENIED and record.get("remedy"):
        yield f"allow it: {record['remedy']}"
    elif record.get("message"):
        yield str(record["message"])


def _destination(record: Mapping[str, Any]) -> str:
    http, model = record.get("http") or {}, record.get("inference") or {}
    target = record.get("destination") or {}
    place = target.get("name") or target.get("ip") or NOTHING
    if target.get("port"):
        place = f"{place}:{target['port']}"
    if target.get("protocol") not in (None, "tcp"):
        place = f"{place}/{target['protocol']}"
    if http.get("method"):
        place = f"{http['method']} {place}{http.get('path') or ''}"
    if model.get("model"):
        place = f"{place} model={model['model']}"
    return place


def clock(value: object, now: float | None = None) -> str:
    """The time of a record in the reader's zone: to the millisecond, or of another day, with it.

    Args:
        now: seconds since the epoch; None asks the clock.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return printable(value)
    elif isinstance(value, int | float):
        moment = datetime.fromtimestamp(value, UTC)
    else:
        return NOTHING
    local = moment.astimezone()
    today = datetime.fromtimestamp(time.time() if now is None else now, UTC).astimezone()
    if local.date() != today.date():
        return local.strftime("%Y-%m-%d %H:%M:%S")
    return local.strftime("%H:%M:%S.%f")[:-3]
