"""The examples of every `--help` are command lines that netmgr takes: each is parsed for real."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from netmgr_cli.main import cli

PREFIXES = ("sudo", "pass show nim |", "ctr oci spec |")  # what may stand before `netmgr`
OTHERS = ("podman ", "runc ")  # what examples go on with: tests/runtimes runs those
CUT = ("|", ">", ">>", "||", "&&")  # where the shell's part begins


def commands(
    command: click.Command = cli, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*words, name))


def examples(command: click.Command) -> list[str]:
    """The lines below `Example:`, continued ones joined; placeholders of the shell replaced."""
    text = (command.help or "").partition("Example")[2].partition(":\n")[2]
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [line.strip() for line in joined.splitlines() if line.strip()]
    own = [line for line in lines if not line.removeprefix("sudo ").startswith(OTHERS)]
    return [re.sub(r"\$\(.*?\)", "word", line) for line in own]


def netmgr_words(line: str) -> list[str]:
    """What netmgr is given, without what the shell does around it."""
    before, netmgr, after = f" {line}".partition(" netmgr ")
    assert netmgr, f"no netmgr in the example {line!r}"
    assert before.strip() in ("", *PREFIXES), f"what is {before!r}?"
    words = shlex.split(after)
    ends = [n for n, word in enumerate(words) if word in CUT]
    return words[: ends[0]] if ends else words


def parse(words: list[str]) -> tuple[list[str], click.Context]:
    """Walk down the groups as click does; the names of the commands and the last one's context.

    Raises:
        click.UsageError: an unknown command, option or value.
    """
    path: list[str] = []
    command: click.Command = cli
    context = command.make_context("netmgr", list(words))
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert name is not None
        assert found is not None
        path.append(name)
        command, context = found, found.make_context(name, rest, parent=context)
    return path, context


ALL = [(words, line) for words, command in commands() for line in examples(command)]


@pytest.mark.parametrize(("words", "line"), ALL, ids=[line for _, line in ALL])
def test_each_example_parses(words: tuple[str, ...], line: str) -> None:
    path, context = parse(netmgr_words(line))
    assert tuple(path[: len(words)]) == words, "an example of another command"
    context.close()


def test_every_command_has_one() -> None:
    without = [" ".join(words) for words, command in commands() if not examples(command)]
    assert without == []


def test_what_is_wrong_is_noticed() -> None:
    for words in (["sandbox", "lst"], ["observe", "--folow"], ["sandbox", "list", "-o", "xml"]):
        with pytest.raises(click.UsageError):
            parse(words)
