"""Owns: what is wrong with a policy file, gathered so that all of it is told at once.

Knows nothing of what a policy means: it is handed places and sentences.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from netmgr.errors import BadInput, did_you_mean

MAX_SHOWN: Final = 50  # a reader mends the first few; a hostile file must not fill a terminal
MAX_WARNINGS: Final = 100


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        line: 1 and up; 0 where the document came without lines.
        key: where in the document (`network_policies.web.endpoints[0].host`); '' for the whole.
        message: what was expected, in one sentence.
    """

    line: int
    key: str
    message: str

    def render(self, source: str) -> str:
        """`source:line: key: message`."""
        place = f"{source}:{self.line}" if self.line else source
        return ": ".join(part for part in (place, self.key, self.message) if part)


class PolicyError(BadInput):
    """A policy that does not load. The message has one line per problem.

    Attributes:
        problems: in the order of the file.
    """

    def __init__(self, problems: list[Problem], source: str) -> None:
        self.problems = tuple(sorted(problems))
        self.source = source
        lines = [problem.render(source) for problem in self.problems[:MAX_SHOWN]]
        if len(self.problems) > MAX_SHOWN:
            lines.append(f"{source}: and {len(self.problems) - MAX_SHOWN} more")
        super().__init__(
            "\n".join(lines),
            problems=[
                {"source": source, "line": p.line, "key": p.key, "message": p.message}
                for p in self.problems[:MAX_SHOWN]
            ],
        )


class Report:
    """Gathers problems and warnings while a document is read."""

    __slots__ = ("problems", "warnings")

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def problem(self, line: int, key: str, message: str) -> None:
        """Note that the document cannot be loaded."""
        self.problems.append(Problem(line, key, message))

    @property
    def is_full(self) -> bool:
        """Whether a further warning would not be kept."""
        return len(self.warnings) >= MAX_WARNINGS

    def warn(self, key: str, message: str) -> None:
        """Note what loads but will surprise somebody."""
        if not self.is_full:
            self.warnings.append(f"{key}: {message}")

    def suggest(self, word: str, options: Collection[str]) -> str:
        """`; did you mean 'x'?`, or nothing; nothing either once nobody would read it."""
        if len(self.problems) >= MAX_SHOWN or len(self.warnings) >= MAX_WARNINGS:
            return ""
        return did_you_mean(word, [option for option in options if option])

    def raise_if_any(self, source: str) -> None:
        """End the reading where something is wrong.

        Raises:
            PolicyError: all problems noted so far.
        """
        if self.problems:
            raise PolicyError(self.problems, source)
