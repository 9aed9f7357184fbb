"""Owns: what reaches stdout and stderr: JSON, YAML, and blocks drawn with rich.

Data goes to stdout, everything else to stderr. Colour only on a terminal, and not where NO_COLOR
is set (no-color.org). Tables fold, they never cut: what is shown is what is there.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from netmgr_cli.options import Format
from netmgr_cli.render import Block, Fields, Grid, Text, Title, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_OBEYED: Final = re.compile("[\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
NARROW: Final = 80  # columns where the width is not known: the width that everything must fit


def show(data: Any, blocks: Iterable[Block], output: Format) -> None:
    """Print one answer: `data` as a document, or its blocks."""
    if output is Format.JSON:
        click.echo(_as_json(data, indent=2))
    elif output is Format.YAML:
        import yaml

        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)
    else:
        draw(blocks)


def show_line(data: Any) -> None:
    """Print one object of a stream, at once."""
    click.echo(_as_json(data, separators=(",", ":")))
    sys.stdout.flush()


def show_document(data: Any) -> None:
    """Print one object of a stream as a YAML document, at once."""
    import yaml

    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, explicit_start=True)
    click.echo(text, nl=False)
    sys.stdout.flush()


def _as_json(data: Any, **style: Any) -> str:
    """JSON in readable characters. JSON leaves C1 controls, line separators and marks of direction
    as they are; a terminal would obey them."""
    text = json.dumps(data, ensure_ascii=False, **style)
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def note(text: str) -> None:
    """Say something that is no data."""
    click.echo(printable(text), err=True)


def colourful() -> bool:
    """Whether stdout takes colour."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def draw(blocks: Iterable[Block]) -> None:
    """Draw blocks on stdout."""
    console = _console()
    with console.capture() as drawn:
        for number, block in enumerate(blocks):
            if isinstance(block, Grid) and not block.rows:
                note(block.empty)
                continue
            if number and isinstance(block, Title):
                console.print()
            # Sentences are not wrapped: a terminal does it, and a copied command stays whole.
            console.print(_drawing(block), soft_wrap=isinstance(block, Text | Title))
    for line in drawn.get().splitlines():
        click.echo(line.rstrip(), color=True)  # rich fills lines up; a pipe's reader wants the text


def _console() -> "Console":
    from rich.console import Console

    width = shutil.get_terminal_size((NARROW, 24)).columns
    return Console(
        file=sys.stdout,
        width=width,
        no_color=not colourful(),
        force_terminal=sys.stdout.isatty(),
        highlight=False,
        markup=False,
        emoji=False,
    )


def _drawing(block: Block) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text as Words

    match block:
        case Title(text):
            return Words(text, style="bold")
        case Text(text):
            return Words(text)
        case Fields(pairs):
            fields = Table.grid(padding=(0, 2, 0, 0))
            fields.add_column(style="dim", no_wrap=True)
            fields.add_column(overflow="fold")
            for name, value in pairs:
                fields.add_row(Words(name), Words(value))
            return fields
        case Grid(columns, rows):
            table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
            for column in columns:
                table.add_column(column, overflow="fold")
            for row in rows:
                table.add_row(*(Words(item) for item in row))
            return table
