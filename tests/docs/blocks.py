"""Owns: the fenced blocks of a Markdown text as things to run, and whether an output is as shown.

A comment on the line above a fence says what is special about its block:

    <!-- docs: not run: REASON -->   cannot run here; it is counted
    <!-- docs: file NAME -->         its text is the file NAME
    <!-- docs: inside NAME -->       its commands run in the sandbox NAME
    <!-- docs: exit N -->            its last command ends with status N
    <!-- docs: engines newer -->     for engines of Debian 13 alone (`make test-newer`); or older

`...` stands for anything within a line, and for any lines where it is alone in one. No I/O.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

RUN: Final = ("console", "sh", "python")
_FENCE: Final = re.compile(
    r"(?:^<!-- docs: (?P<note>[^\n]*?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_NOTE: Final = re.compile(r"(not run|file|inside|exit|engines):? (.+)")
_HERE: Final = re.compile(r"<<'?(\w+)'?")


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, or a program, and the output that is shown for it (empty: none is)."""

    text: str
    output: str = ""
    language: str = "bash"


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        line: where its text begins.
        note: kind of the comment above it, and what it says.
    """

    line: int
    kind: str
    text: str
    note: tuple[str, str] = ("", "")

    @property
    def commands(self) -> list[Command]:
        """What it runs, in order: `console` has commands after `$ `, others are one script."""
        if self.kind not in RUN or self.note[0] in ("not run", "file"):
            return []
        if self.kind == "console":
            return list(_session(self.text))
        return [Command(self.text, language="python" if self.kind == "python" else "bash")]


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a text.

    Raises:
        ValueError: a comment for us that is none of ours.
    """
    found = []
    for match in _FENCE.finditer(text):
        note = ("", "")
        if match["note"] is not None:
            said = _NOTE.fullmatch(match["note"])
            if said is None:
                raise ValueError(f"unknown note {match['note']!r}")
            note = (said[1], said[2])
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Block(line, match["kind"], match["text"], note))
    return found


def unlike(block: Block, run: Callable[[Command], tuple[int, str]]) -> Iterator[str]:
    """Run a block's commands; what is not as the text says.

    Args:
        run: runs one; its status and what it put out. The text may name things otherwise.
    """
    commands = block.commands
    for number, command in enumerate(commands, 1):
        last = block.note[0] == "exit" and number == len(commands)
        wanted = int(block.note[1]) if last else 0
        status, found = run(command)
        story = f"$ {command.text}\n{found}"
        if status != wanted:
            yield f"status {status}, not {wanted}: {story}"
        elif command.output and not fits(command.output, found):
            yield f"expected:\n{command.output}\nfound: {story}"


def _session(text: str) -> Iterator[Command]:
    """The commands of a `console` block: `$ ` begins one; `\\` and here-documents go on."""
    lines = iter(text.splitlines())
    command: str | None = None
    output: list[str] = []
    for line in lines:
        if not line.startswith("$ "):
            output.append(line)
            continue
        if command is not None:
            yield Command(command, "\n".join(output).strip("\n"))
        command, output = line[2:], []
        while command.endswith("\\"):
            command += "\n" + next(lines, "")
        if here := _HERE.search(command):
            for more in lines:
                command += f"\n{more}"
                if more == here[1]:
                    break
    if command is not None:
        yield Command(command, "\n".join(output).strip("\n"))


def fits(shown: str, found: str) -> bool:
    """Whether an output is what the text shows."""
    pattern = ""
    for line in shown.splitlines():
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*"
        else:
            parts = (re.escape(part) for part in line.rstrip().split("..."))
            pattern += r"[^\n]*".join(parts) + r"[ ]*\n"
    lines = [line.rstrip() for line in found.strip("\n").splitlines()]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None
