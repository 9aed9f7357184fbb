"""Owns: reading words, amounts and times off a routing file, each noted where it is no such thing.

Knows nothing of what they mean.
"""

import re
from collections.abc import Collection
from typing import Final

from netmgr.policy.fields import Fields, describe
from netmgr.policy.problems import Report
from netmgr.policy.tree import Node, Scalar, Sequence

MAX_WORD: Final = 256  # characters, as of a sandbox's tenant and labels
MAX_WORDS: Final = 1000  # of one list
ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_AMOUNT: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


def is_id(text: str) -> bool:
    """Whether it can name an endpoint, a rule, a route, a stage or a promoted key."""
    return ID.fullmatch(text) is not None


def word_of(node: Node) -> str | None:
    """The word that a node is; a whole number is a word, too (a label `tier: 1`)."""
    if not isinstance(node, Scalar) or isinstance(node.value, bool) or node.value is None:
        return None
    text = str(node.value)
    return text if 0 < len(text) <= MAX_WORD and text.isprintable() else None


class Words:
    """Reads lists of words, with one report.

    Args:
        report: where problems go.
    """

    def __init__(self, report: Report) -> None:
        self.report = report

    def list(
        self, node: Node | None, place: str, line: int, options: Collection[str] | None = None
    ) -> tuple[str, ...]:
        """A word or a list of words.

        Args:
            options: what there is; an unknown one is noted with the nearest. None: any.
        """
        if node is None:
            self.report.problem(line, place, "expected a word or a list of words")
            return ()
        items = node.items if isinstance(node, Sequence) else [node]
        if not items or len(items) > MAX_WORDS:
            self.report.problem(node.line or line, place, f"expected 1 to {MAX_WORDS} words")
            return ()
        found: list[str] = []
        for item in items:
            word = word_of(item)
            at = item.line or line
            if word is None:
                self.report.problem(at, place, f"expected a word, got {describe(item)}")
            elif options is not None and word not in options:
                self.report.problem(at, place, self.unknown(word, options))
            elif word in found:
                self.report.problem(at, place, f"{word!r} stands twice")
            else:
                found.append(word)
        return tuple(found)

    def unknown(self, word: str, options: Collection[str]) -> str:
        """The sentence about an unknown word."""
        near = self.report.suggest(word, options)
        if near:
            return f"unknown {word!r}{near}"
        known = ", ".join(sorted(options)[:12]) or "none"
        return f"unknown {word!r}; known: {known}"


def read_duration(fields: Fields, key: str) -> float | None:
    """A time like `250ms`, `30s`, `24h`, `30d`, in seconds; None where the key is missing."""
    node = fields.node(key)
    if node is None:
        return None
    match = _DURATION.fullmatch(str(node.value)) if isinstance(node, Scalar) else None
    if match is None:
        fields.problem(
            key, f"expected a time with its unit, like 250ms, 30s, 24h or 30d, got {describe(node)}"
        )
        return None
    return float(match[1]) * _UNITS[match[2]]


def read_amount(fields: Fields, key: str) -> float | None:
    """A number from 0 up with nine decimals at most; None where the key is missing."""
    text = read_amount_text(fields, key)
    return None if text is None else float(text)


def read_amount_text(fields: Fields, key: str) -> str | None:
    """The same as it is written, for exact money."""
    node = fields.node(key)
    if node is None:
        return None
    value = node.value if isinstance(node, Scalar) else None
    text = "" if isinstance(value, bool) or value is None else str(value)
    if not _AMOUNT.fullmatch(text):
        fields.problem(key, f"expected a number like 0.25, got {describe(node)}")
        return None
    return text


def read_count(fields: Fields, key: str, least: int, most: int) -> int | None:
    """A whole number within bounds; None where the key is missing."""
    number = fields.integer(key)
    if number is not None and not least <= number <= most:
        fields.problem(key, f"expected {least} to {most}, got {number}")
        return None
    return number
