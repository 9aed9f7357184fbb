"""Owns: which targets and seeds there are, and one bounded run of a target.

A target is a file of `targets/` with `fuzz(data)`, which raises where its property does not hold,
and perhaps `WORDS`, what its grammar is made of. Knows nothing of where inputs come from.
"""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
TARGETS: Final = HERE / "targets"
CORPUS: Final = HERE / "corpus"

MAX_INPUT: Final = 2048  # bytes, of what is mutated; longer seeds are replayed only
BUDGET_S: Final = 1.0  # of CPU for one input: a hundred times the slowest honest one


class TooSlow(AssertionError):
    """One input took more CPU than any may."""


@dataclass(frozen=True, slots=True)
class Target:
    """One parser under test.

    Attributes:
        fuzz: the property.
        words: pieces of the grammar, for mutations.
    """

    name: str
    fuzz: Callable[[bytes], None]
    words: tuple[bytes, ...]

    def seeds(self) -> dict[str, bytes]:
        """The committed inputs by file name."""
        return {path.name: path.read_bytes() for path in sorted((CORPUS / self.name).iterdir())}

    def run(self, data: bytes) -> None:
        """Try one input.

        Raises:
            TooSlow: the property may hold, but not for the price.
        """
        start = time.process_time()
        self.fuzz(data)
        spent = time.process_time() - start
        if spent > BUDGET_S:
            raise TooSlow(f"{self.name}: {len(data)} bytes took {spent:.1f} s of CPU")


def names() -> list[str]:
    """All targets."""
    return sorted(path.stem for path in TARGETS.glob("[a-z]*.py"))


def load(name: str) -> Target:
    """The target `name`; imports the parser."""
    module = importlib.import_module(f"fuzz.targets.{name}")
    return Target(name, module.fuzz, getattr(module, "WORDS", ()))
